"""The code of revisions that gateways have sent; the least recently used goes first."""

from collections import OrderedDict

from anypod.wire.messages import Code


def size(code: Code) -> int:
    return sum(len(path) + len(text.encode()) for path, text in code.files.items())


class ProgramCache:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._codes: OrderedDict[str, tuple[Code, int]] = OrderedDict()

    def __contains__(self, revision: str) -> bool:
        return revision in self._codes

    def __len__(self) -> int:
        return len(self._codes)

    def get(self, revision: str) -> Code | None:
        entry = self._codes.get(revision)
        if entry is None:
            return None
        self._codes.move_to_end(revision)
        return entry[0]

    def put(self, revision: str, code: Code) -> None:
        """Keep it; code above the whole limit is not kept, its execution has it anyway."""
        if revision in self._codes:
            self._codes.move_to_end(revision)
            return
        needed = size(code)
        if needed > self._max_bytes:
            return
        self._codes[revision] = (code, needed)
        self._bytes += needed
        while self._bytes > self._max_bytes:
            _, (_, freed) = self._codes.popitem(last=False)
            self._bytes -= freed
