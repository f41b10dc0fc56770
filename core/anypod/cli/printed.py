"""What programs printed, told to people."""

from collections.abc import Mapping
from typing import Any, TextIO

from anypod.printable import printable


def lines(logs: Mapping[str, Any], *, named: bool = False) -> list[str]:
    """Of the logs of a problem document or an execution; ``named`` after their streams."""
    found = [
        f"{name}: {line}" if named else line
        for name in ("stdout", "stderr")
        for line in str(logs.get(name) or "").splitlines()
    ]
    if cut := logs.get("cutBytes"):
        found.append(f"({cut} bytes more were printed, and dropped)")
    return [printable(line) for line in found]


def copy(text: str, file: TextIO) -> None:
    """As it is, but to a terminal what can change nothing there: who returns to the begin of a line
    begins one."""
    if file.isatty():
        text = printable(text.replace("\r\n", "\n").replace("\r", "\n"))
    file.write(text)
    file.flush()
