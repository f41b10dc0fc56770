"""``make bench``: measure all, print the tables, and write them as JSON if asked."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks import executors, goals, reports, startup, throughput


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
    console.print(reports.machine("aiohttp", "uvloop", "msgspec"), highlight=False)
    results, samples = throughput.measure(
        console, rounds=arguments.rounds, seconds=arguments.seconds, quick=arguments.quick
    )
    results += startup.measure(rounds=arguments.rounds, quick=arguments.quick)
    results += executors.measure(rounds=arguments.rounds, quick=arguments.quick)
    goals.show(console, results)
    if arguments.json:
        taken = {
            f"{rival}, c={connections}": [asdict(sample) for sample in each]
            for connections, rivals in samples.items()
            for rival, each in rivals.items()
        }
        arguments.json.write_text(json.dumps(reports.as_json(results, taken), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
