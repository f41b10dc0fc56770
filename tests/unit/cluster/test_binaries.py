"""What is built once and when it is built anew; what is said where it cannot be. go is a script."""

import os
from pathlib import Path

import pytest
from tests.cluster import bare, binaries
from tests.cluster.binaries import Binaries
from tests.cluster.own_images import PAUSE
from tests.cluster.versions import kubernetes
from tests.support.built import why_no_api_yet

GO = """\
#!/bin/sh
case "$1 $2" in
"mod download") echo '{{"GoMod": "{folder}/go.mod"}}' ;;
"build "*)
    echo build >> {folder}/builds
    [ ! -e {folder}/broken ] || exit 1
    while [ "$1" != -o ]; do shift; done
    touch "$2" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the script, of a cache, and of the source of Kubernetes' programs."""
    (tmp_path / "go").write_text(GO.format(folder=tmp_path))
    (tmp_path / "go").chmod(0o755)
    (tmp_path / "go.mod").write_text("go 1.24\n")
    (tmp_path / "main.go").write_text("package main")
    (tmp_path / "builds").touch()
    monkeypatch.setattr(binaries, "_SOURCE", tmp_path / "main.go")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def builds(folder: Path) -> int:
    return len((folder / "builds").read_text().splitlines())


def test_kubernetes_is_built_once_and_anew_when_its_source_has_changed(folder: Path) -> None:
    for _ in range(2):
        assert binaries.kubernetes_binaries(kubernetes()).path("kubelet").exists()
    assert builds(folder) == 1
    (folder / "main.go").write_text("package main // changed")
    (folder / "broken").touch()
    with pytest.raises(RuntimeError):
        binaries.kubernetes_binaries(kubernetes())
    (folder / "broken").unlink()
    for _ in range(2):  # what failed does not count
        binaries.kubernetes_binaries(kubernetes())
    assert builds(folder) == 3


def test_a_test_of_the_api_does_not_wait_until_it_is_built_anew(folder: Path) -> None:
    binaries.kubernetes_binaries(kubernetes())
    assert "is not built here yet" not in (why_no_api_yet() or "")
    (folder / "main.go").write_text("package main // changed")
    assert why_no_api_yet() is not None


def test_without_go_a_bare_cluster_needs_all_that_is_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries.kubernetes_binaries(kubernetes())
    monkeypatch.setenv("PATH", str(folder / "empty"))
    monkeypatch.setattr(bare, "NEEDS", ())
    monkeypatch.setattr(os, "getuid", lambda: 0)
    cache = Binaries(folder / "cache").folder
    for tool in binaries.TOOLS:
        reason = bare.why_no_bare(kubernetes())
        assert f"{tool.name} {tool.version}" in (reason or "")
        (cache / f"{tool.name}-{tool.version}").mkdir()
        (cache / f"{tool.name}-{tool.version}" / tool.name).touch()
    reason = bare.why_no_bare(kubernetes())
    assert reason == f"the image pause is not in {cache}, and there is no Go to build it"
    (cache / f"pause-{PAUSE.version}").mkdir()
    (cache / f"pause-{PAUSE.version}" / "pause.tar").touch()
    assert bare.why_no_bare(kubernetes()) is None
