"""``make bench-dspy``: what DSPy programs cost, against the goals and a FastAPI server."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import goals, reports, startup
from benchmarks.dspy import measure, rivals


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dspy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=50, help="one after another, per round")
    parser.add_argument("--many", type=int, default=200, help="at once, per round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.runs, arguments.many = 1, 5, 16
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(reports.machine("aiohttp", "uvloop", "dspy", "fastapi"), highlight=False)
    rounds = arguments.rounds
    with rivals.lm() as api_base:
        results, samples = measure.against_fastapi(
            console, api_base, rounds=rounds, count=arguments.runs, many=arguments.many
        )
        results.append(measure.first_runs(api_base, rounds=rounds))
        results.append(measure.memory(api_base, rounds=rounds, quick=arguments.quick))
    results.append(startup.ready(goals.READY_DSPY, "dspy", rounds, quick=arguments.quick))
    goals.show(console, results)
    if arguments.json:
        arguments.json.write_text(json.dumps(reports.as_json(results, samples), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
