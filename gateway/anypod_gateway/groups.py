"""Which of our executions share an executor: those of one program, in groups.

A group takes one executor of its worker from its first execution to its last, as an execution that
runs alone does. So what is free on a worker is counted in executors, however many run in each.
"""

from collections.abc import Iterable
from itertools import count

from anypod.resources import WorkerPoolSpec

_names = count(1)


def allowed(concurrency: int, spec: WorkerPoolSpec) -> int:
    """What a program asks for, as its pool is now: that may be other than when it was created."""
    if concurrency == 1 or spec.isolation == "fresh":
        return 1
    return min(concurrency, spec.concurrency)


class Group:
    """Executions in one executor."""

    __slots__ = ("is_closed", "members", "name", "room")

    def __init__(self, room: int) -> None:
        self.name = f"g{next(_names)}"
        self.room = room
        self.members = 0
        self.is_closed = False
        """The worker takes no more into it."""

    @property
    def free(self) -> int:
        return 0 if self.is_closed else max(0, self.room - self.members)


class Share:
    """What an execution asks for that needs no executor of its own; and its place, once there is
    one."""

    __slots__ = ("concurrency", "group", "revision")

    def __init__(self, revision: str, concurrency: int) -> None:
        self.revision = revision
        self.concurrency = concurrency
        """How many of this revision one executor takes."""
        self.group: Group | None = None

    @property
    def group_name(self) -> str:
        return "" if self.group is None else self.group.name

    def close(self) -> None:
        """The worker has refused to take it into its group, and will refuse others."""
        if self.group is not None:
            self.group.is_closed = True


class Groups:
    """Those on one worker."""

    def __init__(self) -> None:
        self._of: dict[str, list[Group]] = {}

    def free(self, revision: str) -> int:
        """Places in executors that are taken already."""
        return sum(group.free for group in self._groups(revision))

    def _groups(self, revision: str) -> Iterable[Group]:
        return self._of.get(revision, ())

    def enter(self, share: Share, room: int) -> bool:
        """Into the fullest group with room, so that others become empty, else into a new one of so
        many. Whether it takes another executor."""
        open_ = [group for group in self._groups(share.revision) if group.free]
        group = max(open_, key=lambda group: group.members, default=None)
        if group is None:
            group = Group(room)
            self._of.setdefault(share.revision, []).append(group)
        group.members += 1
        share.group = group
        return group.members == 1

    def leave(self, share: Share) -> bool:
        """Whether an executor is free by that."""
        group, share.group = share.group, None
        if group is None:
            return False
        group.members -= 1
        if group.members:
            return False
        groups = self._of[share.revision]
        groups.remove(group)
        if not groups:
            del self._of[share.revision]
        return True
