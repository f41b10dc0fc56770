"""A program that goes wrong on purpose: its caller gets an error, and nobody else notices."""

import ctypes
import os
import sys
from typing import Literal

Way = Literal["raise", "exit", "kill", "segfault", "loop", "memory"]


def main(way: Way) -> str:
    """Fail in one of the ways that a program can."""
    print(f"about to {way}", flush=True)
    match way:
        case "raise":
            raise LookupError("there is nothing of that name")
        case "exit":
            sys.exit(3)
        case "kill":
            os.abort()
        case "segfault":
            return ctypes.string_at(0).decode()
        case "loop":
            while True:
                pass
        case "memory":
            return str(len(bytearray(10**12)))
