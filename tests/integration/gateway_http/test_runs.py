"""Runs over HTTP: what goes in comes out, and each row of the error table as it happens."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.jobs import accepted, ended
from tests.support.rig import Answer, Gateway, pool_of, rig

from anypod.api.problems import TABLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 2**20
ECHO = "def main(value=None):\n    return value\n"


async def inline(gateway: Gateway, source: str, query: str = "", **request: Any) -> Answer:
    program = {"source": source, **request.pop("program", {})}
    headers = request.pop("headers", None)
    return await gateway.ask(
        "POST", f"/run{query}", json={"program": program, **request}, headers=headers
    )


def check_problem(answer: Answer, type_: str) -> Any:
    document = answer.document
    assert document["type"] == type_, document
    assert answer.status == document["status"] == TABLE[type_].status
    assert answer.headers["Content-Type"] == "application/problem+json"
    return document


async def test_an_answer_says_how_it_came_about(gateway: Gateway) -> None:
    await gateway.create(ECHO, "echo")
    answer = await gateway.run("echo", value=[1])
    execution = answer.document["execution"]
    assert answer.outputs == [1]
    assert answer.headers["X-AnyPod-Execution"] == execution["id"]
    assert answer.headers["X-AnyPod-Worker"] == execution["worker"]
    assert answer.headers["X-AnyPod-Revision"] == execution["revision"]
    assert answer.headers["X-AnyPod-Attempt"] == "1"
    assert execution["program"] == "echo"
    assert "logs" not in execution
    timing = answer.headers["Server-Timing"]
    assert timing.startswith("queue;dur=")
    assert ", run;dur=" in timing


async def test_a_program_may_come_with_the_call(gateway: Gateway) -> None:
    answer = await inline(
        gateway,
        "def f(x: int) -> int:\n    return x + 1\n",
        program={"entrypoint": "f"},
        inputs={"x": 1},
    )
    assert answer.outputs == 2
    assert "program" not in answer.document["execution"]
    problem = check_problem(await inline(gateway, ECHO, program={"id": "x"}), "bad-request")
    assert problem["path"] == "program.id"
    missing = await gateway.ask("POST", "/run", json={"inputs": {}})
    assert "program" in check_problem(missing, "bad-request")["detail"]


STRINGS = ["nan", "\nan", "NaN", "Infinity and -Infinity", "null", '"', "\\", "\u2028", "\0", "🙂"]


async def test_strings_come_back_as_they_went_in(gateway: Gateway) -> None:
    assert (await inline(gateway, ECHO, inputs={"value": STRINGS})).outputs == STRINGS
    answer = await inline(
        gateway,
        "def main():\n    yield from ['nan', '\\nan', 'Infinity']\n",
        headers={"Accept": "text/event-stream"},
    )
    data = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    assert [json.loads(one) for one in data[:3]] == ["nan", "\nan", "Infinity"]


async def test_unpaired_surrogates_and_large_integers_are_carried(gateway: Gateway) -> None:
    body = b'{"inputs": {"value": ["\\ud800", "\\\\ud800", 1%s]}}' % (b"0" * 60)
    await gateway.create(ECHO, "exact")
    answer = await gateway.ask(
        "POST",
        "/programs/exact/run",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.outputs == ["\ud800", "\\ud800", 10**60]


async def test_a_sessions_state_and_a_job_carry_unpaired_surrogates_too(gateway: Gateway) -> None:
    text = {"\ud800": ["\udfff", "\\ud800", '"']}
    source = """
def main(session, value=None):
    if value:
        session.state["kept"] = value
    return session.state["kept"]
"""
    await gateway.create(source, "carries")
    session = {"X-Session-ID": "surrogates"}
    for given in ({"value": text}, {}):
        assert (await gateway.run("carries", headers=session, **given)).outputs == text
    shown = await gateway.ask("GET", "/sessions/surrogates")
    assert shown.document["state"] == {"kept": text}
    await gateway.create(ECHO, "echo")
    id_ = await accepted(gateway, "echo", value=text)
    await ended(gateway, id_)
    assert (await gateway.ask("GET", f"/jobs/{id_}/result")).outputs == text


@pytest.mark.parametrize("size", [1_100_000, 8 * MIB - 200])
async def test_large_bodies_pass_both_ways(gateway: Gateway, size: int) -> None:
    await gateway.create(ECHO, "large")
    text = "a" * size
    assert (await gateway.run("large", value=text)).outputs == text


async def test_above_the_limit_a_request_is_told_it(gateway: Gateway) -> None:
    await gateway.create(ECHO, "large")

    async def parts() -> Any:
        yield b'{"inputs": {"value": "'
        for _ in range(10):
            yield b"a" * MIB
        yield b'"}}'

    whole = io.BytesIO(b'{"inputs": {"value": "' + b"a" * 10 * MIB + b'"}}')
    for data in (whole, parts()):
        answer = await gateway.ask(
            "POST",
            "/programs/large/run",
            data=data,
            headers={"Content-Type": "application/json"},
        )
        assert check_problem(answer, "too-large")["limit"] == 8 * MIB


async def test_above_the_limit_an_answer_is_a_problem(gateway: Gateway) -> None:
    answer = await inline(gateway, "def main():\n    return 'a' * 10_000_000\n")
    assert check_problem(answer, "output-too-large")["limit"] == 8 * MIB
    assert (await inline(gateway, ECHO, inputs={"value": 1})).outputs == 1


@pytest.mark.parametrize("asked", [301, 86_401])
async def test_a_timeout_is_refused_with_what_the_pool_allows(gateway: Gateway, asked: int) -> None:
    for answer in (
        await inline(gateway, ECHO, inputs={"value": 1}, timeoutSeconds=asked),
        await gateway.ask("POST", "/programs/echo/run", json={"timeoutSeconds": asked}),
    ):
        assert (answer.status, answer.document["path"]) == (400, "timeoutSeconds")
        assert answer.document["detail"] == "timeoutSeconds may be 300 in this pool"


async def test_who_refuses_a_stream_gets_none(gateway: Gateway) -> None:
    program = {"source": ECHO}
    for accept, kind in (
        ("text/event-stream;q=0", "application/json"),
        ("text/event-stream ; q=0.0, application/json", "application/json"),
        ("application/json;q=0, text/event-stream;q=0.5", "text/event-stream"),
    ):
        answer = await gateway.ask(
            "POST",
            "/run",
            json={"program": program, "inputs": {"value": 1}},
            headers={"Accept": accept},
        )
        assert answer.headers["Content-Type"].startswith(kind), accept


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": {}, "inputs": {}}',
        b'{"inputs": {"value": 1, "value": 2}}',
        b'{"inputs": {"value": {"a": 1, "a": 2}}}',
        b'{"inputs": {"value": NaN}}',
        b'{"inputs": {"value": "\xff"}}',
        b'{"inputs": []}',
        b'{"inputs": {}, "input": {}}',
        b'{"timeoutSeconds": 301}',
        b'{"inputs": {"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b"",
        b"null",
    ],
)
async def test_what_is_no_request_is_refused(gateway: Gateway, body: bytes) -> None:
    await gateway.create(ECHO, "echo")
    answer = await gateway.ask(
        "POST",
        "/programs/echo/run",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    if body:
        check_problem(answer, "bad-request")
    else:
        assert answer.outputs is None


async def test_what_is_printed_is_returned_when_it_is_asked_for(gateway: Gateway) -> None:
    source = (
        "import os, sys\n"
        "def main():\n"
        "    print('{\"outputs\": 1}')\n"
        "    sys.stderr.write('half a line')\n"
        "    os.write(1, b'raw\\xff')\n"
        "    return 'intact'\n"
    )
    answer = await inline(gateway, source, "?logs=true")
    assert answer.outputs == "intact"
    logs = answer.document["execution"]["logs"]
    assert logs["stdout"] == '{"outputs": 1}\nraw\ufffd'
    assert (logs["stderr"], logs["cutBytes"]) == ("half a line", 0)
    assert "logs" not in (await inline(gateway, source)).document["execution"]
    assert (await inline(gateway, source, "?logs=yes")).status == 400

    long = await inline(gateway, "def main():\n    print('a' * 1_000_000)\n", "?logs=true")
    logs = long.document["execution"]["logs"]
    assert len(logs["stdout"]) + logs["cutBytes"] == 1_000_001
    assert logs["cutBytes"] > 900_000


async def test_a_program_that_closes_its_outputs_still_answers(gateway: Gateway) -> None:
    source = "import os\ndef main():\n    os.close(1)\n    os.close(2)\n    return 'intact'\n"
    for _ in range(3):
        assert (await inline(gateway, source, "?logs=true")).outputs == "intact"


TROUBLE: list[tuple[str, str, dict[str, Any]]] = [
    ("program-error", "raise KeyError('k')", {"exception": "KeyError"}),
    ("program-exited", "import os; os._exit(3)", {"exitCode": 3}),
    ("program-exited", "raise SystemExit(4)", {"exitCode": 4}),
    ("program-crashed", "import os; os.abort()", {"signal": "SIGABRT"}),
    ("out-of-memory", "return len(bytearray(10 * 2**30))", {}),
    ("output-not-serializable", "return {'a': [1, float('nan')]}", {"path": "outputs.a[1]"}),
    ("output-not-serializable", "return object()", {"path": "outputs"}),
]


@pytest.mark.parametrize(("type_", "statement", "members"), TROUBLE)
async def test_a_programs_fault_is_its_callers_to_see(
    gateway: Gateway, type_: str, statement: str, members: dict[str, Any]
) -> None:
    answer = await inline(gateway, f"def main():\n    {statement}\n")
    problem = check_problem(answer, type_)
    for name, value in members.items():
        assert problem[name] == value, problem
    for name in ("execution", "worker", "revision"):
        assert problem[name] == answer.headers[f"X-AnyPod-{name.title()}"]
    assert problem["attempt"] == 1
    if type_ == "program-error":
        assert 'File "main.py", line 2, in main' in problem["traceback"]
        assert "anypod_worker" not in problem["traceback"]
    assert (await inline(gateway, ECHO, inputs={"value": 7})).outputs == 7


async def test_inputs_that_do_not_fit_are_named(gateway: Gateway) -> None:
    source = "def main(x: int, y: str = ''):\n    return x\n"
    for inputs, path in (
        ({"x": "no"}, "inputs.x"),
        ({"x": 1, "z": 1}, "inputs.z"),
        ({}, "inputs.x"),
    ):
        problem = check_problem(await inline(gateway, source, inputs=inputs), "invalid-inputs")
        assert [one["path"] for one in problem["errors"]] == [path], problem


async def test_what_does_not_end_is_ended_at_its_deadline(gateway: Gateway) -> None:
    source = (
        "def main():\n"
        "    while True:\n"
        "        try:\n"
        "            while True: pass\n"
        "        except BaseException: pass\n"
    )
    answer = await inline(gateway, source, timeoutSeconds=0.3)
    check_problem(answer, "deadline-exceeded")
    answer = await inline(gateway, source, program={"timeoutSeconds": 0.3})
    check_problem(answer, "deadline-exceeded")


async def test_what_is_not_there_is_told_apart(gateway: Gateway) -> None:
    for path, method, type_ in (
        ("//v1/pools/nowhere/programs/a/run", "POST", "pool-not-found"),
        ("//v1/pools/nowhere", "GET", "pool-not-found"),
        ("//v1/pools/default/programs/none/run", "POST", "program-not-found"),
        ("//v1/pools/default/programs/a%20b/run", "POST", "program-not-found"),
        ("//v1/pools/default/workers/none", "GET", "worker-not-found"),
        ("//v1/pools/default/sessions/none", "GET", "session-not-found"),
        ("//v1/pools/default/sessions/none", "DELETE", "session-not-found"),
        ("//v1/pools/default/nothing", "GET", "not-found"),
        ("//v2", "GET", "not-found"),
    ):
        check_problem(await gateway.ask(method, path), type_)
    check_problem(await gateway.ask("PATCH", "/programs"), "method-not-allowed")


async def test_bodies_are_json_by_their_type(gateway: Gateway) -> None:
    answer = await gateway.ask("POST", "/run", data=b"{}", headers={"Content-Type": "text/plain"})
    check_problem(answer, "unsupported-media-type")


async def test_a_session_keeps_its_worker_and_shows_its_state(gateway: Gateway) -> None:
    source = (
        "from anypod import session\n"
        "calls = []\n"
        "def main(x: int):\n"
        "    calls.append(x)\n"
        "    session.state['sum'] = session.state.get('sum', 0) + x\n"
        "    return calls\n"
    )
    await gateway.create(source, "counts")
    mine = {"X-Session-ID": "tab~1"}
    answers = [await gateway.run("counts", "", mine, x=x) for x in (1, 2, 3)]
    assert [answer.outputs for answer in answers] == [[1], [1, 2], [1, 2, 3]]
    assert len({answer.headers["X-AnyPod-Worker"] for answer in answers}) == 1
    assert answers[0].document["execution"]["session"] == "tab~1"
    session = (await gateway.ask("GET", "/sessions/tab~1")).document
    assert session["state"] == {"sum": 6}
    assert session["worker"] == answers[0].headers["X-AnyPod-Worker"]
    listing = (await gateway.ask("GET", "/sessions")).document
    assert "tab~1" in [item["id"] for item in listing["items"]]
    assert all("state" not in item for item in listing["items"])
    assert (await gateway.ask("DELETE", "/sessions/tab~1")).status == 204
    assert (await gateway.run("counts", "", mine, x=9)).outputs == [9]
    for bad in ("a b", "", "ä".encode().decode("latin-1"), "a" * 129):
        answer = await gateway.run("counts", "", {"X-Session-ID": bad}, x=1)
        assert check_problem(answer, "bad-request")["path"] == "X-Session-ID"


async def test_a_state_too_large_for_the_store_is_refused_and_the_last_one_stays(
    gateway: Gateway,
) -> None:
    source = (
        "from anypod import session\n"
        "def main(size: int):\n"
        "    before = len(session.state.get('text', ''))\n"
        "    session.state['text'] = 'a' * size\n"
        "    return before\n"
    )
    await gateway.create(source, "keeps")
    mine = {"X-Session-ID": "keeper"}
    assert (await gateway.run("keeps", "", mine, size=1_000_000)).outputs == 0
    answer = await gateway.run("keeps", "", mine, size=1_600_000)
    problem = check_problem(answer, "output-too-large")
    assert problem["path"] == "session.state"
    assert 1_000_000 < problem["limit"] <= MIB
    assert (await gateway.run("keeps", "", mine, size=1)).outputs == 1_000_000


async def test_clients_that_leave_at_once_leave_nothing_behind(gateway: Gateway) -> None:
    await gateway.create("import time\ndef main():\n    time.sleep(30)\n", "long")
    await gateway.create(ECHO, "echo")
    head = (
        b"POST /v1/pools/default/programs/long/run HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    port = int(gateway.url.rpartition(":")[2])
    for number in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(number % 5 * 0.001)
        writer.transport.abort()
    async with asyncio.timeout(30):
        while b'in_flight{pool="default"} 0.0' not in (await gateway.ask("GET", "//metrics")).body:
            await asyncio.sleep(0.02)
    answers = await asyncio.gather(*(gateway.run("echo", value=n) for n in range(6)))
    assert [answer.outputs for answer in answers] == list(range(6))
    document = (await gateway.ask("GET", "")).document
    assert document["queue"]["depth"] == 0


async def test_a_stream_that_is_left_stops_its_program(gateway: Gateway, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    source = (
        "import itertools, pathlib, time\n"
        "def main(path: str):\n"
        "    try:\n"
        "        for n in itertools.count():\n"
        "            yield n\n"
        "            time.sleep(0.01)\n"
        "    finally:\n"
        "        pathlib.Path(path).write_text('yes')\n"
    )
    request = {"program": {"source": source}, "inputs": {"path": str(stopped)}}
    async with gateway.http.post(
        gateway.base + "/run", json=request, headers={"Accept": "text/event-stream"}
    ) as answer:
        assert answer.status == 200
        assert (await answer.content.readline()) == b"event: chunk\n"
        answer.close()
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(stopped.exists):
            await asyncio.sleep(0.02)


async def test_a_stream_carries_chunks_and_logs_as_they_come(gateway: Gateway) -> None:
    source = "def main(n: int):\n    for i in range(n):\n        print('at', i)\n        yield i\n"
    answer = await inline(
        gateway,
        source,
        "?logs=true",
        inputs={"n": 2},
        headers={"Accept": "text/event-stream, application/json;q=0.5"},
    )
    assert answer.headers["Content-Type"] == "text/event-stream"
    lines = answer.body.decode().splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert [kind for kind in kinds if kind != "log"] == ["chunk", "chunk", "result"]
    assert "log" in kinds
    whole = await inline(gateway, source, inputs={"n": 3})
    assert whole.outputs == [0, 1, 2]
    failing = await inline(
        gateway, "def main():\n    yield 1\n    1 / 0\n", headers={"Accept": "text/event-stream"}
    )
    assert failing.body.decode().splitlines()[-3] == "event: problem"
    problem = json.loads(failing.body.decode().splitlines()[-2].removeprefix("data: "))
    assert problem["exception"] == "ZeroDivisionError"


async def test_a_full_queue_and_an_absent_worker_are_told_with_a_time(tmp_path: Path) -> None:
    pool = pool_of(queue={"depth": 1, "maxWaitSeconds": 0.3})
    async with rig(tmp_path, pool=pool, workers=0) as made:
        gateway = made.gateway
        answers = await asyncio.gather(*(inline(gateway, ECHO) for _ in range(3)))
        types = sorted(answer.document["type"] for answer in answers)
        assert types == ["no-worker", "queue-full", "queue-full"]
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        for answer in answers:
            check_problem(answer, answer.document["type"])


@pytest.mark.parametrize(
    "path",
    [
        "/programs/plain/run",
        "/programs/plai%6E/run",
        "/programs/plain/run?logs=false",
        "/programs/plain@{revision}/run",
    ],
)
async def test_a_run_is_the_same_by_every_form_of_its_path(gateway: Gateway, path: str) -> None:
    await gateway.create("def main(x: int):\n    return x\n", "plain")
    revision = (await gateway.ask("GET", "/programs/plain")).document["revision"]
    answer = await gateway.ask("POST", path.format(revision=revision), json={"inputs": {"x": 3}})
    assert (answer.status, answer.outputs) == (200, 3)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-AnyPod-Revision"] == revision
    assert answer.headers["Server-Timing"].startswith("queue;dur=")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/programs/plain/run", 405),
        ("POST", "/programs/plain/run/", 404),
        ("POST", "/programs/.plain/run", 404),
        ("POST", "/programs/plain@xyz/run", 400),
        ("POST", "/programs/plain%2Frun/run", 404),
        ("POST", "//v1/pools/none/programs/plain/run", 404),
        ("POST", "//v1/pools/@/programs/plain/run", 404),
    ],
)
async def test_what_is_no_path_of_a_run_is_a_problem(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    answer = await gateway.ask(method, path, json={})
    assert answer.status == status
    assert answer.document["status"] == status
