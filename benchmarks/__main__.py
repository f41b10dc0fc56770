"""``make bench``: measure all, print the tables, and write them as JSON if asked."""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks import executors, goals, startup, throughput
from benchmarks.goals import Measured


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of load, per round and rival")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(machine(), highlight=False)
    results, samples = throughput.measure(
        console, rounds=arguments.rounds, seconds=arguments.seconds
    )
    results += startup.measure(rounds=arguments.rounds)
    results += executors.measure(rounds=arguments.rounds)
    goals.show(console, results)
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(results, samples), indent=2))
    return 0


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "msgspec"))
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB; Linux {platform.release()}; "
        f"Python {platform.python_version()}; {packages}"
    )


def as_json(results: list[Measured], samples: throughput.Found) -> dict[str, object]:
    return {
        "machine": machine(),
        "results": [
            {
                "name": one.goal.name,
                "goal": one.goal.text,
                "unit": one.goal.unit,
                "median": one.value,
                "rounds": one.rounds,
                "met": one.goal.is_met(one.value),
            }
            for one in results
        ],
        "samples": {
            f"{rival}, c={connections}": [asdict(sample) for sample in taken]
            for connections, rivals in samples.items()
            for rival, taken in rivals.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
