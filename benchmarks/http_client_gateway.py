"""AnyPod's own gateway, but with aiohttp's HTTP client where it has its links to workers.

Everything before and after the call of a worker is the product's own code, unchanged: server,
routes, reading and checking of requests, ids, the program cache, deadline, metrics, access log,
answer. Only ``Dispatcher.run`` is another: it posts the inputs to one of two plain aiohttp workers
in turn, by a keep-alive ``aiohttp.ClientSession``, and takes the outputs out of what they answer.

What that leaves out makes this rival faster than a full one would be: no admission and no
placement, no retry, no interrupt of what has missed its deadline, and a worker that calls the
function in its own process, without validation, isolation or limits.

Usage: ``python -m benchmarks.http_client_gateway PORT,PORT OPTIONS-OF-THE-GATEWAY``. The workers of
its pools file only check the program when it is created.
"""

import asyncio
import itertools
import sys
from collections.abc import Iterator

import aiohttp
import msgspec
from yarl import URL

from anypod.api.problems import error
from anypod_gateway import pool
from anypod_gateway import process as product
from anypod_gateway.dispatch import Dispatcher
from anypod_gateway.executions import ExecutionAnswer, ExecutionInfo, ExecutionRequest

HEADERS = {"Content-Type": "application/json"}


class WorkerAnswer(msgspec.Struct, frozen=True):
    outputs: msgspec.Raw


decode = msgspec.json.Decoder(WorkerAnswer).decode


class HttpDispatcher(Dispatcher):
    workers: Iterator[URL]
    session: aiohttp.ClientSession | None = None

    async def run(self, request: ExecutionRequest) -> ExecutionAnswer:
        if self.session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
            self.session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        worker = next(self.workers)
        loop = asyncio.get_running_loop()
        began = loop.time()
        body = b'{"inputs":' + request.inputs + b"}"
        try:
            async with (
                asyncio.timeout_at(request.deadline),
                self.session.post(worker, data=body, headers=HEADERS) as answer,
            ):
                if answer.status != 200:
                    raise error("program-error", f"status {answer.status}")
                told = decode(await answer.read())
        except TimeoutError:
            raise error("deadline-exceeded", "the worker did not answer in time") from None
        except aiohttp.ClientError as broken:
            raise error("worker-lost", str(broken)) from broken
        return ExecutionAnswer(bytes(told.outputs), info(request, worker, loop.time() - began))


def info(request: ExecutionRequest, worker: URL, seconds: float) -> ExecutionInfo:
    return ExecutionInfo(
        execution=request.execution,
        program=request.program,
        revision=request.revision,
        worker=str(worker.port),
        attempt=1,
        queue_seconds=0.0,
        run_seconds=seconds,
    )


def main() -> int:
    ports = sys.argv.pop(1).split(",")
    HttpDispatcher.workers = itertools.cycle(URL(f"http://127.0.0.1:{port}/run") for port in ports)
    pool.Dispatcher = HttpDispatcher  # type: ignore[attr-defined]
    return product.main()


if __name__ == "__main__":
    sys.exit(main())
