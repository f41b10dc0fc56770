"""What is asked of the kind program, here a script that writes it down; and where there is none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster import __main__, control_plane, images, kind, oci, providers
from tests.cluster.binaries import Binaries
from tests.cluster.commands import CommandFailed
from tests.cluster.kind import KindOptions
from tests.cluster.providers import Wishes
from tests.cluster.versions import kubernetes

KIND = """
echo "$*" >> "{folder}/asked"
echo "$KIND_EXPERIMENTAL_PROVIDER" >> "{folder}/engines"
case "$1 $2" in
"get clusters") cat "{folder}/clusters" ;;
"get nodes") echo "a-control-plane a-external-load-balancer a-worker" ;;
"create cluster") [ ! -e "{folder}/broken" ] ;;
esac
"""
GO = '[ "$1" = install ] && mkdir "$GOBIN" && touch "$GOBIN/helm"'
ROOT = Path(__file__).resolve().parents[3]
VERSION = json.dumps({"serverVersion": {"gitVersion": "v1.34.4"}})
KUBECTL = f"""
case "$1 $2" in
"version "*) echo '{VERSION}' ;;
"get nodes") echo a-worker a-control-plane ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In front of PATH, with a kind, a kubectl and a docker."""
    programs = {
        "kind": KIND.format(folder=tmp_path),
        "kubectl": KUBECTL,
        "docker": "exit 0",
    }
    for name, body in programs.items():
        script(tmp_path / name, body)
    (tmp_path / "clusters").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBERNETES", raising=False)
    monkeypatch.delenv("KIND_EXPERIMENTAL_PROVIDER", raising=False)
    return tmp_path


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is on PATH any more but what the scripts need."""
    for name in ("cat", "mkdir", "nice", "touch"):
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(folder))


def asked(folder: Path, verb: str) -> list[str]:
    lines = (folder / "asked").read_text().splitlines()
    return [line for line in lines if line.startswith(verb)]


@pytest.mark.parametrize(
    ("release", "image", "wanted"),
    [
        (None, None, ""),
        ("v1.34", None, "--image=kindest/node:v1.34.4"),
        ("v1.36.1", None, "--image=kindest/node:v1.36.1"),
        ("v1.34", "mine/node:1", "--image=mine/node:1"),
    ],
)
def test_a_cluster_is_of_the_release_that_is_asked_for(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    release: str | None,
    image: str | None,
    wanted: str,
) -> None:
    if release is not None:
        monkeypatch.setenv("KUBERNETES", release)
    kind.start(KindOptions(image=image), 0, 2, keep=True)
    (made,) = asked(folder, "create cluster")
    assert [each for each in made.split() if each.startswith("--image")] == wanted.split()


@pytest.mark.parametrize(("release", "nodes"), [("v1.37", 2), ("v1.34", 3)])
def test_a_kept_cluster_that_is_another_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, release: str, nodes: int
) -> None:
    (folder / "clusters").write_text(kind.name_of(0))
    monkeypatch.setenv("KUBERNETES", release)
    with pytest.raises(RuntimeError, match="end it first"):
        kind.start(KindOptions(), 0, nodes, keep=True)
    monkeypatch.setenv("KUBERNETES", "v1.34")
    kind.start(KindOptions(), 0, 2, keep=True)
    assert not asked(folder, "create cluster")


def test_what_a_failed_start_has_left_is_ended(folder: Path) -> None:
    (folder / "broken").touch()
    with pytest.raises(CommandFailed):
        providers.fulfil(Wishes("kind"))
    (made,) = asked(folder, "create cluster")
    name = made.split()[-1]
    assert [each.split()[-1] for each in asked(folder, "delete cluster")] == [name]


def test_what_a_killed_run_has_left_is_ended_by_the_next(folder: Path) -> None:
    (folder / "clusters").write_text(f"kind mine {kind.name_of(7)}")
    providers.fulfil(Wishes("kind")).down()
    ended = [each.split()[-1] for each in asked(folder, "delete cluster")]
    assert ended[0] == f"--name={kind.name_of(7)}"
    assert "--name=mine" not in ended


def test_images_are_loaded_onto_nodes_and_not_onto_their_load_balancer(
    folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    oci.write_archive(archive, "localhost/any:1", Path(sys.executable))
    cluster = kind.start(KindOptions(), 0, 2, keep=True)
    cluster.load([archive])
    assert cluster.nodes() == ["a-control-plane", "a-worker"]
    onto = [line.split()[-2] for line in asked(folder, "load")]
    assert onto == ["--nodes=a-control-plane", "--nodes=a-worker"]


@pytest.mark.parametrize(
    ("named", "taken"),
    [(None, "docker"), ("podman", "podman"), ("nerdctl", "nerdctl"), ("nonsense", "docker")],
)
def test_the_engine_that_the_user_names_is_the_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, taken: str
) -> None:
    for engine in ("podman", "nerdctl"):
        script(folder / engine, "exit 0")
    if named is not None:
        monkeypatch.setenv("KIND_EXPERIMENTAL_PROVIDER", named)
    kind.start(KindOptions(), 0, 2, keep=True)
    assert set((folder / "engines").read_text().split()) == {taken}


def test_an_engine_that_is_named_and_does_not_answer_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(folder / "podman", "exit 1")
    monkeypatch.setenv("KIND_EXPERIMENTAL_PROVIDER", "podman")
    assert kind.why_no_kind() == "podman does not answer"


def test_where_a_built_kubectl_is_the_only_one_its_folder_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["tests.cluster", "up", "--cluster=kind", "--without-images"]
    monkeypatch.setattr("sys.argv", call)
    __main__.main()
    assert "export PATH" not in capsys.readouterr().out
    built = Binaries(folder / "cache" / kubernetes().version)
    built.bin.mkdir(parents=True)
    (folder / "kubectl").rename(built.path("kubectl"))
    alone(folder, monkeypatch)
    __main__.main()
    assert f'export PATH={built.bin}:"$PATH"' in capsys.readouterr().out


def test_its_kubeconfig_is_nobody_elses(folder: Path) -> None:
    cluster = kind.start(KindOptions(), 0, 2, keep=True)
    there = cluster.kubeconfig.parent
    assert there.is_relative_to(folder / "cache")
    assert there.stat().st_mode & 0o077 == 0


def test_where_none_can_be_had_nothing_is_built_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["tests.cluster", "up", "--cluster", "kind"])
    built: list[str] = []
    monkeypatch.setattr(images, "archives", lambda: built.append("all"))
    with pytest.raises(SystemExit) as refused:
        __main__.main()
    assert str(refused.value) == "error: no cluster: kind: there is no kind on PATH"
    assert built == []


def test_where_there_is_go_and_no_helm_one_is_built_for_the_tests(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(folder, monkeypatch)
    script(folder / "go", GO)
    monkeypatch.setattr(control_plane, "why_no_api_server", lambda: "not asked here")
    assert providers.prepare("kind") is None
    (built,) = (folder / "cache").glob("helm-*/helm")
    built.parent.rename(folder / "of-the-user")
    monkeypatch.setenv("PATH", f"{folder / 'of-the-user'}:{folder}")
    (folder / "of-the-user" / "helm").chmod(0o755)
    providers.prepare("kind")
    assert not built.exists()


def test_where_there_is_no_go_the_tests_of_clusters_are_skipped_with_the_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(folder, monkeypatch)
    tests = ROOT / "tests/integration/cluster/test_cluster.py"
    call = [sys.executable, "-m", "pytest", "--cluster=kind", "-rs", str(tests)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert "the image probe is not in" in done.stdout, done.stdout + done.stderr
    assert "and there is no Go to build it" in done.stdout
    assert " skipped in " in done.stdout
    assert done.returncode == 0
