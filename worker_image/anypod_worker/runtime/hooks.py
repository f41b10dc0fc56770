"""Lists of the process to which programs add callables of theirs, and libraries too.

What a library adds, mostly when it is imported, stays, as the library does: what ``six`` or an
editable installation can import is found by a finder of its own, for every program that comes
later. What a program adds itself, as it runs, goes.
"""

import gc
import sys
from typing import Any

_modules = sys.modules
"""The interpreter's own, whatever a program puts in its place."""


def is_a_librarys(value: Any) -> bool:
    """Whether it was defined in a module that all programs have in common, and not by Python's own
    library: a program uses that to build its own. To be asked while no program is active."""
    module = getattr(value, "__module__", None)
    return (
        isinstance(module, str)
        and module in _modules
        and module != "__main__"
        and module.partition(".")[0] not in sys.stdlib_module_names
    )


def unless_a_librarys(value: Any, standard: Any) -> Any:
    return standard if value is not standard and is_a_librarys(value) else value


class _List:
    """One of them, of which only what is not a library's is read and written."""

    def __init__(self, owner: Any, name: str) -> None:
        self._owner = owner
        self._name = name
        self._list: list[Any] = getattr(owner, name)
        self.seen: list[Any] = []

    def look(self) -> list[Any]:
        self.seen = list(getattr(self._owner, self._name))
        return [each for each in self.seen if not is_a_librarys(each)]

    def write(self, saved: list[Any]) -> None:
        """In its order, where that is as it was."""
        live = getattr(self._owner, self._name, None)
        wanted = list(map(id, saved))
        kept = [
            each
            for each in (live if isinstance(live, list) else ())
            if id(each) in wanted or is_a_librarys(each)
        ]
        if [id(each) for each in kept if id(each) in wanted] != wanted:
            kept = [*(each for each in kept if id(each) not in wanted), *saved]
        self._list[:] = kept
        setattr(self._owner, self._name, self._list)


_finders, _hooks, _callbacks = _LISTS = (
    _List(sys, "meta_path"),
    _List(sys, "path_hooks"),
    _List(gc, "callbacks"),
)
_read: list[list[Any]] = []


def read() -> list[list[Any]]:
    """On the path of every execution: mostly all is as it was when it was read last."""
    global _read
    if (
        sys.meta_path != _finders.seen
        or sys.path_hooks != _hooks.seen
        or gc.callbacks != _callbacks.seen
    ):
        _read = [each.look() for each in _LISTS]
    return _read


def write(saved: list[list[Any]]) -> None:
    for each, its in zip(_LISTS, saved, strict=True):
        each.write(its)
    sys.path_importer_cache.clear()  # what the path's hooks had made
