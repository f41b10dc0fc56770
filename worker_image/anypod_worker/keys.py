"""The keys of the pool's LMs: who holds them, and how none of them gets out.

The supervisor alone holds them. A run of a program that asks an LM is told them with its frame, so
no executor has one that has only run other programs, and none is in an environment. What a program
answers, raises, keeps or prints goes through here on its way out: a key in it is replaced by words.
"""

from collections.abc import Mapping

import msgspec

from anypod.wire.messages import Failure

SHORTEST = 8
"""A shorter one is a placeholder and no secret; to replace it would spoil ordinary text."""


class Keys:
    def __init__(self, by_lm: Mapping[str, str]) -> None:
        self.by_lm = dict(by_lm)
        secrets = {key for key in by_lm.values() if len(key) >= SHORTEST}
        # A key may be the beginning of another one.
        self._secrets = [key.encode() for key in sorted(secrets, key=len, reverse=True)]
        self.hides = bool(secrets)
        """Whether there is anything to hide."""
        self.longest = max(map(len, secrets), default=0)

    def hidden(self, data: bytes) -> bytes:
        """In JSON too: keys are printable ASCII without quotes and backslashes."""
        for secret in self._secrets:
            data = data.replace(secret, _words(len(secret)))
        return data

    def hidden_in_text(self, text: str) -> str:
        if not self.hides:
            return text
        hidden = self.hidden(text.encode("utf-8", "surrogatepass"))
        return hidden.decode("utf-8", "surrogatepass")

    def hidden_in(self, failure: Failure) -> Failure:
        text = msgspec.json.encode(failure)
        hidden = self.hidden(text)
        return failure if hidden == text else msgspec.json.decode(hidden, type=Failure)

    def begins_at_end(self, data: bytes) -> int:
        """How many of the last bytes may be the beginning of a key."""
        for count in range(min(self.longest - 1, len(data)), 0, -1):
            if any(secret.startswith(data[-count:]) for secret in self._secrets):
                return count
        return 0


def _words(length: int) -> bytes:
    """As long as the key was: what streams is paid for by its length."""
    return b"[an LM's key]".ljust(length, b"*")[:length]


NO_KEYS = Keys({})


class Hiding:
    """A stream of bytes, in which a key may come in two pieces."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._keys.hidden(self._held + data)
        held = self._keys.begins_at_end(data)
        if held and len(data) <= self._keys.longest:
            held = len(data)  # so that a word is not told in two pieces
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    def end(self) -> bytes:
        rest, self._held = self._held, b""
        return rest
