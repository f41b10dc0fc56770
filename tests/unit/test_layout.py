"""The shape of the repository that code and tools rely on."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_no_package_at_the_root_shadows_the_standard_library() -> None:
    """``operator/__init__.py`` at the root would break every interpreter started there."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_source_roots_are_not_packages() -> None:
    for root in ("core", "gateway", "operator", "worker_image"):
        assert not (ROOT / root / "__init__.py").exists()


def test_the_constraints_pin_names_and_versions_and_nothing_else() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name, line
        assert version, line
        assert "/" not in line, line
        assert "@" not in line, line


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_tests_import_is_declared_and_does_not_only_come_along() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [project["project"]["dependencies"]]
    lists += [*project["project"]["optional-dependencies"].values()]
    lists += [*project["dependency-groups"].values()]
    declared = {plain(re.split(r"[^A-Za-z0-9._-]", one)[0]) for ones in lists for one in ones}
    # Parts of pydantic's and of aiohttp's own interfaces.
    declared |= {"pydantic-core", "multidict", "yarl"}

    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    imported = set(re.findall(r"^ *(?:from|import) ([A-Za-z_]\w*)", sources, re.MULTILINE))
    brought = packages_distributions()
    undeclared = {
        module
        for module in imported - sys.stdlib_module_names
        if module in brought and declared.isdisjoint(map(plain, brought[module]))
    }
    assert undeclared == set()


@pytest.mark.parametrize("verb", ["test", "chaos", "cluster", "cluster-down"])
def test_every_verb_takes_the_cluster_that_is_named(verb: str) -> None:
    about_it = about_clusters(verb, "CLUSTER=bare")
    assert about_it
    assert [line for line in about_it if "--cluster bare" not in line] == []


@pytest.mark.parametrize("verb", ["cluster", "cluster-down"])
def test_what_made_a_cluster_by_make_ends_it(verb: str) -> None:
    (line,) = about_clusters(verb, "CLUSTER_ARGS=--slot 1")
    assert line.endswith(" --slot 1")


def about_clusters(verb: str, variable: str) -> list[str]:
    said = subprocess.run(
        ["make", "--dry-run", verb, variable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    return [line for line in said.splitlines() if re.search(r"-m (tests\.cluster|pytest) ", line)]
