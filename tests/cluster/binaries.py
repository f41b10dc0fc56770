"""Kubernetes and what a cluster needs beside it, built from Go modules and cached by version.

No registry and no download page is asked: only Go's module proxy, by Go's ordinary client. The
first build takes about ten minutes on two cores; everything after that finds the cache.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import commands, versions
from tests.cluster.telling import step
from tests.cluster.versions import Kubernetes

COMPONENTS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
)
_SOURCE = Path(__file__).parent / "kube" / "main.go"
_BUILD_SECONDS = 3600


@dataclass(frozen=True)
class Tool:
    """A program that `go install` can build."""

    name: str
    version: str
    package: str


HELM = Tool("helm", versions.HELM, "helm.sh/helm/v4/cmd/helm")
COREDNS = Tool("coredns", versions.COREDNS, "github.com/coredns/coredns")
KUBE_ROUTER = Tool(
    "kube-router", versions.KUBE_ROUTER, "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
)
TOOLS = (HELM, COREDNS, KUBE_ROUTER)


def cache() -> Path:
    return Path(os.environ.get("CLUSTER_CACHE") or Path.home() / ".cache" / "anypod-cluster")


@dataclass(frozen=True)
class Binaries:
    """One version's programs: ``folder / bin`` is what a PATH needs."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def path(self, name: str) -> Path:
        return self.bin / name


def kubernetes_binaries(release: Kubernetes) -> Binaries:
    """Kubernetes alone, built if it is not cached."""
    found = _of(release)
    if not is_built(release):
        found.bin.mkdir(parents=True, exist_ok=True)
        with _one_build_at_a_time():
            if not is_built(release):
                with step(f"building Kubernetes {release.version} from its Go modules, once"):
                    _build_kubernetes(found, release)
    return found


def all_binaries(release: Kubernetes) -> Binaries:
    """Kubernetes and the tools beside it, in one ``bin``."""
    found = kubernetes_binaries(release)
    for tool in TOOLS:
        _point(found.path(tool.name), Path("../..") / tool_binary(tool).relative_to(cache()))
    return found


def tool_binary(tool: Tool) -> Path:
    """One tool alone, built if it is not cached."""
    built = _place(tool)
    if not built.exists():
        cache().mkdir(parents=True, exist_ok=True)
        with _one_build_at_a_time():
            if not built.exists():
                with step(f"building {tool.name} {tool.version} from its Go modules, once"):
                    _build_tool(tool, built)
    return built


def is_built(release: Kubernetes) -> bool:
    """All of its programs are there, and from what is their source now."""
    found = _of(release)
    source = found.folder / "src" / _SOURCE.name
    return (
        all(found.path(name).exists() for name in COMPONENTS)
        and source.exists()
        and source.read_bytes() == _SOURCE.read_bytes()
    )


def why_not(release: Kubernetes) -> str | None:
    """Why Kubernetes' programs are not to be had here, or None."""
    if is_built(release) or shutil.which("go"):
        return None
    return f"Kubernetes {release.version} is not in {cache()}, and there is no Go to build it"


def why_no_tools() -> str | None:
    """Why the tools beside it are not to be had here, or None."""
    missing = [f"{tool.name} {tool.version}" for tool in TOOLS if not _place(tool).exists()]
    if not missing or shutil.which("go"):
        return None
    return f"not in {cache()}: {', '.join(missing)}; and there is no Go to build them"


def _of(release: Kubernetes) -> Binaries:
    return Binaries(cache() / release.version)


def _place(tool: Tool) -> Path:
    return cache() / f"{tool.name}-{tool.version}" / tool.name


def _build_kubernetes(binaries: Binaries, release: Kubernetes) -> None:
    source = binaries.folder / "src.partial"
    source.mkdir(exist_ok=True)
    (source / "go.mod").write_text(_module(release))
    shutil.copyfile(_SOURCE, source / "main.go")
    _go("mod", "tidy", cwd=source)
    stamp = "k8s.io/component-base/version.git"
    stamps = {"Version": release.version, "Major": "1", "Minor": release.minor}
    linker = " ".join(["-s -w", *(f"-X {stamp}{part}={value}" for part, value in stamps.items())])
    # Under another name first: a build that is killed must not leave half a program behind.
    partial = binaries.path("kube.partial")
    _go("build", "-trimpath", "-ldflags", linker, "-o", str(partial), ".", cwd=source)
    partial.rename(binaries.path("kube"))
    for name in COMPONENTS:
        _point(binaries.path(name), Path("kube"))
    # Last, as it says what they are built from.
    built = binaries.folder / "src"
    shutil.rmtree(built, ignore_errors=True)
    source.rename(built)


def _module(release: Kubernetes) -> str:
    """go.mod of a module that requires Kubernetes.

    k8s.io/kubernetes cannot be installed as it is: it replaces its siblings by folders of its own
    repository, and replacements count in the main module only. Their released versions stand in.
    """
    wanted = f"k8s.io/kubernetes@{release.version}"
    found = json.loads(_go("mod", "download", "-json", wanted, cwd=cache()))
    upstream = Path(found["GoMod"]).read_text().splitlines()
    siblings = [line.split()[0] for line in upstream if "=> ./staging/src/" in line]
    lines = [
        "module kube",
        *(line for line in upstream if line.startswith(("go ", "godebug "))),
        f"require k8s.io/kubernetes {release.version}",
        *(f"replace {name} => {name} {release.staging}" for name in siblings),
    ]
    return "\n".join(lines) + "\n"


def _build_tool(tool: Tool, built: Path) -> None:
    # Beside its place first, for a build that is killed.
    partial = built.parent.with_name(built.parent.name + ".partial")
    wanted = f"{tool.package}@{tool.version}"
    _go("install", "-trimpath", "-ldflags", "-s -w", wanted, cwd=cache(), GOBIN=str(partial))
    partial.rename(built.parent)


def _go(*arguments: str, cwd: Path, **environment: str) -> str:
    told = os.environ | {"CGO_ENABLED": "0"} | environment
    return commands.run("nice", "go", *arguments, seconds=_BUILD_SECONDS, env=told, cwd=cwd)


def _point(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    fresh = link.with_name(f"{link.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.replace(link)


@contextmanager
def _one_build_at_a_time() -> Iterator[None]:
    """Two builds at once would take twice as long, and end in the same place."""
    with (cache() / "build.lock").open("w") as lock:
        with step("waiting for another process that builds from Go modules"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
