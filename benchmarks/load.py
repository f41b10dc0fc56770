"""Load by wrk, against rivals in turn."""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes

SCRIPT = """
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"failed":%d,"broken":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Rival:
    name: str
    url: str
    body: bytes
    pids: tuple[int, ...]
    """Its processes; what descends from them is its too."""


@dataclass(frozen=True, slots=True)
class Sample:
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time per request, of all its processes together. It depends less on what else the
    machine does than the other figures do."""


class LoadFailed(Exception):
    """A rival gave an error: its figures would mean nothing."""


def run(rival: Rival, connections: int, seconds: int) -> Sample:
    """On a machine that is so busy that no answer comes in ``seconds``, in up to ten times as many.
    Raises LoadFailed when an answer was an error (a status of 400 or more), a connection failed, or
    there was no answer: lower statuses wrk does not tell apart."""
    found = _loaded(rival, connections, seconds) or _loaded(rival, connections, 10 * seconds)
    if found is None:
        raise LoadFailed(f"{rival.name}: there was no answer")
    return found


def _loaded(rival: Rival, connections: int, seconds: int) -> Sample | None:
    """None when there was no answer."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadFailed("wrk is not installed; on Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "post.lua"
        script.write_text(SCRIPT)
        before = sum(map(processes.cpu_seconds, rival.pids))
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), rival.url]
        finished = subprocess.run(
            command,
            env={**os.environ, "BENCH_BODY": rival.body.decode()},
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            check=True,
        )
        used = sum(map(processes.cpu_seconds, rival.pids)) - before
    line = next(line for line in finished.stdout.splitlines() if line.startswith("RESULT "))
    found = json.loads(line.removeprefix("RESULT "))
    if found["failed"] or found["broken"]:
        raise LoadFailed(f"{rival.name}: {found}")
    if not found["requests"]:
        return None
    return Sample(
        per_second=found["requests"] / found["microseconds"] * 1e6,
        p50_ms=found["p50"] / 1e3,
        p99_ms=found["p99"] / 1e3,
        cpu_us=used / found["requests"] * 1e6,
    )


def alternate(
    rivals: list[Rival], connections: int, rounds: int, seconds: int
) -> dict[str, list[Sample]]:
    """``rounds`` samples of each, one after the other within each round."""
    found: dict[str, list[Sample]] = {rival.name: [] for rival in rivals}
    for _ in range(rounds):
        for rival in rivals:
            found[rival.name].append(run(rival, connections, seconds))
    return found


def ratios(of: list[Sample], against: list[Sample]) -> tuple[float, ...]:
    """Round by round, so that a slow minute of the machine hits both."""
    return tuple(a.per_second / b.per_second for a, b in zip(of, against, strict=True))


def median(values: tuple[float, ...] | list[float]) -> float:
    return statistics.median(values)
