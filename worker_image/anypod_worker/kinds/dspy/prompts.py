"""What of a signature DSPy finds for each run, found once: what a prompt says of it, and its kind.

The former is the larger part of a prompt and depends on nothing else. A signature is a class that
nobody changes: other instructions make another one.
"""

from collections.abc import MutableMapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import dspy
from dspy.adapters import decision
from dspy.predict import predict


class _WritesOnce:
    """An adapter of which each class has words of its own."""

    _written: MutableMapping[Any, str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._written = WeakKeyDictionary()

    def format_system_message(self, signature: Any) -> str:
        words = self._written.get(signature)
        if words is None:
            said: str = super().format_system_message(signature)  # type: ignore[misc]
            words = self._written[signature] = said
        return words


class ChatAdapter(_WritesOnce, dspy.ChatAdapter):  # type: ignore[misc]
    pass


class JSONAdapter(_WritesOnce, dspy.JSONAdapter):  # type: ignore[misc]
    pass


class XMLAdapter(_WritesOnce, dspy.XMLAdapter):  # type: ignore[misc]
    pass


_undecided: "WeakSet[Any]" = WeakSet()
"""Signatures that ask for no decision, in DSPy's sense."""


def _adapter_for(lm: Any, adapter: Any, signature: Any, fields: Any, *more: Any) -> Any:
    asks_words = not fields and getattr(lm, "supports_decision_requests", False) is not True
    if asks_words and signature in _undecided:
        return adapter
    found = decision.resolve_adapter(lm, adapter, signature, fields, *more)
    if asks_words and found is adapter:
        _undecided.add(signature)
    return found


def remember() -> None:
    """Have DSPy use it; once more changes nothing."""
    predict.resolve_adapter = _adapter_for
