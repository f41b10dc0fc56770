"""What went wrong in DSPex, as the page lists it: each has a test that would see it again."""

import importlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.integration.dspex.conftest import HELD, WORKERS, held
from tests.integration.dspex.test_page import Row, made, rows
from tests.integration.dspy.conftest import KEYS
from tests.support.anypod_up import ready_workers
from tests.support.lm_server import LmServer, Reply, chat
from tests.support.local import eventually
from tests.support.pages import ROOT

from anypod.client import Answer, AnyPodError, Client, InvalidInputs, InvalidProgram, LmFailed
from anypod.client.sync import Session

WORKER_PID = (ROOT / "examples" / "worker_pid.py").read_text()
HERE, BUGS = "tests.integration.dspex.test_defects", "tests.integration.test_four_bugs"
SEEN_BY = {
    "A program was not found": (HERE, "test_an_anonymous_program_runs_anywhere_and_for_anyone"),
    "Workers ended after errors": (HERE, "test_workers_outlive_errors_of_programs"),
    "Workers were started one after another": (BUGS, "test_eight_workers_start_together"),
    "Calls reached workers": (BUGS, "test_calls_before_the_first_worker_is_ready_wait_for_it"),
    "`list_programs`": (HERE, "test_a_sessions_programs_are_listed_and_deleted"),
    "`get_program_info`": (HERE, "test_what_was_created_is_shown"),
    "`program_type`": (HERE, "test_the_module_that_is_named_runs"),
    "A signature that was wrong": (HERE, "test_a_wrong_signature_is_refused_with_its_place"),
    "The types of fields": (HERE, "test_a_field_has_the_type_that_was_declared"),
    "`configure_lm` reached one": (HERE, "test_every_worker_asks_the_pools_lm"),
    "`configure_lm` set": (HERE, "test_an_lm_of_a_session_is_of_no_other_call"),
    "One worker alone": (HERE, "test_a_sessions_lm_outlives_its_worker"),
    "Executions were no longer counted": (HERE, "test_executions_are_counted_whatever_is_put_anew"),
    "Commands waited": (HERE, "test_commands_do_not_wait_for_each_other"),
    "A worker whose pool was gone": (
        "tests.integration.local.test_deaths",
        "test_a_launcher_killed_under_a_call_leaves_nobody",
    ),
}


@pytest.fixture
def client(ready: str) -> Iterator[Client]:
    with Client(ready, timeout=60) as client:
        yield client


@pytest.mark.parametrize("row", rows("there", "here"), ids=lambda row: row.there[:60])
def test_each_has_its_test(row: Row) -> None:
    ((module, name),) = [seen for text, seen in SEEN_BY.items() if row.there.startswith(text)]
    assert callable(getattr(importlib.import_module(module), name))


def test_an_anonymous_program_runs_anywhere_and_for_anyone(client: Client, folder: Path) -> None:
    client.programs.create("anonymous", source=HELD)
    executors = client.pools.get("default").executors.total
    with held(client, "anonymous", folder, executors) as runs:
        eventually(lambda: client.pools.get("default").executors.busy == executors, "all run")
    workers = {run.result().execution.worker for run in runs}
    assert len(workers) == WORKERS
    for key in ("s1", "s2", "s3"):
        run = client.session(key).run("anonymous", {"until": str(folder)})
        assert run.execution.session == key


def at_each_worker(client: Client, run: Callable[[Session], Answer]) -> dict[str, Answer]:
    """What ran in a session of each: sessions are begun, and stay, until every worker has one."""
    found: dict[str, Answer] = {}
    with ExitStack() as ends:
        for number in range(8):
            session = client.session(f"at-a-worker-{number}")
            answer = run(session)
            ends.callback(session.end)
            found[answer.execution.worker] = answer
            if len(found) == WORKERS:
                return found
    raise AssertionError(found)


def processes(client: Client) -> dict[str, int]:
    """The pid of each worker."""
    answers = at_each_worker(client, lambda session: session.run_source(WORKER_PID))
    return {worker: answer.outputs for worker, answer in answers.items()}


ERRORS = [
    "def main():\n    return 1 / 0\n",
    "def main():\n    raise SystemExit(3)\n",
    "import os\n\ndef main():\n    os._exit(3)\n",
    "import os, signal\n\ndef main():\n    os.kill(os.getpid(), signal.SIGKILL)\n",
]


def test_workers_outlive_errors_of_programs(client: Client) -> None:
    before = processes(client)
    for source in ERRORS * 3:
        with pytest.raises(AnyPodError):
            client.run_source(source)
    with pytest.raises(AnyPodError, match="program-not-found"):
        client.run("nothing")
    assert client.run("greet", {"name": "Ada"}).outputs == "Ada"
    assert processes(client) == before


def test_a_sessions_programs_are_listed_and_deleted(client: Client) -> None:
    session = client.session("s1")
    client.programs.put("own", source="def main() -> str:\n    return 'of the pool'\n")
    assert [program.id for program in session.programs.list()] == ["own"]
    assert session.run("own").outputs == 1
    session.programs.delete("own")
    assert list(session.programs.list()) == []
    assert session.run("own").outputs == "of the pool"
    assert "own" in [program.id for program in client.programs.list()]
    client.programs.delete("own")


def test_what_was_created_is_shown(client: Client) -> None:
    signature = {
        "inputs": [{"name": "country", "type": "str", "description": "of Europe"}],
        "outputs": [{"name": "capital", "type": "str"}],
        "instructions": "Name it.",
    }
    client.programs.put("shown", kind="dspy", signature=signature)
    document = client.programs.get("shown")
    assert document.definition is not None
    shown = document.definition["signature"]
    assert shown["inputs"][0]["description"] == "of Europe"
    assert [field["name"] for field in shown["outputs"]] == ["capital"]
    assert document.doc == "Name it."


def test_the_module_that_is_named_runs(client: Client, asked: LmServer) -> None:
    client.programs.put(
        "reasons", kind="dspy", signature="question -> answer", module="ChainOfThought"
    )
    asked.then(chat(reasoning="I have heard of it.", answer="42"))
    outputs = client.run("reasons", {"question": "?"}).outputs
    assert outputs == {"reasoning": "I have heard of it.", "answer": "42"}


def test_a_wrong_signature_is_refused_with_its_place(client: Client) -> None:
    with pytest.raises(InvalidProgram) as refused:
        client.programs.create("wrong", kind="dspy", signature="question: Nothing -> answer")
    assert "signature" in (refused.value.problem.path or "")
    assert "wrong" not in [program.id for program in client.programs.list()]


def test_a_field_has_the_type_that_was_declared(client: Client, asked: LmServer) -> None:
    client.programs.put("typed", kind="dspy", signature="question, most: int -> answer: int")
    inputs = {"question": "?", "most": 50}
    assert client.run("typed", inputs).outputs == {"answer": 42}
    asked.then(chat(answer="many"))
    with pytest.raises(LmFailed, match="model-output-unusable"):
        client.run("typed", inputs)
    with pytest.raises(InvalidInputs, match=r"inputs\.most"):
        client.run("typed", {**inputs, "most": "all"})


def test_every_worker_asks_the_pools_lm(client: Client, asked: LmServer) -> None:
    asked.clear()
    answers = at_each_worker(client, lambda session: session.run("qa", {"question": "?"}))
    assert len(answers) == WORKERS
    assert {(one.model, one.key) for one in asked.asked} == {("fast", KEYS["fast"])}


def test_an_lm_of_a_session_is_of_no_other_call(client: Client, asked: LmServer) -> None:
    client.session("s1").choose_lm(name="slow")
    client.session("s1").run("qa", {"question": "?"})
    client.run("qa", {"question": "?"})
    client.session("s2").run("qa", {"question": "?"})
    assert [one.model for one in asked.asked[-3:]] == ["slow", "fast", "fast"]
    environment = client.run_source("import os\n\ndef main():\n    return {**os.environ}\n")
    assert not set(KEYS.values()) & set(environment.outputs.values())


def test_a_sessions_lm_outlives_its_worker(client: Client, asked: LmServer) -> None:
    session = client.session("s1")
    session.choose_lm(name="slow")
    pid = session.run_source(WORKER_PID).outputs
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not _is_there(pid), "it is gone")
    session.run("qa", {"question": "?"})
    assert asked.asked[-1].model == "slow"
    eventually(lambda: ready_workers(client) == WORKERS, "workers are ready")


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_executions_are_counted_whatever_is_put_anew(client: Client, ready: str) -> None:
    before = _counted(ready)
    for number in range(3):
        client.programs.put("anew", source=f"def main() -> int:\n    return {number}\n")
        assert client.run("anew").outputs == number
    assert _counted(ready) - before >= 3


def _counted(url: str) -> float:
    lines = made(url, ["GET /metrics"]).body.splitlines()
    (line,) = [one for one in lines if one.startswith('anypod_run_seconds_count{pool="default"}')]
    return float(line.split()[-1])


def test_commands_do_not_wait_for_each_other(client: Client, asked: LmServer) -> None:
    asked.clear()
    asked.then(*[Reply(chat(answer="42"), delay=1)] * 8)
    jobs = [client.submit("qa", {"question": f"{number}?"}) for number in range(8)]
    assert client.run("greet", {"name": "Ada"}).outputs == "Ada"
    assert {job.result(timeout=60).outputs["answer"] for job in jobs} == {"42"}
    assert asked.most_at_once > 1
