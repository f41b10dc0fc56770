"""The page for who comes from DSPex: each row of its tables is a call, which is made here."""

import contextlib
import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from tests.integration.dspy.conftest import KEYS, manifest, variable
from tests.support.anypod_up import anypod_up, ready_workers
from tests.support.lm_server import LmServer, Reply, chat, lm_server
from tests.support.local import eventually
from tests.support.pages import ROOT

from anypod.client import Client
from anypod.client.errors import LmFailed, NotFound

PAGE = (ROOT / "docs" / "from-dspex.md").read_text()
WORKERS = 2
NAMES = """
ping configure_lm create_program execute_program list_programs get_program_info delete_program
create_gemini_program execute_gemini_program get_stats cleanup reset_state cleanup_session
get_session_data update_session_data shutdown start_session end_session get_session_info
session_adapter with_pool_name execute_in_session execute_anonymous track_session
update_session_activity get_pool_status health_check execute list_workers create_session get_session
update_session delete_session list_sessions session_exists? cleanup_expired_sessions store_program
update_program get_program store_global_program get_global_program delete_global_program
store_worker_session put_program put_metadata get_metadata execute_stream execute_in_session_stream
await_ready await_init_complete run_as_script Ping InitializeSession GetSession CleanupSession
Heartbeat ExecuteTool ExecuteStreamingTool RegisterTools GetExposedElixirTools ExecuteElixirTool
StreamTelemetry call store retrieve list_stored delete_stored pipeline inspect configure info
create_dspy_program execute_dspy configure_dspy clear_session register_variable get_variable
update_variable list_variables delete_variable has_variable export_variables watch predict
chain_of_thought react program_of_thought multi_chain_comparison retry run_pipeline validate
lm_client lm_generate settings with_settings configure_cache optimizers.optimize
evaluation.evaluate compare assertions Context.register_program Context.call run lm method attr
set_attr

session_id program_type use_dynamic_signature program_id signature signature_class field_mapping
fallback_used signature_def outputs execution_time program_data created_at execution_count
last_executed total_count model_name raw_response command_count error_count uptime memory_usage
model api_key temperature provider pool_size max_overflow active_sessions workers available busy
queued requests errors queue_timeouts timeout pool_timeout affinity metadata ttl last_accessed
last_worker_id programs worker_id mode status id description inputs

pool_not_initialized queue_timeout worker_timeout worker_exit python_error grpc_error validation
pool_saturated worker_busy session_worker_unavailable pool_not_found
"""
"""Operations, fields and errors."""


@dataclass(frozen=True)
class Row:
    there: str
    call: list[str]
    """What stands in code: method and path, headers, the body."""
    here: str


def rows(*headings: str) -> list[Row]:
    """Of all tables that have these."""
    head = re.escape(f"| {' | '.join(headings)} |")
    found = re.findall(rf"^{head}\n\|[ |-]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for table in found for line in table.splitlines()]
    return [Row(one[0].strip(), re.findall(r"`([^`]+)`", one[1]), one[-1].strip()) for one in cells]


CALLS = rows("there", "call", "its fields here")
REFUSED = rows("there", "call", "answer")
METRICS = rows("telemetry", "metric")


@dataclass(frozen=True)
class Told:
    status: int
    headers: dict[str, str]
    body: str

    def has(self, path: str) -> bool:
        """A member of the document, or what the text has."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return path in self.body
        for name in path.split("."):
            if isinstance(found, list):
                found = dict(enumerate(found)).get(int(name), ...)
            else:
                found = found.get(name, ...) if isinstance(found, dict) else ...
        return found is not ...


def made(url: str, call: list[str]) -> Told:
    """The call of a row."""
    (method, path), *rest = call[0].split(), *call[1:]
    headers = dict(one.split(": ", 1) for one in rest if not one.startswith("{"))
    body = next((one for one in rest if one.startswith("{")), None)
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    path = path if path.startswith("/") else f"/v1/pools/default/{path}"
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Told(answer.status, dict(answer.getheaders()), answer.read().decode())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def asked() -> Iterator[LmServer]:
    with lm_server(lambda _: chat(answer="42")) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("from-dspex")


@pytest.fixture(scope="module")
def url(asked: LmServer, folder: Path) -> Iterator[str]:
    """Of three pools: one without workers, and one where nobody may wait either."""
    pools = [yaml.safe_load(manifest(asked.url))]
    for name, queue in (("empty", {"maxWaitSeconds": 0}), ("full", {"depth": 0})):
        kind = {"apiVersion": "anypod.dev/v1alpha1", "kind": "WorkerPool"}
        pools.append({**kind, "metadata": {"name": name}, "spec": {"replicas": 0, "queue": queue}})
    (folder / "pools.yaml").write_text(yaml.safe_dump_all(pools))
    with pytest.MonkeyPatch.context() as environment:
        for name, key in KEYS.items():
            environment.setenv(variable(name), key)
        with anypod_up(folder, "-f", str(folder / "pools.yaml"), workers=WORKERS) as (found, _):
            yield found


@pytest.fixture
def ready(url: str) -> Iterator[str]:
    """With the programs and the session of the page, and with all workers."""
    with Client(url, timeout=60) as client:
        eventually(lambda: ready_workers(client) == WORKERS, "workers are ready")
        client.programs.put("qa", kind="dspy", signature="question -> answer")
        client.programs.put("greet", source="def main(name: str) -> str:\n    return name\n")
        client.programs.put("counting", source="def main(n: int):\n    yield from range(n)\n")
        client.programs.put("remember", source=REMEMBER)
        session = client.session("s1")
        session.run("remember", {"name": "kept", "value": 1})
        session.programs.put("own", source="def main() -> int:\n    return 1\n")
        yield url
        with contextlib.suppress(NotFound):
            session.end()


REMEMBER = """
from typing import Any

from anypod import session


def main(name: str, value: Any) -> dict[str, Any]:
    session.state[name] = value
    return dict(session.state)
"""


@pytest.mark.parametrize("row", CALLS, ids=lambda row: " ".join(row.call[:2])[:60])
def test_each_operation_is_a_call(ready: str, row: Row) -> None:
    told = made(ready, row.call)
    assert told.status < 300, told
    for pair in filter(None, row.here.split("; ")):
        path = re.findall(r"`([^`]+)`", pair)[-1]
        assert told.has(path), (path, told.body)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.there[:60])
def test_each_error_has_its_type(ready: str, row: Row, folder: Path) -> None:
    with _killed(ready, folder) if "killed meanwhile" in row.there else contextlib.nullcontext():
        told = made(ready, row.call)
    status, type_ = re.fullmatch(r"(\d+) `(.*)`", row.here).groups()  # type: ignore[union-attr]
    assert (told.status, json.loads(told.body)["type"]) == (int(status), type_), told.body


@contextlib.contextmanager
def _killed(url: str, folder: Path) -> Iterator[None]:
    """The session's worker dies once the row's program says that it sleeps."""
    with Client(url, timeout=60) as client:
        source = (ROOT / "examples" / "worker_pid.py").read_text()
        worker = client.session("s1").run_source(source).outputs

    def kill() -> None:
        eventually(lambda: "it sleeps" in (folder / "up.log").read_text(), "it runs")
        os.kill(worker, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    yield
    killing.join()


@pytest.mark.parametrize("row", METRICS, ids=lambda row: row.call[0])
def test_telemetry_is_metrics(ready: str, row: Row) -> None:
    assert f"# TYPE {row.call[0].removesuffix('_total')}" in made(ready, ["GET /metrics"]).body


@pytest.mark.parametrize("name", NAMES.split())
def test_nothing_of_it_is_forgotten(name: str) -> None:
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|")]
    cells += [row.here for row in CALLS]
    assert any(re.search(rf"`{re.escape(name)}[`(]", cell) for cell in cells), name


# Defects that it had, each of which would be seen here.


def test_an_anonymous_program_runs_anywhere_and_for_anyone(ready: str) -> None:
    source = "import os\n\n\ndef main() -> int:\n    return os.getppid()\n"
    with Client(ready, timeout=60) as client:
        client.programs.create("anonymous", source=source)
        asked = [client.submit("anonymous").id for _ in range(20)]
        workers = {client.job(one).result(timeout=60).execution.worker for one in asked}
        assert workers <= {worker.name for worker in client.workers.list()}
        for key in ("s1", "s2", "s3"):
            assert client.session(key).run("anonymous").execution.session == key


def test_commands_do_not_wait_for_each_other(ready: str, asked: LmServer) -> None:
    asked.clear()
    asked.then(*[Reply(chat(answer="42"), delay=1)] * 8)
    with Client(ready, timeout=60) as client:
        jobs = [client.submit("qa", {"question": f"{number}?"}) for number in range(8)]
        assert client.run("greet", {"name": "Ada"}).outputs == "Ada"
        assert {job.result(timeout=60).outputs["answer"] for job in jobs} == {"42"}
    assert asked.most_at_once > 1


def test_a_field_has_the_type_that_was_declared(ready: str, asked: LmServer) -> None:
    with Client(ready, timeout=60) as client:
        client.programs.put("typed", kind="dspy", signature="question -> answer: int")
        assert client.run("typed", {"question": "?"}).outputs == {"answer": 42}
        asked.then(chat(answer="many"))
        with pytest.raises(LmFailed, match="model-output-unusable"):
            client.run("typed", {"question": "?"})


def test_an_lm_of_a_session_is_of_no_other_call(ready: str, asked: LmServer) -> None:
    with Client(ready, timeout=60) as client:
        client.session("s1").choose_lm(name="slow")
        client.session("s1").run("qa", {"question": "?"})
        client.run("qa", {"question": "?"})
        client.session("s2").run("qa", {"question": "?"})
        assert [one.model for one in asked.asked[-3:]] == ["slow", "fast", "fast"]
