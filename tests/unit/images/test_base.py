"""What debootstrap is asked for, by what this machine's apt says of its sources.

Both are scripts here: a machine is of one distribution only.
"""

import os
from pathlib import Path

import pytest
from tests.cluster.images import base
from tests.cluster.images.commands import CannotBuild

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a base is made by root")
UBUNTU = """\
noble http://archive.ubuntu.com/ubuntu main
noble http://archive.ubuntu.com/ubuntu universe
noble http://archive.ubuntu.com/ubuntu universe
noble http://security.ubuntu.com/ubuntu restricted
jammy http://archive.ubuntu.com/ubuntu multiverse
"""
APT = """\
#!/bin/sh
while read codename site component; do
    echo "$3" | sed "s|\\$(CODENAME)|$codename|; s|\\$(SITE)|$site|; s|\\$(COMPONENT)|$component|"
done < {folder}/sources
"""
DEBOOTSTRAP = """\
#!/bin/sh
echo "$*" > {folder}/asked
for each; do case $each in */root)
    mkdir "$each" {folder}/mounted
    mount -t tmpfs tmpfs {folder}/mounted ;;
esac; done
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the scripts, and of what they are told and asked."""
    for name, body in {"apt-get": APT, "debootstrap": DEBOOTSTRAP}.items():
        (tmp_path / name).write_text(body.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sources").write_text(UBUNTU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path / "cache"))
    return tmp_path


@AS_ROOT
def test_packages_come_from_all_parts_of_the_distribution_that_apt_uses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """python3-venv and etcd-server are in Ubuntu's universe."""
    monkeypatch.setattr(base, "_suite", lambda: "noble")
    assert base.archive(base.PYTHON).exists()
    asked = (folder / "asked").read_text().split()
    assert "--components=main,universe" in asked
    assert asked[-1] == "http://archive.ubuntu.com/ubuntu"


@AS_ROOT
def test_what_is_mounted_meanwhile_is_not_so_on_this_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would stay where a build is killed, and nobody could clear that away."""
    monkeypatch.setattr(base, "_suite", lambda: "noble")
    base.archive(base.PYTHON)
    assert (folder / "mounted").exists()
    assert f"{folder}/mounted" not in Path("/proc/mounts").read_text()


def test_a_release_that_apt_does_not_know_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_suite", lambda: "bookworm")
    with pytest.raises(CannotBuild, match="no source of packages for bookworm"):
        base.archive(base.PYTHON)
