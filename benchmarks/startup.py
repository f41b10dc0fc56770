"""Eight workers of a local pool, from the start of ``anypod up`` to all of them ready."""

import json
import tempfile
import time
from pathlib import Path

from benchmarks import goals, load, processes
from benchmarks.goals import Goal, Measured

WORKERS = 8


def measure(*, rounds: int, quick: bool) -> list[Measured]:
    return [
        ready(goals.READY_PLAIN, "aiohttp", rounds, quick=quick),
        ready(goals.READY_PANDAS, "pandas", rounds, quick=quick),
    ]


def ready(goal: Goal, preload: str, rounds: int, *, quick: bool) -> Measured:
    if not quick:
        with tempfile.TemporaryDirectory() as name:
            # Bytecode of everything, once: what an installation brings along is not measured.
            _time_to_ready(Path(name), preload)
    times = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            times.append(_time_to_ready(Path(name), preload))
    return Measured(goal, load.median(times), tuple(times))


def _time_to_ready(directory: Path, preload: str) -> float:
    """Seconds; all processes are new."""
    port = processes.free_port()
    command = [processes.script("anypod"), "up", "--workers", str(WORKERS), "--preload", preload]
    command += ["--port", str(port), "--dir", str(directory / ".anypod")]
    began = time.perf_counter()
    with processes.running(command, directory / "up.log"):
        url = f"http://127.0.0.1:{port}/v1/pools/default"

        def ready() -> bool:
            status, body = processes.ask(url)
            return status == 200 and json.loads(body)["workers"]["ready"] == WORKERS

        processes.wait_for(f"readiness of {WORKERS} workers", ready)
        return time.perf_counter() - began
