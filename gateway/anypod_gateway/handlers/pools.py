"""Pools and workers, as this gateway sees them."""

from aiohttp import web

from anypod.api.pools import (
    ExecutorCounts,
    PoolDocument,
    PoolList,
    QueueState,
    WorkerCounts,
    WorkerList,
)
from anypod.api.problems import error
from anypod_gateway import answers, requests
from anypod_gateway.calls import CALL
from anypod_gateway.services import SERVICES, Pool


async def list_pools(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    pools = await services.readable(await services.pools(), request[CALL])
    after, limit = requests.page(request.query)
    chosen, following = answers.page([pool.name for pool in pools], after, limit)
    items = [_document(pool) for pool in pools if pool.name in chosen]
    return answers.document(PoolList(items=items, next=following))


async def get_pool(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    return answers.document(_document(pool))


async def list_workers(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    after, limit = requests.page(request.query)
    workers = pool.workers()
    chosen, following = answers.page([worker.name for worker in workers], after, limit)
    items = [worker for worker in workers if worker.name in chosen]
    return answers.document(WorkerList(items=items, next=following))


async def get_worker(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    name = request.match_info["worker"]
    for worker in pool.workers():
        if worker.name == name:
            return answers.document(worker)
    raise error("worker-not-found", f"pool {pool.name!r} has no worker {name!r}")


def _document(pool: Pool) -> PoolDocument:
    workers = pool.workers()
    return PoolDocument(
        name=pool.name,
        spec=pool.spec.model_dump(mode="json", by_alias=True),
        workers=WorkerCounts(total=len(workers), ready=sum(worker.ready for worker in workers)),
        executors=ExecutorCounts(
            total=sum(worker.executors for worker in workers),
            busy=sum(worker.busy for worker in workers),
            idle=sum(worker.idle for worker in workers),
        ),
        queue=QueueState(depth=pool.queued(), limit=pool.spec.queue.depth),
        sessions=sum(worker.sessions for worker in workers),
        message=pool.message(),
    )
