"""Both clients over a real connection to a server that misbehaves as the test says."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.scripted_http import (
    Action,
    answers,
    hangs_up,
    refuses,
    scripted,
    streams,
    vanishes,
)

from anypod import AnyPodError, AsyncClient, Client
from anypod.client import (
    Answer,
    AnswerLost,
    Chunk,
    InvalidInputs,
    LogText,
    NotFound,
    ProgramFailed,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    WorkerLost,
    sockets,
)

EXECUTION = {
    "id": "x-1",
    "revision": "ab" * 32,
    "worker": "w1",
    "attempt": 1,
    "queueSeconds": 0.0,
    "runSeconds": 0.1,
    "program": "greet",
    "newer": "ignored",
}
WITHOUT_KEY = {"idempotency_key": ""}
RESULT = {"outputs": {"n": 2**70, "s": "\ud800 nan Infinity"}, "execution": EXECUTION}

Run = Callable[..., Any]


async def run_async(url: str, *, options: dict[str, Any] | None = None, **client: Any) -> Answer:
    async with AsyncClient(url, **client) as api:
        return await api.run("greet", {}, **(options or {}))


async def run_sync(url: str, *, options: dict[str, Any] | None = None, **client: Any) -> Answer:
    def run() -> Answer:
        with Client(url, **client) as api:
            return api.run("greet", {}, **(options or {}))

    return await asyncio.to_thread(run)


async def stream_async(url: str, **client: Any) -> list[Any]:
    async with AsyncClient(url, **client) as api, await api.stream("greet", {}) as events:
        return [event async for event in events]


async def stream_sync(url: str, **client: Any) -> list[Any]:
    def stream() -> list[Any]:
        with Client(url, **client) as api, api.stream("greet", {}) as events:
            return list(events)

    return await asyncio.to_thread(stream)


both = pytest.mark.parametrize("run", [run_sync, run_async])
both_streams = pytest.mark.parametrize("stream", [stream_sync, stream_async])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can let a connection vanish")
@both
async def test_a_gateway_whose_machine_has_died_is_noticed_long_before_the_deadline(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, which is no reason to give up for a call that may be sent again."""
    monkeypatch.setattr(sockets, "PROBE_AFTER_SECONDS", 1)
    with scripted(vanishes, answers(200, RESULT)) as server:
        with pytest.raises(AnswerLost):
            await run(server.url, timeout=100, options=WITHOUT_KEY)
        assert (await run(server.url, timeout=100)).execution.worker == "w1"
    with scripted(vanishes, answers(200, RESULT)) as server:
        answer = await run(server.url, timeout=100, options={"idempotent": True})
        assert answer.execution.worker == "w1"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@both
async def test_outputs_come_back_exactly(run: Run) -> None:
    with scripted(answers(200, RESULT)) as server:
        answer = await run(server.url)
    assert answer.outputs == RESULT["outputs"]
    assert answer.execution.worker == "w1"
    assert server.requests[0].line == "POST /v1/pools/default/programs/greet/run HTTP/1.1"
    assert server.requests[0].json() == {"inputs": {}}


@both
@pytest.mark.parametrize(
    ("type_", "status", "family"),
    [
        ("program-not-found", 404, NotFound),
        ("invalid-inputs", 422, InvalidInputs),
        ("program-error", 500, ProgramFailed),
        ("invented-later", 503, Unavailable),
    ],
)
async def test_a_problem_is_raised_as_its_family_with_the_document(
    run: Run, type_: str, status: int, family: type[AnyPodError]
) -> None:
    with (
        scripted(refuses(type_, status, execution="x-1", newer=1)) as server,
        pytest.raises(family) as caught,
    ):
        await run(server.url, options=WITHOUT_KEY)
    assert caught.value.type == type_
    assert caught.value.problem.execution == "x-1"


@both
async def test_a_server_that_is_no_gateway_is_named_as_such(run: Run) -> None:
    with (
        scripted(answers(502, "<html>")) as server,
        pytest.raises(UnexpectedAnswer, match="HTTP 502"),
    ):
        await run(server.url)
    with scripted(answers(200, [1])) as server, pytest.raises(UnexpectedAnswer):
        await run(server.url)


@both
async def test_nothing_there_is_unreachable_after_the_retries(run: Run) -> None:
    with pytest.raises(Unreachable, match=r"cannot connect to http://127\.0\.0\.1:.*refused"):
        await run(f"http://127.0.0.1:{closed_port()}", retries=1)


@both
async def test_a_call_that_may_have_started_is_never_repeated_by_itself(run: Run) -> None:
    with scripted(hangs_up, answers(200, RESULT)) as server, pytest.raises(AnswerLost):
        await run(server.url, options=WITHOUT_KEY)
    assert len(server.requests) == 1


@both
async def test_a_call_with_a_key_is_repeated_with_the_same_one(run: Run) -> None:
    with scripted(
        hangs_up, refuses("store-unavailable", 503), answers(200, RESULT), answers(200, RESULT)
    ) as server:
        assert (await run(server.url)).outputs == RESULT["outputs"]
        await run(server.url)
    first, *repeated, another = (each.headers["idempotency-key"] for each in server.requests)
    assert repeated == [first, first]
    assert another != first


@both
async def test_a_lost_worker_is_told_though_there_is_a_key(run: Run) -> None:
    with (
        scripted(refuses("worker-lost", 502), answers(200, RESULT)) as server,
        pytest.raises(WorkerLost),
    ):
        await run(server.url)
    assert len(server.requests) == 1


@both
async def test_a_call_that_may_have_started_is_repeated_if_the_caller_says_so(run: Run) -> None:
    with scripted(hangs_up, refuses("worker-lost", 502), answers(200, RESULT)) as server:
        answer = await run(server.url, options={"idempotent": True})
    assert answer.outputs == RESULT["outputs"]
    assert len(server.requests) == 3


@both
async def test_a_full_queue_is_waited_for_as_long_as_the_gateway_says(run: Run) -> None:
    with scripted(
        refuses("queue-full", 429, retryAfter=0), refuses("no-worker", 503), answers(200, RESULT)
    ) as server:
        assert (await run(server.url)).outputs == RESULT["outputs"]
    with (
        scripted(refuses("queue-full", 429, retryAfter=1000)) as server,
        pytest.raises(Unavailable),
    ):
        await run(server.url)


@both
async def test_retries_end(run: Run) -> None:
    with (
        scripted(*[refuses("queue-full", 429, retryAfter=0)] * 3) as server,
        pytest.raises(Unavailable),
    ):
        await run(server.url, retries=2)
    assert len(server.requests) == 3


@both
async def test_a_server_that_does_not_answer_is_given_up_and_told_so(run: Run) -> None:
    with scripted(lambda _: None) as server:
        with pytest.raises(TimedOut):
            await run(server.url, timeout=0.2)
        assert server.client_left.wait(10)
    assert len(server.requests) == 1


@both
async def test_a_body_that_trickles_does_not_outlast_the_deadline(run: Run) -> None:
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not over.wait(0.02):
            connection.sendall(b" ")

    with scripted(trickle) as server:
        with pytest.raises(TimedOut):
            await run(server.url, timeout=0.3)
        over.set()


@both
async def test_half_an_answer_is_no_answer(run: Run) -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        hangs_up(connection)

    with scripted(half) as server, pytest.raises(AnswerLost):
        await run(server.url)


EVENTS = (
    b': still running\n\nevent: chunk\ndata: {"a": \xc3\xa4}\n\n'.replace(
        b"\xc3\xa4", b'"\xc3\xa4"'
    )
    + b'event: log\ndata: {"stream": "stdout", "text": "hi\\n"}\n\n'
    b"event: invented-later\ndata: ?\n\n"
)
END = (
    b'event: result\ndata: {"outputs": null, "execution": {"id": "x-1", "revision": "r",'
    b' "worker": "w1", "attempt": 1, "queueSeconds": 0, "runSeconds": 0}}\n\n'
)


@both_streams
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_events_are_typed_however_they_are_cut(stream: Run, size: int) -> None:
    data = EVENTS + END
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    with scripted(streams(pieces)) as server:
        chunk, log, result = await stream(server.url)
    assert chunk == Chunk({"a": "ä"})
    assert log == LogText("stdout", "hi\n")
    assert result.execution.worker == "w1"
    assert server.requests[0].headers["accept"] == "text/event-stream"


@both_streams
async def test_a_stream_is_read_to_its_end_after_its_result(stream: Run) -> None:
    """A gateway takes a client that goes before the end for one that has left."""
    left: list[bool] = []

    def end_late(connection: socket.socket) -> None:
        streams([END], whole=False, cut=lambda _: None)(connection)
        connection.settimeout(0.3)
        try:
            left.append(connection.recv(1) == b"")
        except TimeoutError:
            left.append(False)
        connection.settimeout(30)
        connection.sendall(b"0\r\n\r\n")

    with scripted(end_late) as server:
        (result,) = await stream(server.url)
    assert result.execution.id == "x-1"
    assert left == [False]


@both_streams
async def test_a_stream_that_ends_without_a_result_is_an_error(stream: Run) -> None:
    for whole in (True, False):
        with scripted(streams([EVENTS], whole=whole)) as server, pytest.raises(AnswerLost):
            await stream(server.url)


@both_streams
async def test_a_problem_in_a_stream_is_raised(stream: Run) -> None:
    problem = b'event: problem\ndata: {"type": "program-error", "title": "t", "status": 500,'
    with (
        scripted(streams([EVENTS, problem + b' "detail": "d"}\n\n'])) as server,
        pytest.raises(ProgramFailed, match="program-error: d"),
    ):
        await stream(server.url)


@both_streams
async def test_a_stream_that_breaks_after_its_last_event_has_ended_well(stream: Run) -> None:
    with scripted(streams([END], whole=False)) as server:
        (result,) = await stream(server.url)
        assert result.execution.id == "x-1"


@both_streams
async def test_a_stream_of_nonsense_keeps_no_connection(stream: Run) -> None:
    with scripted(_endless(b"event: chunk\ndata: {nonsense\n\n")) as server:
        with pytest.raises(UnexpectedAnswer):
            await stream(server.url)
        assert await asyncio.to_thread(server.client_left.wait, 10)


@both_streams
async def test_a_problem_before_a_stream_is_raised_and_a_busy_gateway_tried_again(
    stream: Run,
) -> None:
    with (
        scripted(refuses("queue-full", 429, retryAfter=0), refuses("invalid-inputs", 422)) as one,
        pytest.raises(InvalidInputs),
    ):
        await stream(one.url)


def test_leaving_a_stream_early_closes_its_connection() -> None:
    with scripted(_endless(ONE)) as server, Client(server.url) as client:
        events = client.stream("greet")
        assert next(events) == Chunk(1)
        events.close()
        assert server.client_left.wait(10)


async def test_leaving_an_async_stream_early_closes_its_connection() -> None:
    with scripted(_endless(ONE)) as server:
        async with AsyncClient(server.url) as client:
            async with await client.stream("greet") as events:
                assert await anext(events) == Chunk(1)
            assert await asyncio.to_thread(server.client_left.wait, 10)


ONE = b"event: chunk\ndata: 1\n\n"


def _endless(events: bytes) -> Action:
    """These, and no end of the stream."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    chunk = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(events), events)
    return lambda connection: connection.sendall(head + chunk)


def test_lists_follow_their_pages() -> None:
    def page(names: list[str], after: str | None) -> Any:
        items = [
            {"name": name, "pool": "default", "ready": True, "draining": False, "executors": 1}
            | {"busy": 0, "idle": 1, "sessions": 0, "restarts": {}, "memoryBytes": 0}
            | {"message": ""}
            for name in names
        ]
        return answers(200, {"items": items, "next": after})

    with (
        scripted(page(["a", "b"], "b"), page([], "c"), page(["c"], None)) as server,
        Client(server.url + "/under/") as client,
    ):
        assert [worker.name for worker in client.workers.list()] == ["a", "b", "c"]
    assert [request.line.split()[1] for request in server.requests] == [
        "/under/v1/pools/default/workers?limit=1000",
        "/under/v1/pools/default/workers?limit=1000&after=b",
        "/under/v1/pools/default/workers?limit=1000&after=c",
    ]


def test_one_client_serves_many_threads() -> None:
    with scripted(*[answers(200, RESULT)] * 64) as server, Client(server.url) as client:
        outputs: list[Any] = []
        threads = [
            threading.Thread(target=lambda: outputs.append(client.run("greet").outputs))
            for _ in range(64)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert outputs == [RESULT["outputs"]] * 64
