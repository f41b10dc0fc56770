"""A run whose caller does not wait happens all the same, and is found at every gateway."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.jobs import NOTE, accepted, ended, events, job, running, submit, wrote
from tests.support.rig import Rig, pool_of, rig

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_accepted_run_is_a_job_that_every_gateway_knows(pair: Rig, file: Path) -> None:
    here, there = pair.gateways
    answer = await submit(here, "note", file=str(file), name="one")
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    id_ = answer.document["id"]
    assert answer.headers["Location"] == f"/v1/pools/default/jobs/{id_}"
    assert answer.document["state"] == "queued"
    assert (await job(there, id_))["program"] == "note"
    found = await ended(there, id_)
    assert (found["state"], found["attempts"], found["problem"]) == ("succeeded", 1, None)
    assert found["startedAt"] <= found["finishedAt"]
    for gateway in pair.gateways:
        result = await gateway.ask("GET", f"/jobs/{id_}/result")
        assert result.outputs == "ran one"
        assert result.headers["X-AnyPod-Execution"] == found["execution"]
        logs = await gateway.ask("GET", f"/jobs/{id_}/logs")
        assert logs.document == {"stdout": "running one\n", "stderr": "", "cutBytes": 0}
    assert file.read_text() == "begun one\ndone one\n"


async def counted(made: Rig, metric: str) -> float:
    """By all gateways together."""
    told = [(await one.ask("GET", "//metrics")).body.decode() for one in made.gateways]
    lines = [line for text in told for line in text.splitlines()]
    return sum(float(line.split()[1]) for line in lines if line.startswith(metric + "{"))


async def test_a_job_is_counted_as_a_call_is(pair: Rig, file: Path) -> None:
    ran = await counted(pair, "anypod_run_seconds_count")
    waited = await counted(pair, "anypod_queue_wait_seconds_count")
    id_ = await accepted(pair.gateway, "tells", file=str(file))
    await running(pair.gateway, id_)
    async with asyncio.timeout(60):
        while await counted(pair, "anypod_executions_in_flight") != 1:
            await asyncio.sleep(0.02)
    file.touch()
    await ended(pair.gateway, id_)
    assert await counted(pair, "anypod_executions_in_flight") == 0
    assert await counted(pair, "anypod_run_seconds_count") == ran + 1
    assert await counted(pair, "anypod_queue_wait_seconds_count") == waited + 1


async def test_the_log_names_only_executions_that_there_are(pair: Rig, file: Path) -> None:
    gateway = pair.gateway
    first = (await gateway.run("note", file=str(file))).headers["X-AnyPod-Execution"]

    async def logged() -> list[dict[str, Any]]:
        """Its runs since that one; lines come in order, and some time later."""
        _, _, after = (await gateway.log()).partition(first)
        told = [json.loads(line) for line in after.splitlines()[1:] if '"path"' in line]
        return [line for line in told if line["path"].endswith("/run")]

    keyed = {"Idempotency-Key": "logged"}
    for _ in range(2):
        id_ = await accepted(gateway, "note", headers=keyed, file=str(file))
    refused = await submit(gateway, "note", "?priority=x", file=str(file))
    assert refused.status == 400
    reused = await submit(gateway, "note", headers=keyed, file="other")
    assert (reused.status, reused.document.get("execution")) == (422, None)
    runs = [await gateway.run("note", headers={"Idempotency-Key": "a-run"}, file=str(file))]
    runs += [await gateway.run("note", headers={"Idempotency-Key": "a-run"}, file=str(file))]
    assert runs[1].headers["Idempotency-Replayed"] == "true"
    executions = [run.headers["X-AnyPod-Execution"] for run in runs]
    assert executions[0] == executions[1]
    async with asyncio.timeout(60):
        while len(lines := await logged()) < 6:
            await asyncio.sleep(0.02)
    assert [line["status"] for line in lines] == [202, 202, 400, 422, 200, 200]
    assert [line.get("execution") for line in lines] == [None] * 4 + executions
    await ended(gateway, id_)


async def test_a_program_that_comes_with_the_call_can_be_a_job(pair: Rig) -> None:
    given = {"program": {"source": "def main(x: int) -> int:\n    return x + 1\n"}}
    answer = await pair.gateway.ask(
        "POST", "/run", json={**given, "inputs": {"x": 1}}, headers={"Prefer": "respond-async"}
    )
    assert answer.status == 202, answer.body
    id_ = answer.document["id"]
    assert (await ended(pair.gateway, id_))["program"] is None
    assert (await pair.gateway.ask("GET", f"/jobs/{id_}/result")).outputs == 2


async def test_what_a_generator_yields_is_the_jobs_result(pair: Rig) -> None:
    id_ = await accepted(pair.gateway, "yields", count=3)
    await ended(pair.gateway, id_)
    assert (await pair.gateway.ask("GET", f"/jobs/{id_}/result")).outputs == [0, 1, 2]


async def test_a_failed_job_says_what_a_call_that_waits_is_told(pair: Rig, file: Path) -> None:
    id_ = await accepted(pair.gateway, "note", file=str(file), fail_first=1)
    found = await ended(pair.gateway, id_)
    assert (found["state"], found["problem"]["type"]) == ("failed", "program-error")
    result = await pair.gateway.ask("GET", f"/jobs/{id_}/result")
    assert (result.status, result.document["type"]) == (500, "program-error")
    assert result.document["exception"] == "ValueError"
    logs = await pair.gateway.ask("GET", f"/jobs/{id_}/logs")
    assert logs.document["stdout"] == "running \n"


async def test_the_revision_that_was_accepted_runs(pair: Rig) -> None:
    gateway = pair.gateway
    source = "def main() -> int:\n    return {}\n"
    await gateway.create(source.format(1), "changing")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    id_ = await accepted(gateway, "changing", f"?notBefore={soon.replace('+', '%2B')}")
    await gateway.ask("PUT", "/programs/changing", json={"source": source.format(2)})
    found = await ended(gateway, id_)
    assert found["startedAt"] >= found["notBefore"]
    assert (await gateway.ask("GET", f"/jobs/{id_}/result")).outputs == 1


@pytest.mark.parametrize("is_made_anew", [False, True])
async def test_a_program_that_is_deleted_takes_its_queued_jobs_along(
    pair: Rig, file: Path, is_made_anew: bool
) -> None:
    """Though the workers have its code."""
    gateway = pair.gateway
    await gateway.create(NOTE + "# for now", "passing", idempotent=True)
    inputs = {"file": str(file), "seconds": 0.1}
    await asyncio.gather(*(gateway.run("passing", **inputs, name=f"{n}") for n in range(16)))
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat().replace("+", "%2B")
    id_ = await accepted(gateway, "passing", f"?notBefore={soon}", file=str(file), name="late")
    assert (await gateway.ask("DELETE", "/programs/passing")).status == 204
    if is_made_anew:
        await gateway.create(NOTE + "# another", "passing")
    found = await ended(gateway, id_)
    assert (found["state"], found["attempts"]) == ("failed", 1)
    assert found["problem"]["type"] == "program-not-found"
    assert "late" not in file.read_text()


async def test_an_idempotent_program_is_tried_again(pair: Rig, file: Path) -> None:
    id_ = await accepted(pair.gateway, "again", file=str(file), fail_first=1)
    found = await ended(pair.gateway, id_)
    assert (found["state"], found["attempts"], found["maxAttempts"]) == ("succeeded", 2, 3)
    assert file.read_text().count("begun") == 2
    result = await pair.gateway.ask("GET", f"/jobs/{id_}/result")
    assert result.document["execution"]["attempt"] == 2
    assert result.headers["X-AnyPod-Attempt"] == "2"
    told = events((await pair.gateway.ask("GET", f"/jobs/{id_}/events")).body)
    problems = [data.get("problem") for _, _, data in told]
    assert problems == [None, None, "program-error", None, None]


async def test_a_pause_between_attempts_is_not_kept_as_what_was_asked(
    pair: Rig, file: Path
) -> None:
    inputs = {"file": str(file), "fail_first": 9}
    asked = "2026-01-01T00:00:00Z"
    for query, expected in (("", None), (f"&notBefore={asked}", asked)):
        id_ = await accepted(pair.gateway, "again", f"?maxAttempts=10{query}", **inputs)
        await wrote(file, "begun")
        async with asyncio.timeout(60):
            while (found := await job(pair.gateway, id_))["state"] != "queued":
                await asyncio.sleep(0.02)
        file.unlink()
        assert found["notBefore"] > found["startedAt"]
        answer = await pair.gateway.ask("POST", f"/jobs/{id_}/cancel")
        assert (answer.document["state"], answer.document["notBefore"]) == ("cancelled", expected)


async def test_attempts_are_bounded(pair: Rig, file: Path) -> None:
    id_ = await accepted(pair.gateway, "again", "?maxAttempts=2", file=str(file), fail_first=9)
    found = await ended(pair.gateway, id_)
    assert (found["state"], found["attempts"]) == ("failed", 2)
    assert file.read_text().count("begun") == 2
    result = await pair.gateway.ask("GET", f"/jobs/{id_}/result")
    assert result.document["attempt"] == 2


async def test_other_inputs_would_not_help(pair: Rig) -> None:
    id_ = await accepted(pair.gateway, "again", file=3)
    found = await ended(pair.gateway, id_)
    assert (found["state"], found["attempts"]) == ("failed", 1)
    assert found["problem"]["type"] == "invalid-inputs"


async def test_a_queued_job_is_cancelled_at_once(pair: Rig, file: Path) -> None:
    here, there = pair.gateways
    id_ = await accepted(here, "note", "?notBefore=2990-01-01T00:00:00Z", file=str(file))
    answer = await there.ask("POST", f"/jobs/{id_}/cancel")
    assert (answer.status, answer.document["state"]) == (200, "cancelled")
    result = await here.ask("GET", f"/jobs/{id_}/result")
    assert (result.status, result.document["type"]) == (409, "job-cancelled")
    assert not file.exists()
    again = await here.ask("POST", f"/jobs/{id_}/cancel")
    assert (again.status, again.document["state"]) == (200, "cancelled")


async def test_a_running_job_is_cancelled_through_any_gateway(pair: Rig, file: Path) -> None:
    for gateway in pair.gateways:
        id_ = await accepted(pair.gateway, "note", file=str(file), name=gateway.url, seconds=600)
        await wrote(file, f"begun {gateway.url}")
        answer = await gateway.ask("POST", f"/jobs/{id_}/cancel")
        assert answer.status in {200, 202}
        assert (await ended(gateway, id_))["state"] == "cancelled"
    assert "done" not in file.read_text()


async def test_a_wait_is_as_long_as_its_number_however_that_is_written(
    pair: Rig, file: Path
) -> None:
    id_ = await accepted(pair.gateway, "tells", file=str(file))
    await running(pair.gateway, id_)
    begun = asyncio.get_running_loop().time()
    answer = await pair.gateway.ask("GET", f"/jobs/{id_}", headers={"Prefer": "wait=000001"})
    assert asyncio.get_running_loop().time() - begun >= 1
    assert answer.document["state"] == "running"
    file.touch()
    await ended(pair.gateway, id_)


async def test_what_runs_can_neither_be_deleted_nor_read(pair: Rig, file: Path) -> None:
    id_ = await accepted(pair.gateway, "note", file=str(file), seconds=600)
    await running(pair.gateway, id_)
    for method, path in (("DELETE", ""), ("GET", "/result"), ("GET", "/logs")):
        answer = await pair.gateway.ask(method, f"/jobs/{id_}{path}")
        assert (answer.status, answer.document["type"]) == (409, "job-not-finished")
    await pair.gateway.ask("POST", f"/jobs/{id_}/cancel")
    await ended(pair.gateway, id_)
    assert (await pair.gateway.ask("DELETE", f"/jobs/{id_}")).status == 204
    for path in ("", "/result", "/logs", "/events"):
        answer = await pair.gateways[1].ask("GET", f"/jobs/{id_}{path}")
        assert (answer.status, answer.document["type"]) == (404, "job-not-found")


async def test_a_result_above_what_the_store_takes_fails_the_job(pair: Rig, file: Path) -> None:
    id_ = await accepted(pair.gateway, "note", file=str(file), size=2_000_000)
    found = await ended(pair.gateway, id_)
    assert (found["state"], found["problem"]["type"]) == ("failed", "output-too-large")
    result = await pair.gateway.ask("GET", f"/jobs/{id_}/result")
    assert (result.status, result.document["limit"]) == (500, 1024 * 1024)


async def test_inputs_above_what_the_store_takes_are_refused(pair: Rig, file: Path) -> None:
    answer = await submit(pair.gateway, "note", file=str(file), name="x" * 1_100_000)
    assert (answer.status, answer.document["type"]) == (413, "too-large")


async def test_jobs_are_listed_the_latest_first(pair: Rig, file: Path) -> None:
    gateway = pair.gateway
    ids = [
        await accepted(gateway, "note", f"?label=list=yes&label=number={n}", file=str(file))
        for n in range(3)
    ]
    for id_ in ids:
        await ended(gateway, id_)
    listed = await gateway.ask("GET", "/jobs?label=list=yes&program=note&state=succeeded")
    assert [one["id"] for one in listed.document["items"]] == ids[::-1]
    assert listed.document["next"] is None
    assert await _pages(pair, "/jobs?label=list=yes&limit=1") == ids[::-1]
    one = await gateway.ask("GET", "/jobs?label=list=yes&label=number=1")
    assert [each["id"] for each in one.document["items"]] == [ids[1]]
    none = await gateway.ask("GET", "/jobs?label=list=yes&state=lost")
    assert none.document["items"] == []


async def _pages(pair: Rig, path: str) -> list[str]:
    found, after = [], ""
    while True:
        page = (await pair.gateway.ask("GET", path + after)).document
        found += [one["id"] for one in page["items"]]
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("?priority=high", "priority"),
        ("?priority=101", "priority"),
        ("?notBefore=tomorrow", "notBefore"),
        ("?notBefore=2030-01-01T00:00:00", "notBefore"),
        ("?notBefore=9999-12-31T23:59:59-12:00", "notBefore"),
        ("?notBefore=0001-01-01T00:00:00%2B12:00", "notBefore"),
        ("?maxAttempts=0", "maxAttempts"),
        ("?maxAttempts=2", "maxAttempts"),
        ("?label=none", "label"),
        ("?label=a=%FF", "label"),
        ("?label=a=%ED%A0%80", "label"),
        ("?" + "&".join(f"label=k{n}=v" for n in range(17)), "label"),
    ],
)
async def test_what_makes_no_sense_is_refused(pair: Rig, query: str, path: str) -> None:
    answer = await submit(pair.gateway, "note", query, file="/dev/null")
    assert (answer.status, answer.document["path"]) == (400, path)


@pytest.mark.parametrize("inputs", ['{"file": "/dev/null", "file": "x"}', '{"file": 1e400}'])
async def test_inputs_that_are_no_json_make_no_job(pair: Rig, inputs: str) -> None:
    """For what a call that waits is told by its worker."""
    answers = [
        await pair.gateway.ask(
            "POST",
            "/programs/again/run",
            data=f'{{"inputs": {inputs}}}'.encode(),
            headers={"Content-Type": "application/json", **prefer},
        )
        for prefer in ({}, {"Prefer": "respond-async"})
    ]
    told = [(one.status, one.document["detail"], one.document["path"]) for one in answers]
    assert told[0] == told[1]
    assert told[0][0] == 400


@pytest.mark.parametrize("wait", ["wait", "wait=x", "wait=-1", "wait=1.5"])
async def test_a_wait_that_is_no_number_is_refused(pair: Rig, file: Path, wait: str) -> None:
    id_ = await accepted(pair.gateway, "note", "?notBefore=2990-01-01T00:00:00Z", file=str(file))
    answer = await pair.gateway.ask("GET", f"/jobs/{id_}", headers={"Prefer": wait})
    assert (answer.status, answer.document["path"]) == (400, "Prefer")
    await pair.gateway.ask("POST", f"/jobs/{id_}/cancel")


async def test_only_a_preference_that_was_heeded_is_said_to_be(pair: Rig, file: Path) -> None:
    id_ = await accepted(pair.gateway, "note", "?notBefore=2990-01-01T00:00:00Z", file=str(file))
    for prefer, applied in (("respond-async", None), ("wait=0", "wait")):
        answer = await pair.gateway.ask("GET", f"/jobs/{id_}", headers={"Prefer": prefer})
        assert (answer.status, answer.headers.get("Preference-Applied")) == (200, applied)
    await pair.gateway.ask("POST", f"/jobs/{id_}/cancel")


@pytest.mark.parametrize(
    "query", ["priority=1", "notBefore=2030-01-01T00:00:00Z", "maxAttempts=1", "label=a=b"]
)
async def test_what_is_no_job_is_refused_with_what_only_jobs_heed(
    pair: Rig, file: Path, query: str
) -> None:
    inputs = {"inputs": {"file": str(file)}}
    inline = {"program": {"source": NOTE}, **inputs}
    for path, body in (("/programs/note/run", inputs), ("/run", inline)):
        answer = await pair.gateway.ask("POST", f"{path}?{query}", json=body)
        assert (answer.status, answer.document["path"]) == (400, query.partition("=")[0])
        assert "Prefer: respond-async" in answer.document["detail"]
    assert not file.exists()


async def test_a_job_without_its_program_is_not_accepted(pair: Rig) -> None:
    answer = await submit(pair.gateway, "nothing")
    assert (answer.status, answer.document["type"]) == (404, "program-not-found")


async def test_events_tell_the_states_and_can_be_taken_up_again(pair: Rig, file: Path) -> None:
    here, there = pair.gateways
    id_ = await accepted(here, "note", file=str(file), seconds=0.5)
    told = events((await there.ask("GET", f"/jobs/{id_}/events")).body)
    assert [(kind, number) for kind, number, _ in told] == [
        ("state", 1), ("state", 2), ("state", 3)
    ]  # fmt: skip
    assert [data["state"] for _, _, data in told] == ["queued", "running", "succeeded"]
    again = await here.ask("GET", f"/jobs/{id_}/events", headers={"Last-Event-ID": "2"})
    assert events(again.body) == told[2:]
    for last in ("3", "4"):  # 204 keeps an EventSource from coming back
        rest = await here.ask("GET", f"/jobs/{id_}/events", headers={"Last-Event-ID": last})
        assert (rest.status, rest.body) == (204, b"")


async def test_a_repeated_key_gets_the_same_job(pair: Rig, file: Path) -> None:
    key = {"Idempotency-Key": f'"{file}"'}
    inputs = {"file": str(file), "name": "k"}
    answers = await asyncio.gather(
        *(submit(pair.gateways[n % 2], "note", headers=key, **inputs) for n in range(8))
    )
    assert {answer.status for answer in answers} == {202}
    assert len({answer.document["id"] for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    await ended(pair.gateway, answers[0].document["id"])
    assert file.read_text() == "begun k\ndone k\n"
    for other in (
        await submit(pair.gateway, "note", "?priority=3", headers=key, **inputs),
        await pair.gateway.run("note", headers=key, **inputs),
    ):
        assert (other.status, other.document["type"]) == (422, "idempotency-key-reused")


async def test_a_repeated_key_runs_nothing_when_its_job_is_gone(pair: Rig, file: Path) -> None:
    key, inputs = {"Idempotency-Key": f'"{file}"'}, {"file": str(file), "name": "k"}
    id_ = await accepted(pair.gateway, "note", headers=key, **inputs)
    await ended(pair.gateway, id_)
    assert (await pair.gateway.ask("DELETE", f"/jobs/{id_}")).status == 204
    again = await submit(pair.gateways[1], "note", headers=key, **inputs)
    assert (again.status, again.document["type"]) == (410, "answer-not-kept")
    assert id_ in again.document["detail"]
    assert file.read_text() == "begun k\ndone k\n"


async def test_jobs_of_a_session_run_in_the_order_of_their_acceptance(
    pair: Rig, file: Path
) -> None:
    session = {"X-Session-ID": file.parent.name}
    ids = [
        await accepted(
            pair.gateways[n % 2], "note", headers=session, file=str(file), name=f"{n}", seconds=0.05
        )
        for n in range(12)
    ]
    for id_ in ids:
        assert (await ended(pair.gateway, id_))["state"] == "succeeded"
    expected = "".join(f"begun {n}\ndone {n}\n" for n in range(12))
    assert file.read_text() == expected


SHARED = """
import asyncio, os
async def main(file: str, kills: bool = False) -> str:
    with open(file, "a") as log:
        log.write("begun\\n")
    while len(open(file).readlines()) < 2:
        await asyncio.sleep(0.01)
    if kills and not os.path.exists(file + ".killed"):
        open(file + ".killed", "w").close()
        os._exit(3)
    while not os.path.exists(file + ".killed"):
        await asyncio.sleep(0.01)
    return "ran"
"""


async def test_jobs_that_share_an_executor_are_run_again_when_one_of_them_ends_it(
    tmp_path: Path,
) -> None:
    """The one that did is told of itself, and the other one that it was lost by it."""
    file = tmp_path / "log"
    async with rig(tmp_path, pool=pool_of(executors=2)) as made:
        gateway = made.gateway
        await gateway.create(SHARED, "shared", idempotent=True, concurrency=4)
        jobs = [
            await accepted(gateway, "shared", file=str(file), kills=kills)
            for kills in (False, True)
        ]
        for id_ in jobs:
            found = await ended(gateway, id_)
            assert (found["state"], found["attempts"]) == ("succeeded", 2)
