"""The page for who comes from DSPex: each row of its tables is a call, which is made here."""

import contextlib
import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.integration.dspex.conftest import HELD, WORKERS, held
from tests.support.local import eventually
from tests.support.pages import ROOT

from anypod.client import AnyPodError, Client

PAGE = (ROOT / "docs" / "from-dspex.md").read_text()
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
update_variable list_variables delete_variable has_variable export_variables import_variables
get_variables update_variables watch predict
chain_of_thought react program_of_thought multi_chain_comparison retry run_pipeline validate
lm_client lm_generate settings with_settings configure_cache optimizers.optimize
evaluation.evaluate compare assertions Context.register_program Context.call run lm method attr
set_attr streaming ml_inference batch_job

session_id program_type use_dynamic_signature program_id signature signature_class field_mapping
fallback_used signature_def outputs execution_time program_data created_at execution_count
last_executed total_count model_name raw_response command_count error_count uptime memory_usage
model api_key temperature provider options programs_count name command args success result
timestamp current_session key value pool_name uptime_ms sessions programs_removed programs_cleared
sessions_cleaned commands_reset errors_reset session_valid
pool_size max_overflow active_sessions workers available busy
queued requests errors queue_timeouts timeout pool_timeout affinity metadata ttl last_accessed
last_worker_id programs worker_id mode status id description inputs

pool_not_initialized queue_timeout worker_timeout worker_exit python_error grpc_error validation
pool_saturated worker_busy session_worker_unavailable pool_not_found worker pool

initialized init_started init_complete saturated queue.enqueued queue.dequeued queue.timeout
call.dispatched worker.spawn_started worker.spawned worker.ready worker.spawn_failed
worker.terminated worker.restarted session.created session.destroyed session.affinity_assigned
session.affinity_broken call.start call.stop call.exception memory.sampled cpu.sampled
tool.execution rss vms percent operation stats category
"""
"""Operations, fields, errors and telemetry."""


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


def _ends_its_process(client: Client) -> None:
    with pytest.raises(AnyPodError, match="program-exited"):
        client.run_source("import os\n\ndef main():\n    os._exit(3)\n")


MOVES: dict[str, Callable[[Client], object]] = {
    "anypod_requests_total": lambda client: client.run("greet", {"name": "Ada"}),
    "anypod_run_seconds": lambda client: client.run("greet", {"name": "Ada"}),
    "anypod_executor_restarts_total": _ends_its_process,
    "anypod_session_events_total": lambda client: client.session("told").run(
        "greet", {"name": "Ada"}
    ),
}


def sample(url: str, metric: str, label: str = "") -> float:
    """Of the pool, whatever else its labels say."""
    shape = re.compile(rf'{metric}(_count)?\{{[^}}]*pool="default"[^}}]*\}} (\S+)')
    lines = made(url, ["GET /metrics"]).body.splitlines()
    found = [shape.fullmatch(line) for line in lines if label in line]
    return sum(float(one[2]) for one in found if one is not None)


@pytest.mark.parametrize("metric", [row.call[0] for row in METRICS])
def test_telemetry_is_metrics(ready: str, folder: Path, metric: str) -> None:
    if metric == "anypod_workers":
        assert sample(ready, metric, 'state="ready"') == WORKERS
        return
    before = sample(ready, metric)
    with Client(ready, timeout=60) as client:
        if metric == "anypod_queue_depth":
            client.programs.put("waits", source=HELD)
            executors = client.pools.get("default").executors.total
            with held(client, "waits", folder, executors + 2):
                eventually(lambda: sample(ready, metric) == before + 2, "two wait")
            return
        MOVES[metric](client)
        eventually(lambda: sample(ready, metric) > before, "it has moved")


@pytest.mark.parametrize("name", NAMES.split())
def test_nothing_of_it_is_forgotten(name: str) -> None:
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|")]
    cells += [row.here for row in CALLS]
    assert any(re.search(rf"`{re.escape(name)}[`(]", cell) for cell in cells), name
