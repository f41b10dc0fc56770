"""Why an execution has no outputs, when it is the supervisor that says so."""

from anypod.wire.config import Limits
from anypod.wire.messages import Failure
from anypod_worker.crowd import BLOCKED
from anypod_worker.executors import CLOSED, Death

DEADLINE = "deadline"
CANCELLED = "cancelled"
STOPPED = "stopped"
SESSION_ENDED = "session-ended"
SESSION_MOVED = "session-moved"
MEMORY = "memory"
OUT_OF_MEMORY = "oom"
PROCESSES = "processes"
TOO_LARGE = "too-large"

INTERRUPTED_ITSELF = Failure(
    type="program-error",
    detail="the program was interrupted by a signal that it caused itself",
    exception="KeyboardInterrupt",
)

KEPT_OTHERS = Failure(
    type="program-error",
    detail="the program kept the event loop, so that other executions in its process had to wait; "
    "it was interrupted. Await what takes time (asyncio.to_thread for what cannot be awaited), or "
    "give the program a concurrency of 1",
    exception="KeyboardInterrupt",
)
BROKEN_BY_ANOTHER = Failure(
    type="worker-lost", detail="another execution ended the process that both ran in"
)


def of_stop(why: str, timeout: float) -> Failure:
    """For an execution that was told to stop, whatever its program made of it."""
    return {
        DEADLINE: Failure(
            type="deadline-exceeded", detail=f"the execution did not end within {timeout:g} s"
        ),
        CANCELLED: Failure(type="deadline-exceeded", detail="the execution was cancelled"),
        STOPPED: Failure(type="worker-lost", detail="the worker was stopped"),
        TOO_LARGE: Failure(
            type="output-too-large",
            detail="an item, or all at once, was more than can be sent",
            path="outputs",
        ),
        SESSION_ENDED: Failure(type="session-not-found", detail="the session was ended"),
        SESSION_MOVED: Failure(
            type="session-state-conflict", detail="the session has moved to another worker"
        ),
    }[why]


def of_death(death: Death, limits: Limits) -> Failure:
    """For an execution whose executor is gone."""
    if death.by_another:
        return BROKEN_BY_ANOTHER
    if death.reason == BLOCKED:
        return KEPT_OTHERS
    if death.reason == MEMORY:
        return Failure(
            type="out-of-memory",
            detail="the program and what it started used more than limits.memory of the pool,"
            f" {limits.memory_bytes} bytes",
            limit=limits.memory_bytes,
        )
    if death.reason == OUT_OF_MEMORY:
        return Failure(
            type="out-of-memory",
            detail="the kernel killed the program, as the memory of the worker's container or"
            " machine was full",
            signal=death.signal,
        )
    if death.reason == PROCESSES:
        return Failure(
            type="program-crashed",
            detail=f"the program started more than {limits.processes} processes and was killed",
            signal=death.signal,
            limit=limits.processes,
        )
    if death.reason in {"protocol", CLOSED}:
        return Failure(
            type="program-crashed",
            detail="the program broke its process's connection and was killed",
            signal=death.signal,
        )
    return _of_status(death)


def _of_status(death: Death) -> Failure:
    if death.exit_code is not None:
        return Failure(
            type="program-exited",
            detail=f"the program ended its process with exit code {death.exit_code}",
            exit_code=death.exit_code,
        )
    if death.signal is not None:
        return Failure(
            type="program-crashed",
            detail=f"the program's process was killed by {death.signal}",
            signal=death.signal,
        )
    return Failure(type="internal-error", detail="the program's process could not be started")
