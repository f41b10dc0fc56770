"""Becoming an ordinary user in a forked child, where the tests run as root."""

import ctypes
import os

import pytest

NOBODY = 65534

_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2

needs_root = pytest.mark.skipif(
    os.getuid() != 0, reason="only root can become another user; the other tests run as this one"
)


def give_up_root() -> None:
    """Be nobody, who may read every file: the interpreter may be in root's home."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.setgroups([])
    _check(libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    bits = 1 << _CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    _check(libc.capset(ctypes.byref(header), ctypes.byref(data)))
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
