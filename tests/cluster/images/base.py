"""A base for the images where there is no registry: this machine's own distribution, made slim.

debootstrap makes a root file system of a few packages from the mirror that this machine's apt uses.
What only a package manager or a person at a terminal needs is left out of it.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images import cache, commands
from tests.cluster.images.commands import CannotBuild

DROPPED = (
    *("etc/apt/sources.list", "etc/apt/sources.list.d/*"),
    # Of the machine that made it:
    *("etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id"),
    *("tmp/*", "var/tmp/*", "var/cache/*", "var/log/*", "var/lib/apt/lists/*"),
    *("var/lib/dpkg/*-old", "dev/*", "run/*"),
    *("usr/share/locale/*", "usr/share/man/*", "usr/share/info/*", "usr/share/lintian/*"),
    *("usr/share/bash-completion", "usr/share/bug", "usr/share/pixmaps", "usr/share/zsh"),
)
KEPT_DOC = "copyright"


@dataclass(frozen=True)
class Base:
    """What it is for, and the packages beside the essential ones."""

    title: str
    packages: tuple[str, ...]


PYTHON = Base("python", ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata"))
ETCD = Base("etcd", ("etcd-server", "etcd-client"))


def why_not() -> str:
    """Why no base can be made here; empty when it can."""
    missing = [name for name in ("debootstrap", "apt-get") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} missing"
    return "" if os.geteuid() == 0 else "debootstrap needs root"


def content_key(base: Base) -> str:
    return cache.key(_suite(), *base.packages, Path(__file__).read_bytes())


def archive(base: Base) -> Path:
    """A tar of the root file system. Raises CannotBuild, CommandFailed."""
    return cache.kept(f"base-{base.title}", content_key(base), lambda path: _make(base, path))


def _make(base: Base, path: Path) -> None:
    packages = cache.folder() / "packages"
    packages.mkdir(exist_ok=True)
    mirror, components = _source(_suite())
    with tempfile.TemporaryDirectory(dir=cache.folder()) as folder:
        root = Path(folder) / "root"
        commands.run(
            # What it mounts would stay if it were killed.
            *("unshare", "--mount"),
            *("debootstrap", "--variant=minbase", f"--cache-dir={packages}"),
            f"--components={','.join(components)}",
            f"--include={','.join(base.packages)}",
            *(_suite(), root, mirror),
        )
        _trim(root)
        commands.run("tar", "--numeric-owner", "--sort=name", "-C", root, "-cf", path, ".")


def _suite() -> str:
    """This machine's release, by its code name."""
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise CannotBuild("/etc/os-release names no release of a distribution that has debootstrap")


def _source(suite: str) -> tuple[str, list[str]]:
    """The mirror of this release, and its parts: Ubuntu has in universe what Debian has in main."""
    wanted = "$(CODENAME) $(SITE) $(COMPONENT)"
    listed = ("apt-get", "indextargets", "--format", wanted, "Created-By: Packages")
    told = commands.run(*listed, seconds=commands.QUICK_SECONDS)
    rows = [line.split(" ") for line in told.splitlines()]
    found = [(site, component) for codename, site, component in rows if codename == suite]
    if not found:
        raise CannotBuild(f"apt on this machine has no source of packages for {suite}")
    mirror, _ = found[0]
    return mirror, list(dict.fromkeys(component for site, component in found if site == mirror))


def _trim(root: Path) -> None:
    for pattern in DROPPED:
        for path in root.glob(pattern):
            _remove(path)
    for path in sorted((root / "usr/share/doc").rglob("*"), reverse=True):
        if path.is_symlink() or (path.is_file() and path.name != KEPT_DOC):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
