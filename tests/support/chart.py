"""The chart as helm renders it, for tests: as objects, or as what helm says is wrong."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.binaries import HELM, cache

CHART = Path(__file__).parents[2] / "helm" / "anypod"
RELEASE, NAMESPACE = "rel", "home"

Object = dict[str, Any]


class HelmError(RuntimeError):
    """helm said no; the message is what it printed."""


def find_helm() -> Path | None:
    """The user's, or the one that was built for a bare cluster."""
    built = cache() / f"{HELM.name}-{HELM.version}" / HELM.name
    if built.exists():
        return built
    found = shutil.which("helm")
    return None if found is None else Path(found)


def helm(*arguments: str, timeout: float = 60, **environment: str) -> str:
    binary = find_helm()
    assert binary is not None
    done = subprocess.run(
        [binary, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise HelmError(f"helm {' '.join(arguments)}: {done.stderr.strip()}\n{done.stdout.strip()}")
    return done.stdout


def helm_on(kubeconfig: Path, *arguments: str, timeout: float = 60) -> str:
    return helm(*arguments, timeout=timeout, KUBECONFIG=str(kubeconfig))


def settings(values: Mapping[str, Any]) -> list[str]:
    """As options; a dotted name reaches into values."""
    return [f"--set-json={name}={json.dumps(value)}" for name, value in values.items()]


def copy_of_version(version: str, directory: Path) -> Path:
    """The chart, for images of that version too."""
    copy = directory / CHART.name
    shutil.copytree(CHART, copy)
    file = copy / "Chart.yaml"
    said = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**said, "version": version, "appVersion": version}))
    return copy


def rendered(
    values: Mapping[str, Any] | None = None,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    chart: Path = CHART,
) -> list[Object]:
    """Rendered once, so not to be changed. Raises HelmError."""
    return _rendered(tuple(settings(values or {})), release, namespace, chart)


def rendered_anew() -> list[Object]:
    return _rendered.__wrapped__((), RELEASE, NAMESPACE, CHART)


@functools.cache
def _rendered(options: tuple[str, ...], release: str, namespace: str, chart: Path) -> list[Object]:
    text = helm("template", release, str(chart), f"--namespace={namespace}", *options)
    return [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each is not None]


def pick(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (
        each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return found


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pod_specs(objects: list[Object]) -> dict[str, Object]:
    """By kind and name of what has them."""
    found = {}
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        pod = spec if each["kind"] == "Pod" else spec.get("template", {}).get("spec")
        if pod is not None:
            found[f"{each['kind']} {each['metadata']['name']}"] = pod
    return found
