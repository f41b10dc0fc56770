"""What in a prompt is an image: DSPy marks it in the text, by words that anybody could write.

Who wrote them would have the LM's server fetch an address. So each run has marks of its own that
nobody knows: what inputs, tools, demos, LMs or earlier turns say is text, whatever it says.
"""

import secrets
from contextvars import ContextVar

from dspy.adapters import _legacy_type_markers
from dspy.adapters.types import base_type

_NO_RUNS = secrets.token_hex()
_ours = ContextVar("_ours", default=_NO_RUNS)


class _Mark(str):
    __slots__ = ()

    def __format__(self, _: str) -> str:
        """As DSPy writes it into a text, and looks for it there."""
        return str(self) + _ours.get()


def renew() -> None:
    """For the run that begins here."""
    _ours.set(secrets.token_hex())


def use() -> None:
    """Have DSPy use them; once more changes nothing."""
    for module in (base_type, _legacy_type_markers):
        for name in ("CUSTOM_TYPE_START_IDENTIFIER", "CUSTOM_TYPE_END_IDENTIFIER"):
            setattr(module, name, _Mark(getattr(module, name)))
