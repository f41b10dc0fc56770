"""How much memory processes use, by /proc, as far as an unprivileged supervisor may know.

What a process has been forked with it shares, and the kernel counts it as its own. So use is
growth: anonymous and shared memory beyond what was there when the watch first saw the process.
Where the kernel tells more (the proportional share, for root), that decides before anybody is
killed.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from anypod_worker import processes

KIB = 1024


@dataclass(frozen=True)
class Resident:
    private: int
    """Anonymous memory, what is shared since a fork included."""
    shared: int
    """Shared mappings: every process that maps them counts them."""


def resident(pid: int) -> Resident | None:
    """None when the process is gone."""
    fields = _fields(processes.read(f"/proc/{pid}/status"))
    if b"RssAnon" not in fields:
        return None
    return Resident(private=_bytes(fields[b"RssAnon"]), shared=_bytes(fields[b"RssShmem"]))


def proportional(pid: int) -> int | None:
    """Its own memory and its share of what it shares; None when gone or not to be known."""
    fields = _fields(processes.read(f"/proc/{pid}/smaps_rollup"))
    if b"Pss_Anon" not in fields:
        return None
    return _bytes(fields[b"Pss_Anon"]) + _bytes(fields[b"Pss_Shmem"])


def _fields(content: bytes | None) -> dict[bytes, bytes]:
    lines = (content or b"").splitlines()
    return {name: rest for name, _, rest in (line.partition(b":") for line in lines)}


def _bytes(field: bytes) -> int:
    return int(field.split()[0]) * KIB


def _kills() -> int:
    """Since the machine started."""
    _, found, rest = (processes.read("/proc/vmstat") or b"").partition(b"\noom_kill ")
    return int(rest.split()[0]) if found else 0


class KernelKills:
    """Processes that the kernel has killed for want of memory, as the reason why one is gone.

    A process that is killed with much memory needs a while to give it back, and only then is it
    gone: a kill can explain a death that comes up to ``REMEMBERED_SECONDS`` after it.
    """

    REMEMBERED_SECONDS = 5.0

    def __init__(self, count: Callable[[], int] = _kills) -> None:
        self._count = count
        self._explained = self._count()
        """Of all that there were: these are accounted for, or were too long ago."""
        self._seen: deque[tuple[float, int]] = deque()

    def look(self, now: float) -> None:
        """Every now and then; ``now`` by a monotonic clock."""
        self._seen.append((now, self._count()))
        while self._seen[0][0] < now - self.REMEMBERED_SECONDS:
            self._explained = max(self._explained, self._seen.popleft()[1])

    def explain_one(self) -> bool:
        """Whether there was one that nothing has been explained with yet."""
        if self._count() <= self._explained:
            return False
        self._explained += 1
        return True


class Growth:
    """Memory of trees of processes beyond what each process was first seen with."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def of_tree(self, pid: int, below: list[int]) -> int:
        """An estimate for an executor and its descendants, zero when the executor is gone."""
        executor = resident(pid)
        if executor is None:
            return 0
        private = executor.private - self._first.setdefault(pid, executor.private)
        shared = executor.shared
        for each in below:
            now = resident(each)
            if now is not None:
                # A fork has at most what its ancestor had; the rest it took itself.
                inherited = min(now.private, executor.private)
                private += now.private - self._first.setdefault(each, inherited)
                shared = max(shared, now.shared)
        return max(0, private) + shared

    def begin(self, pid: int) -> None:
        """See a process for the first time, before it runs anything."""
        now = resident(pid)
        self._first[pid] = now.private if now is not None else 0

    def forget_all_but(self, pids: set[int]) -> None:
        for gone in self._first.keys() - pids:
            del self._first[gone]
