"""What helm prints after an install: commands that a shell can read, about what was installed.

tests/e2e/test_install.py runs them, as they are for a trial.
"""

import json
import shlex
import subprocess
from typing import Any

import pytest
from tests.support.chart import CHART, NAMESPACE, RELEASE, helm, settings

from anypod.resources import WorkerPool

VARIANTS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "defaults": (
        {},
        ["all namespaces", "pools/default/run", "8700:80", 'index .data "admin"'],
        ["WARNING", "NOTE"],
    ),
    "pools elsewhere": (
        {"watchNamespaces": ["red", "blue"]},
        ["red, blue", "apply -n red", "pools/default.red/run", "wait -n red"],
        ["all namespaces"],
    ),
    "pools here and elsewhere": (
        {"watchNamespaces": ["red", NAMESPACE]},
        [f"red, {NAMESPACE}", f"apply -n {NAMESPACE}"],
        ["all namespaces"],
    ),
    "no authentication": (
        {"authentication.enabled": False},
        ["WARNING: authentication is off"],
        ["Authorization", "get secret"],
    ),
    "keys of the user's own": (
        {"authentication.apiKeys.existingSecret": "mine", "test.apiKey": "ci.of-us"},
        ["get secret -n home mine", 'index .data "ci.of-us"'],
        ["first API key"],
    ),
    "another port": ({"gateway.service.port": 8080}, ["8700:8080"], ["8700:80 "]),
    "without volumes": (
        {"etcd.persistence.enabled": False},
        ["NOTE: etcd.persistence is off"],
        ["WARNING"],
    ),
    "without a test": ({"test.enabled": False}, ["pools/default/run"], ["helm test"]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_notes_are_about_what_was_installed(variant: str) -> None:
    values, there, not_there = VARIANTS[variant]
    notes = printed(values)
    assert [each for each in there if each not in notes] == []
    assert [each for each in not_there if each in notes] == []
    commands = [line.strip() for line in notes.splitlines() if line.startswith("  ")]
    assert len(commands) >= 2
    manifest = json.loads(shlex.split(commands[0].partition(" | ")[0])[1])
    assert WorkerPool.model_validate(manifest).metadata.name == "default"
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=30)


def printed(values: dict[str, Any]) -> str:
    told = helm(
        *("install", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--dry-run=client"),
        *settings(values),
    )
    return told.partition("NOTES:\n")[2]
