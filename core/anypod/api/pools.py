"""Pools and their workers as clients get them."""

from typing import Any

from anypod.api.documents import AnswerModel, Listing


class WorkerDocument(AnswerModel):
    """A worker, as it last described itself to this gateway."""

    name: str
    pool: str
    ready: bool
    draining: bool
    executors: int
    busy: int
    """Shared executors that run something."""
    idle: int
    """Shared executors that could start something now."""
    running: int = 0
    """Executions in shared executors: more than are busy, where some share one."""
    sessions: int
    restarts: dict[str, int]
    """Executors replaced since the worker started, by reason."""
    memory_bytes: int
    message: str
    """Why it is not ready."""


class WorkerCounts(AnswerModel):
    total: int
    ready: int


class ExecutorCounts(AnswerModel):
    total: int
    busy: int
    idle: int


class QueueState(AnswerModel):
    depth: int
    """Calls that wait at this gateway now."""
    limit: int


class PoolDocument(AnswerModel):
    """A pool: what it is meant to be, and how it is."""

    name: str
    spec: dict[str, Any]
    """The spec of its WorkerPool."""
    workers: WorkerCounts
    executors: ExecutorCounts
    queue: QueueState
    sessions: int
    """Executors of sessions that its workers hold."""
    message: str = ""
    """What is wrong with the pool as a whole."""


class PoolList(Listing[PoolDocument]):
    """Pools in the order of their names."""


class WorkerList(Listing[WorkerDocument]):
    """A pool's workers in the order of their names."""
