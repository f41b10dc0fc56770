"""A run with an Idempotency-Key happens once, whatever becomes of its callers and gateways."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from multidict import CIMultiDict
from tests.support.rig import Answer, Gateway, Rig, pool_of, rig

from anypod.api.ids import new_execution_id

NOTE = """
import time
def main(file: str, seconds: float = 0, size: int = 0, fail: bool = False) -> str:
    with open(file, "a") as log:
        log.write("begun\\n")
    time.sleep(seconds)
    with open(file, "a") as log:
        log.write("done\\n")
    if fail:
        raise ValueError("as it was told")
    return "x" * size or open(file).read()
"""
STREAM = """
import time
def main(file: str, count: int, seconds: float = 0, size: int = 0):
    with open(file, "a") as log:
        log.write("begun\\n")
    for number in range(count):
        yield str(number) + "x" * size
        time.sleep(seconds)
    with open(file, "a") as log:
        log.write("done\\n")
"""
pytestmark = pytest.mark.asyncio(loop_scope="module")
EVENTS = {"Accept": "text/event-stream"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    pool = pool_of(executors=4)
    async with rig(tmp_path_factory.mktemp("keyed"), pool=pool, workers=2, gateways=2) as made:
        await made.gateway.create(NOTE, "note")
        await made.gateway.create(NOTE + "# idempotent", "again", idempotent=True)
        await made.gateway.create(STREAM, "stream")
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def key() -> str:
    return new_execution_id()


def keyed(key: str, **others: str) -> dict[str, str]:
    return {"Idempotency-Key": f'"{key}"', **others}


def is_replayed(answer: Answer) -> bool:
    return bool(answer.headers.get("Idempotency-Replayed") == "true")


async def begun(file: Path, count: int = 1) -> None:
    async with asyncio.timeout(60):
        while not file.exists() or file.read_text().count("begun") < count:
            await asyncio.sleep(0.01)


async def test_a_repeated_call_gets_the_first_ones_answer(pair: Rig, key: str, file: Path) -> None:
    first = await pair.gateways[0].run("note", headers=keyed(key), file=str(file))
    assert not is_replayed(first)
    for gateway in pair.gateways:
        again = await gateway.run("note", headers=keyed(key), file=str(file))
        assert is_replayed(again)
        assert again.body == first.body
        for header in ("X-AnyPod-Execution", "X-AnyPod-Worker", "Content-Type", "Server-Timing"):
            assert again.headers[header] == first.headers[header]
    assert file.read_text() == "begun\ndone\n"


async def test_calls_at_once_run_once(pair: Rig, key: str, file: Path) -> None:
    answers = await asyncio.gather(
        *(
            pair.gateways[number % 2].run("note", headers=keyed(key), file=str(file), seconds=0.5)
            for number in range(16)
        )
    )
    assert {answer.outputs for answer in answers} == {"begun\ndone\n"}
    assert sum(not is_replayed(answer) for answer in answers) == 1


async def test_another_request_needs_another_key(pair: Rig, key: str, file: Path) -> None:
    gateway = pair.gateway
    first = await gateway.run("note", headers=keyed(key), file=str(file))
    other = await gateway.run("note", headers=keyed(key), file=str(file), size=3)
    assert (other.status, other.document["type"]) == (422, "idempotency-key-reused")
    assert other.document["execution"] == first.headers["X-AnyPod-Execution"]
    session = keyed(key, **{"X-Session-ID": "one"})
    assert (await gateway.run("note", headers=session, file=str(file))).status == 422
    streamed = await gateway.run("note", headers=keyed(key, **EVENTS), file=str(file))
    assert streamed.status == 422
    # Another program has keys of its own.
    assert (await gateway.run("again", headers=keyed(key), file=str(file))).status == 200
    assert file.read_text().count("begun") == 2


async def test_a_programs_own_failure_is_kept(pair: Rig, key: str, file: Path) -> None:
    answers = [
        await gateway.run("note", headers=keyed(key), file=str(file), fail=True)
        for gateway in pair.gateways
    ]
    assert [answer.status for answer in answers] == [500, 500]
    assert [is_replayed(answer) for answer in answers] == [False, True]
    assert answers[0].document == answers[1].document
    assert answers[0].document["type"] == "program-error"
    assert file.read_text() == "begun\ndone\n"


async def test_what_the_platform_could_not_do_is_tried_again(
    pair: Rig, key: str, file: Path
) -> None:
    given = {"inputs": {"file": str(file), "seconds": 60}, "timeoutSeconds": 0.3}
    for _ in range(2):
        answer = await pair.gateway.ask(
            "POST", "/programs/note/run", json=given, headers=keyed(key)
        )
        assert (answer.status, answer.document["type"]) == (504, "deadline-exceeded")
        assert not is_replayed(answer)
    assert file.read_text() == "begun\nbegun\n"


async def test_a_caller_that_leaves_can_come_back(pair: Rig, key: str, file: Path) -> None:
    call = asyncio.create_task(
        pair.gateway.run("note", headers=keyed(key), file=str(file), seconds=1)
    )
    await begun(file)
    call.cancel()
    again = await pair.gateways[1].run("note", headers=keyed(key), file=str(file), seconds=1)
    assert again.outputs == "begun\ndone\n"
    assert is_replayed(again)


async def test_an_inline_run_happens_once_too(pair: Rig, key: str, file: Path) -> None:
    given = {"program": {"source": NOTE}, "inputs": {"file": str(file)}}
    answers = [
        await gateway.ask("POST", "/run", json=given, headers=keyed(key))
        for gateway in pair.gateways
    ]
    assert [answer.outputs for answer in answers] == ["begun\ndone\n"] * 2
    assert is_replayed(answers[1])


async def test_an_answer_too_large_to_keep_is_said_to_be(pair: Rig, key: str, file: Path) -> None:
    first = await pair.gateway.run("note", headers=keyed(key), file=str(file), size=2_000_000)
    assert len(first.outputs) == 2_000_000
    again = await pair.gateway.run("note", headers=keyed(key), file=str(file), size=2_000_000)
    assert (again.status, again.document["type"]) == (410, "answer-not-kept")
    assert file.read_text() == "begun\ndone\n"


@pytest.mark.parametrize("bad", ['""', '"a', "", " ", "x" * 256, '"\\x"', "ä"])
async def test_what_is_no_key_is_refused(pair: Rig, file: Path, bad: str) -> None:
    answer = await pair.gateway.run("note", headers={"Idempotency-Key": bad}, file=str(file))
    assert (answer.status, answer.document["path"]) == (400, "Idempotency-Key")
    assert not file.exists()


async def test_two_keys_are_none(pair: Rig, file: Path) -> None:
    keys = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    headers = CIMultiDict([("Content-Type", "application/json"), *keys])
    body = json.dumps({"inputs": {"file": str(file)}}).encode()
    answer = await pair.gateway.ask("POST", "/programs/note/run", data=body, headers=headers)
    assert (answer.status, answer.document["path"]) == (400, "Idempotency-Key")
    assert not file.exists()


async def test_a_key_may_come_without_quotes(pair: Rig, key: str, file: Path) -> None:
    bare = {"Idempotency-Key": key}
    await pair.gateway.run("note", headers=bare, file=str(file))
    assert is_replayed(await pair.gateway.run("note", headers=keyed(key), file=str(file)))


# streams


def events(answer: Answer) -> list[tuple[str, Any]]:
    assert answer.status == 200, answer.body
    frames = [frame for frame in answer.body.decode().split("\n\n") if frame.startswith("event")]
    parts = [frame.split("\n") for frame in frames]
    return [
        (kind.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for kind, data in parts
    ]


async def test_a_repeated_stream_is_told_again(pair: Rig, key: str, file: Path) -> None:
    told = [
        await gateway.run("stream", headers=keyed(key, **EVENTS), file=str(file), count=5)
        for gateway in pair.gateways
    ]
    first, again = map(events, told)
    assert first == again
    assert [kind for kind, _ in first] == ["chunk"] * 5 + ["result"]
    assert is_replayed(told[1])
    assert told[1].headers["Content-Type"] == "text/event-stream"
    assert file.read_text() == "begun\ndone\n"


async def test_a_stream_whose_reader_leaves_goes_on(pair: Rig, key: str, file: Path) -> None:
    path, headers = "/programs/stream/run", keyed(key, **EVENTS)
    given = {"inputs": {"file": str(file), "count": 10, "seconds": 0.1}}
    url = pair.gateway.base + path
    async with pair.http.post(url, json=given, headers=headers) as reading:
        assert reading.status == 200
        await reading.content.readany()
        reading.close()
    again = await pair.gateways[1].ask("POST", path, json=given, headers=headers)
    assert [kind for kind, _ in events(again)] == ["chunk"] * 10 + ["result"]
    assert file.read_text() == "begun\ndone\n"


async def test_a_stream_comes_as_it_is_said(pair: Rig, key: str, file: Path) -> None:
    given = {"inputs": {"file": str(file), "count": 2, "seconds": 30}}
    url = f"{pair.gateway.base}/programs/stream/run"
    async with pair.http.post(url, json=given, headers=keyed(key, **EVENTS)) as reading:
        assert (await reading.content.readuntil(b"\n\n")).startswith(b"event: chunk")
        assert file.read_text() == "begun\n"


async def test_a_stream_of_any_size_is_read_whole(pair: Rig, key: str, file: Path) -> None:
    headers = keyed(key, **EVENTS)
    inputs = {"file": str(file), "count": 40, "size": 100_000}
    assert len(events(await pair.gateway.run("stream", headers=headers, **inputs))) == 41
    again = await pair.gateway.run("stream", headers=headers, **inputs)
    assert again.document["type"] == "answer-not-kept"


async def test_a_stream_that_fails_at_once_is_a_problem(
    pair: Rig, key: str, tmp_path: Path
) -> None:
    headers = keyed(key, **EVENTS)
    for replayed in (False, True):
        answer = await pair.gateway.run("stream", headers=headers, file=str(tmp_path), count=1)
        assert (answer.status, answer.document["type"]) == (500, "program-error")
        assert is_replayed(answer) is replayed


# gateways


async def killed_in_the_middle(made: Rig, program: str, key: str, file: Path) -> Gateway:
    """The gateway that is left."""
    doomed = await made.add_gateway(impatient=True)
    await made.linked()
    inputs = {"file": str(file), "seconds": 2}
    call = asyncio.create_task(doomed.run(program, headers=keyed(key), **inputs))
    await begun(file)
    await doomed.stop(signal.SIGKILL)
    made.gateways.remove(doomed)
    await asyncio.wait([call])
    assert call.exception() is not None
    return made.gateway


async def test_after_its_gateways_death_it_is_said_that_it_may_have_happened(
    pair: Rig, key: str, file: Path
) -> None:
    left = await killed_in_the_middle(pair, "note", key, file)
    inputs = {"file": str(file), "seconds": 2}
    told = await left.run("note", headers=keyed(key), **inputs)
    assert (told.status, told.document["type"]) == (502, "worker-lost")
    assert "may have happened" in told.document["detail"]
    # Who has been told so, and asks again, wants it to run.
    assert (await left.run("note", headers=keyed(key), **inputs)).status == 200
    assert file.read_text().count("begun") == 2


async def test_after_its_gateways_death_an_idempotent_run_is_run_again(
    pair: Rig, key: str, file: Path
) -> None:
    left = await killed_in_the_middle(pair, "again", key, file)
    inputs = {"file": str(file), "seconds": 2}
    answers = await asyncio.gather(
        *(left.run("again", headers=keyed(key), **inputs) for _ in range(3))
    )
    assert [answer.status for answer in answers] == [200] * 3
    assert sum(is_replayed(answer) for answer in answers) == 2
    assert file.read_text().count("begun") == 2


async def test_a_gateway_that_is_told_to_stop_finishes_what_it_runs(
    pair: Rig, key: str, file: Path
) -> None:
    going = await pair.add_gateway()
    await pair.linked()
    inputs = {"file": str(file), "seconds": 2}
    call = asyncio.create_task(going.run("note", headers=keyed(key), **inputs))
    await begun(file)
    call.cancel()
    assert await going.stop() == 0
    pair.gateways.remove(going)
    answer = await pair.gateway.run("note", headers=keyed(key), **inputs)
    assert is_replayed(answer)
    assert file.read_text() == "begun\ndone\n"
