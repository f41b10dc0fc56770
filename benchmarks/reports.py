"""What a benchmark says of itself: the machine that it ran on, and all figures as JSON."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.goals import Measured


def machine(*packages: str) -> str:
    """In one line, with these packages' versions. Exits where one is not installed."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB; Linux {platform.release()}; "
        f"Python {platform.python_version()}; {versions}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        sys.exit(
            f"{package} is not installed in {sys.prefix}, and the benchmark needs it: "
            "pip install -c constraints.txt --group test"
        )


def as_json(results: list[Measured], samples: dict[str, Any]) -> dict[str, Any]:
    return {
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
        "samples": samples,
    }
