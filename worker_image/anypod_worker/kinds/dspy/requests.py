"""The request of a plain prompt, made at once from the engine's own types.

DSPy reads a prompt as a request in OpenAI's form, with all that such a one may hold and each server
spells otherwise. What an adapter mostly writes is words of a system, a user and an assistant, and
that comes to the same for all servers.
"""

import functools
from collections.abc import Mapping
from typing import Any

from dspy.clients.backend_selection import CLIENT_KEYS
from dspy.lm15 import Config, Message, Request, TextPart

_UNSAID = CLIENT_KEYS | {"n", "rollout_id", "num_generations", "prompt_cache"}
"""What is no part of a request."""
_PLAIN = frozenset({"model", "messages", "temperature", "max_tokens"})
_ROW = {"role", "content"}
_ROLES = frozenset({"user", "assistant"})
_CONFIGS = 256


def plain(said: Mapping[str, Any]) -> Request | None:
    """None: it holds more than words, or what is no request."""
    names = {name for name, value in said.items() if value is not None and name not in _UNSAID}
    rows = said.get("messages")
    if not (names <= _PLAIN and isinstance(rows, list) and rows and all(map(_is_words, rows))):
        return None
    system = rows[0]["content"] if rows[0]["role"] == "system" else None
    messages = rows if system is None else rows[1:]
    if not messages or any(row["role"] not in _ROLES for row in messages):
        return None
    try:
        config = _config(said.get("temperature"), said.get("max_tokens"))
        made = tuple(Message(row["role"], (TextPart(row["content"]),)) for row in messages)
        return Request(said["model"], made, system, config=config)
    except (TypeError, ValueError):  # DSPy says what is wrong
        return None


def _is_words(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() == _ROW
        and isinstance(row["content"], str)
        and bool(row["content"])
    )


@functools.lru_cache(_CONFIGS, typed=True)
def _config(temperature: Any, most_tokens: Any) -> Config:
    return Config(temperature=temperature, max_tokens=most_tokens)
