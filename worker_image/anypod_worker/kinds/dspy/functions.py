"""Functions that come as source: tools of an agent, and the reward of a wrap.

Each is a file of its own in the program's folder, so that tracebacks show its lines, and a module
of its own that nobody can import.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from anypod_worker.runtime import failures, interrupts
from anypod_worker.runtime.loading import invalid


def defined(source: str, name: str, file: Path, path: str) -> Callable[..., Any]:
    """The function of that name. Raises InvalidProgram; ``path`` is where the source stands."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(source, encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": name, "__file__": str(file)}
    root = file.parents[1]
    try:
        exec(compile(source, str(file), "exec", dont_inherit=True), namespace)  # noqa: S102
    except interrupts.Interrupted:
        raise invalid(f"{path}: defining {name!r} did not end in time", path=path) from None
    except Exception as error:  # noqa: BLE001 - the client's own code
        raise invalid(
            f"{path}: defining {name!r} failed: {failures.describe(error)}",
            path=path,
            exception=failures.name_of(error),
            message=failures.message_of(error),
            traceback=failures.traceback_of(error, root),
            line=failures.own_line(error, root),
        ) from None
    function: Callable[..., Any] = namespace[name]
    return function
