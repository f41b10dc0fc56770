"""Text is cut to its bound, after the keys that the run was told have been hidden in it.

The supervisor hides whole keys in all that leaves. What a cut has left of one it would not know.
"""

from collections.abc import Mapping

from anypod_worker.keys import NO_KEYS, Keys

_keys = NO_KEYS


def hide(keys: Mapping[str, str]) -> None:
    """Until ``forget``: no executor keeps what a run was told."""
    global _keys
    _keys = Keys(keys)


def forget() -> None:
    global _keys
    _keys = NO_KEYS


def beginning(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    return _keys.hidden_in_text(text[: length + _keys.longest])[:length]


def ends(text: str, length: int) -> str:
    """Its beginning and its end, and between them how much is left out."""
    if len(text) <= length:
        return text
    half = length // 2
    end = _keys.hidden_in_text(text[-half - _keys.longest :])[-half:]
    return f"{beginning(text, half)}\n[... {len(text) - 2 * half} characters ...]\n{end}"
