"""Clients for Python: ``Client`` blocks, ``AsyncClient`` awaits; what they say is the same.

Each brings an HTTP library, so each is loaded only when it is touched.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anypod.api.problems import AnyPodError as AnyPodError
    from anypod.client.aio import AsyncClient as AsyncClient
    from anypod.client.answers import Answer as Answer
    from anypod.client.answers import Chunk as Chunk
    from anypod.client.answers import LogText as LogText
    from anypod.client.batches import Item as Item
    from anypod.client.errors import AnswerLost as AnswerLost
    from anypod.client.errors import Conflict as Conflict
    from anypod.client.errors import DeadlineExceeded as DeadlineExceeded
    from anypod.client.errors import InvalidInputs as InvalidInputs
    from anypod.client.errors import InvalidProgram as InvalidProgram
    from anypod.client.errors import LmFailed as LmFailed
    from anypod.client.errors import NoAnswer as NoAnswer
    from anypod.client.errors import NotFound as NotFound
    from anypod.client.errors import ProgramFailed as ProgramFailed
    from anypod.client.errors import Refused as Refused
    from anypod.client.errors import TimedOut as TimedOut
    from anypod.client.errors import Unavailable as Unavailable
    from anypod.client.errors import UnexpectedAnswer as UnexpectedAnswer
    from anypod.client.errors import Unreachable as Unreachable
    from anypod.client.errors import WorkerLost as WorkerLost
    from anypod.client.job_calls import JobEvent as JobEvent
    from anypod.client.jobs_async import AsyncJob as AsyncJob
    from anypod.client.jobs_sync import Job as Job
    from anypod.client.sync import Client as Client

_HOMES = {
    "anypod.api.problems": ("AnyPodError",),
    "anypod.client.aio": ("AsyncClient",),
    "anypod.client.answers": ("Answer", "Chunk", "LogText"),
    "anypod.client.batches": ("Item",),
    "anypod.client.errors": (
        "AnswerLost",
        "Conflict",
        "DeadlineExceeded",
        "InvalidInputs",
        "InvalidProgram",
        "LmFailed",
        "NoAnswer",
        "NotFound",
        "ProgramFailed",
        "Refused",
        "TimedOut",
        "Unavailable",
        "UnexpectedAnswer",
        "Unreachable",
        "WorkerLost",
    ),
    "anypod.client.job_calls": ("JobEvent",),
    "anypod.client.jobs_async": ("AsyncJob",),
    "anypod.client.jobs_sync": ("Job",),
    "anypod.client.sync": ("Client",),
}
_EXPORTS = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "AnswerLost",
    "AnyPodError",
    "AsyncClient",
    "AsyncJob",
    "Chunk",
    "Client",
    "Conflict",
    "DeadlineExceeded",
    "InvalidInputs",
    "InvalidProgram",
    "Item",
    "Job",
    "JobEvent",
    "LmFailed",
    "LogText",
    "NoAnswer",
    "NotFound",
    "ProgramFailed",
    "Refused",
    "TimedOut",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "WorkerLost",
]


if not TYPE_CHECKING:  # to who checks types, it would say that there is any name

    def __getattr__(name: str) -> Any:
        if name in _EXPORTS:
            return getattr(import_module(_EXPORTS[name]), name)
        raise AttributeError(f"module 'anypod.client' has no attribute {name!r}")
