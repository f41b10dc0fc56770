"""How a worker is, in words for people and as the API's document."""

from anypod.api.pools import WorkerDocument
from anypod.wire.messages import Load
from anypod_gateway.workers import Worker

_SILENT = Load(
    ready=False, draining=False, busy=0, idle=0, sessions=0, busy_sessions=0, restarts={}
)


def why_not_ready(worker: Worker) -> str:
    """Empty when it may be given work."""
    if worker.endpoint.terminating:
        return "is terminating"
    if worker.is_draining:
        return "is draining"
    if not worker.is_up:
        return "has no link" if worker.endpoint.ready else "is not ready yet"
    if worker.load is None or not worker.load.ready:
        return (worker.load.message if worker.load is not None else "") or "is starting"
    if not worker.endpoint.ready:
        return "does not pass its readiness probe yet"
    return "" if worker.is_placeable else "refuses work"


def document(worker: Worker, pool: str) -> WorkerDocument:
    load = worker.load or _SILENT
    return WorkerDocument(
        name=worker.name,
        pool=pool,
        ready=worker.is_placeable,
        draining=worker.is_leaving,
        executors=worker.executors,
        busy=load.busy,
        idle=load.idle,
        running=load.running,
        sessions=load.sessions,
        restarts=load.restarts,
        memory_bytes=load.memory_bytes,
        message=why_not_ready(worker),
    )
