"""A real worker process, and a gateway's end of a link to it.

``started_worker`` starts one by ``python -m anypod_worker`` on a free port and stops it afterwards;
``Gateway`` speaks the wire as a gateway would, for tests that have no gateway.
"""

import asyncio
import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from tests.support import warm_processes

from anypod.wire import codec
from anypod.wire.config import WorkerConfig
from anypod.wire.messages import (
    Cancel,
    Check,
    Checked,
    Chunk,
    Code,
    Credit,
    EndSession,
    Execute,
    GatewayHello,
    Load,
    Log,
    Message,
    NeedProgram,
    NeedState,
    Program,
    Progress,
    Refused,
    Result,
    SessionRef,
    SessionState,
    Verdict,
    WorkerHello,
)

TOKEN = "the-link-secret-of-this-test"
PATIENCE = 30.0
"""Seconds that anything may take on a busy machine before a test gives up on it."""


def code_of(source: str, entrypoint: str = "main:main") -> Code:
    return Code(kind="python", files={"main.py": source}, entrypoint=entrypoint)


def revision_of(code: Code) -> str:
    """A stand-in for the store's: another for every content."""
    return hashlib.sha256(msgspec.json.encode(code)).hexdigest()


# the process


def _die_with_parent() -> None:
    """A test run that is killed takes its workers with it."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@dataclass
class Worker:
    config: WorkerConfig
    process: warm_processes.Started
    port: int
    log: list[str]
    """Lines of its stderr so far."""
    logged: asyncio.Condition
    reading: "asyncio.Task[None] | None" = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def wait_for_log(self, text: str) -> str:
        """The first line that contains it."""
        found: list[str] = []

        def is_there() -> bool:
            found.extend(line for line in self.log if text in line)
            return bool(found) or self.process.returncode is not None

        async with asyncio.timeout(PATIENCE), self.logged:
            await self.logged.wait_for(is_there)
        assert found, f"{text!r} was not logged:\n" + "\n".join(self.log)
        return found[0]

    async def is_ready(self) -> bool:
        async with (
            aiohttp.ClientSession() as http,
            http.get(self.url + "/readyz", timeout=aiohttp.ClientTimeout(PATIENCE)) as answer,
        ):
            return answer.status == 200

    async def until_idle(self, executors: int) -> None:
        """Until so many shared executors are idle, and none is busy, as it is now: what gateways
        are told of that lags behind."""
        wanted = {f"anypod_worker_executors_idle {executors}", "anypod_worker_executors_busy 0"}
        async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE):
            while True:
                async with http.get(self.url + "/metrics") as answer:
                    if wanted <= set((await answer.text()).splitlines()):
                        return
                await asyncio.sleep(0.01)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


def worker_config(name: str = "w1", **changes: Any) -> WorkerConfig:
    settings: dict[str, Any] = {"worker": name, "pool": "pool", "port": 0, "drain_seconds": 5.0}
    return WorkerConfig(**{**settings, **changes})


async def start_worker(
    config: WorkerConfig,
    directory: Path,
    *,
    environment: dict[str, str] | None = None,
    in_child: Callable[[], None] | None = None,
    warm: bool = False,
) -> Worker:
    """Started and listening; perhaps not ready yet. ``in_child`` runs before the interpreter.
    ``warm``: forked, unless its environment says something to the interpreter."""
    config_file, token_file = directory / "config.json", directory / "token"
    config_file.write_bytes(msgspec.json.encode(config))
    token_file.write_text(TOKEN)

    def before() -> None:
        _die_with_parent()
        if in_child is not None:
            in_child()

    process: warm_processes.Started
    if warm and not any(name.startswith(("PYTHON", "LD_")) for name in config.env):
        process = await warm_processes.workers().start(str(config_file), str(token_file))
    else:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "anypod_worker"),
            *("--config-file", str(config_file), "--token-file", str(token_file)),
            env=dict(os.environ) if environment is None else environment,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=before,
            limit=2**24,
        )
    worker = Worker(config, process, 0, [], asyncio.Condition())
    worker.reading = asyncio.create_task(_read_log(worker))
    line = await worker.wait_for_log("listening")
    worker.port = json.loads(line)["port"]
    return worker


async def _read_log(worker: Worker) -> None:
    assert worker.process.stderr is not None
    async for line in worker.process.stderr:
        async with worker.logged:
            worker.log.append(line.decode(errors="replace").rstrip("\n"))
            worker.logged.notify_all()
    await worker.process.wait()
    async with worker.logged:
        worker.logged.notify_all()


@contextlib.asynccontextmanager
async def started_worker(config: WorkerConfig | None = None, **how: Any) -> AsyncIterator[Worker]:
    """A ready worker with a log as JSON lines."""
    config = config or worker_config()
    with tempfile.TemporaryDirectory() as directory:
        worker = await start_worker(config, Path(directory), warm=not how, **how)
        try:
            await worker.wait_for_log("worker ready")
            yield worker
        finally:
            if worker.process.returncode is None:
                await worker.stop()
            assert worker.reading is not None
            # What it started may hold its stderr for a moment longer.
            await asyncio.wait({worker.reading}, timeout=PATIENCE)


# the link


@dataclass
class Answer:
    """Everything that was said of one execution."""

    result: Result | None = None
    refused: Refused | None = None
    chunks: list[bytes] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    asked: list[Message] = field(default_factory=list)

    @property
    def outputs(self) -> Any:
        assert self.result is not None, self.refused
        assert self.result.failure is None, self.result.failure
        assert self.result.outputs is not None
        return json.loads(self.result.outputs)

    @property
    def failure(self) -> Any:
        assert self.result is not None, self.refused
        assert self.result.failure is not None, self.result.outputs
        return self.result.failure


class Gateway:
    """One link. Answers ``NeedProgram`` and ``NeedState`` from ``codes`` and ``states``."""

    _ids = itertools.count(1)

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, name: str) -> None:
        self.name = name
        self.codes: dict[str, Code] = {}
        self.states: dict[str, tuple[bytes, int]] = {}
        """Session → state and version, as a store would hold them."""
        self.commit = True
        """Say yes to new states, and keep them."""
        self.credit = True
        """Give back what streams have used."""
        self.gives_programs = True
        """Send what the worker lacks."""
        self.loads: list[Load] = []
        self.hello: WorkerHello | None = None
        self.received: list[Message] = []
        self.close_code: int | None = None
        self._socket = socket
        self._answers: dict[str, Answer] = {}
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    @property
    def load(self) -> Load:
        return self.loads[-1]

    async def send(self, *messages: Message) -> None:
        await self._socket.send_bytes(codec.encode(messages))

    async def send_bytes(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def close(self) -> None:
        await self._socket.close()
        await self._reading

    def break_off(self) -> None:
        """As when the gateway's process dies."""
        assert self._socket._response.connection is not None
        transport = self._socket._response.connection.transport
        assert transport is not None
        transport.abort()

    async def until(self, what: Callable[[], Any]) -> None:
        """Until it is true, looked at whenever the worker has said something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE), self._news:
                await self._news.wait_for(lambda: what() or self.close_code is not None)
        assert what(), f"{self.close_code=}, {self.loads[-1:]}: {self.received[-5:]}"

    async def _read(self) -> None:
        async for message in self._socket:
            for each in codec.decode_for_gateway(message.data):
                await self._take(each)
            async with self._news:
                self._news.notify_all()
        self.close_code = self._socket.close_code or 1006
        async with self._news:
            self._news.notify_all()

    async def _take(self, message: Message) -> None:
        self.received.append(message)
        if isinstance(message, WorkerHello):
            self.hello = message
        elif isinstance(message, Load):
            self.loads.append(message)
        answer = self._answers.get(getattr(message, "id", ""))
        if answer is not None:
            await self._answer(message, answer)

    async def _answer(self, message: Message, answer: Answer) -> None:
        if isinstance(message, Result):
            answer.result = message
        elif isinstance(message, Refused):
            answer.refused = message
        elif isinstance(message, Chunk | Log):
            await self._streamed(message, answer)
        elif isinstance(message, Progress):
            answer.progress.append(message)
        elif isinstance(message, NeedProgram):
            answer.asked.append(message)
            if not self.gives_programs:
                return
            code = self.codes[message.revision]
            await self.send(Program(message.id, message.revision, code))
        elif isinstance(message, NeedState):
            answer.asked.append(message)
            state, version = self.states.setdefault(message.session, (b"{}", 1))
            await self.send(SessionState(message.id, state, version))

    async def _streamed(self, message: Chunk | Log, answer: Answer) -> None:
        if isinstance(message, Chunk):
            answer.chunks.append(message.data)
            size = len(message.data)
        else:
            answer.logs.append(message)
            size = len(message.text)
        if self.credit:
            await self.send(Credit(message.id, size))

    # executions

    async def begin(
        self,
        program: str | Code,
        inputs: dict[str, Any] | None = None,
        *,
        timeout: float = PATIENCE,
        stream: bool = False,
        logs: bool = False,
        session: SessionRef | None = None,
        group: str = "",
        progress: bool = False,
    ) -> str:
        """Send an execution of a source text or code; its id."""
        code = code_of(program) if isinstance(program, str) else program
        revision = revision_of(code)
        self.codes[revision] = code
        id_ = f"x-{self.name}-{next(self._ids)}"
        self._answers[id_] = Answer()
        body = json.dumps(inputs or {}).encode()
        await self.send(
            Execute(
                id_,
                "program",
                revision,
                body,
                timeout,
                stream=stream,
                logs=logs,
                session=session,
                group=group,
                progress=progress,
            )
        )
        return id_

    def so_far(self, id_: str) -> Answer:
        return self._answers[id_]

    async def end(self, id_: str) -> Answer:
        """Until the execution has been answered; a session's new state is decided too."""
        answer = self._answers[id_]
        await self.until(lambda: answer.result or answer.refused)
        return answer

    async def decide(self, session: SessionRef, result: Result) -> None:
        """Be the store for a new state."""
        if result.state is None:
            return
        version = result.base + 1
        if self.commit:
            self.states[session.key] = (result.state, version)
        await self.send(Verdict(session.key, session.epoch, self.commit, version))

    async def run(
        self, program: str | Code, inputs: dict[str, Any] | None = None, **how: Any
    ) -> Answer:
        """From execution to answer, and to verdict."""
        answer = await self.end(await self.begin(program, inputs, **how))
        session = how.get("session")
        if session is not None and answer.result is not None:
            await self.decide(session, answer.result)
        return answer

    async def check(self, program: str | Code, timeout: float = PATIENCE) -> Checked:
        code = code_of(program) if isinstance(program, str) else program
        id_ = f"c-{self.name}-{next(self._ids)}"
        await self.send(Check(id_, revision_of(code), code, timeout))

        def found() -> list[Checked]:
            return [m for m in self.received if isinstance(m, Checked) and m.id == id_]

        await self.until(found)
        return found()[0]

    async def cancel(self, id_: str) -> None:
        await self.send(Cancel(id_))

    async def end_session(self, key: str, epoch: int) -> None:
        await self.send(EndSession(key, epoch))


@contextlib.asynccontextmanager
async def linked(worker: Worker, name: str = "g1", token: str = TOKEN) -> AsyncIterator[Gateway]:
    """A link to a worker, greeted both ways."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            worker.url + codec.LINK_PATH,
            headers={codec.TOKEN_HEADER: token},
            max_msg_size=0,
            autoclose=True,
        ) as socket,
    ):
        gateway = Gateway(socket, name)
        try:
            await gateway.send(GatewayHello(name, "test"))
            await gateway.until(lambda: gateway.hello is not None and gateway.loads)
            yield gateway
        finally:
            await gateway.close()
