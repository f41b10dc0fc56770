"""The secrets by which receivers know that it was us, from a directory, as a mounted Secret is one.

There is a file for each pool that signs, and it bears the pool's name. Its lines are secrets; each
signs, so that a new one can be put beside the old one until all receivers know it. A file is read
when it is needed, so a change of it holds at once.
"""

import asyncio
from pathlib import Path

from anypod.api.webhooks import BadSecret, parse_secret

MAX_FILE_BYTES = 4096
MOST = 4
"""Of one pool."""


class Secrets:
    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    async def of(self, pool: str) -> list[bytes]:
        """None of them: the pool has no webhooks. Raises BadSecret, whose message may be shown."""
        return await asyncio.to_thread(self._read, pool)

    def _read(self, pool: str) -> list[bytes]:
        if self._directory is None:
            return []
        try:
            with (self._directory / pool).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return []
        except OSError as reason:
            raise BadSecret(f"the pool's secret cannot be read: {reason.strerror}") from None
        lines = content.decode("ascii", "replace").split()
        if len(content) > MAX_FILE_BYTES or len(lines) > MOST:
            raise BadSecret(f"a pool has at most {MOST} secrets")
        return [parse_secret(line) for line in lines]
