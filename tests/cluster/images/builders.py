"""What can build an image here: buildah, podman or docker. One class each; they differ little.

buildah gets a storage of its own in the cache, so that a user's images are left alone; it needs no
service, and no network of its own. podman and docker are what a machine with kind has.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.cluster.images import cache, commands, pip_settings
from tests.cluster.images.commands import CannotBuild, CommandFailed

VARIABLE = "IMAGE_BUILDER"
"""Of the environment: which of them, if not the first that works."""
_FROM_ARCHIVE = "FROM scratch\nADD root.tar /\nCMD []\n"
_MANY_IMAGES = 600
"""Each step of a build is one: some twenty builds of changed code."""


@dataclass(frozen=True)
class Order:
    """One image to be built from a Dockerfile."""

    name: str
    dockerfile: Path
    context: Path
    arguments: Mapping[str, str] = field(default_factory=dict)
    may_pull: bool = True
    """Whether what it builds upon may come from a registry."""


class Builder:
    """podman or docker, as the user runs it."""

    command: ClassVar[str]
    pull_if_missing: ClassVar[tuple[str, ...]] = ()
    pull_never: ClassVar[tuple[str, ...]] = ()

    def why_not(self) -> str:
        """Why it cannot be used here; empty when it can."""
        if shutil.which(self.command) is None:
            return "not installed"
        try:
            self._run("info", seconds=commands.QUICK_SECONDS)
        except CommandFailed as failure:
            return str(failure).splitlines()[-1]
        return ""

    def tidy(self) -> None:
        """Before a build; nobody else builds meanwhile."""

    def build(self, order: Order, archive: Path) -> None:
        """Raises CommandFailed."""
        with tempfile.TemporaryDirectory(dir=cache.folder()) as folder:
            secrets = pip_settings.write(Path(folder)).files
            self._run(
                *(
                    "build",
                    *self._build_options(),
                    "--tag",
                    order.name,
                    "--file",
                    str(order.dockerfile),
                ),
                *(self.pull_if_missing if order.may_pull else self.pull_never),
                *(f"--build-arg={name}={value}" for name, value in order.arguments.items()),
                *(f"--secret=id={name},src={path}" for name, path in secrets.items()),
                order.context,
            )
        self._save(order.name, archive)

    def use_archive(self, name: str, root: Path) -> None:
        """Have an image of this name whose content is the archive ``root``."""
        if self._has(name):
            return
        with tempfile.TemporaryDirectory(dir=cache.folder()) as folder:
            context = Path(folder)
            os.link(root, context / "root.tar")
            (context / "Dockerfile").write_text(_FROM_ARCHIVE)
            self._run("build", *self._build_options(), "--tag", name, context)

    def _build_options(self) -> tuple[str, ...]:
        return ()

    def _has(self, name: str) -> bool:
        found = self._run(
            *("images", "--quiet", "--filter", f"reference={name}"), seconds=commands.QUICK_SECONDS
        )
        return bool(found.strip())

    def _save(self, name: str, archive: Path) -> None:
        self._run("save", "--output", archive, name)

    def _run(self, *arguments: str | Path, seconds: float = commands.BUILD_SECONDS) -> str:
        return commands.run(self.command, *arguments, seconds=seconds)


class Docker(Builder):
    command = "docker"

    def _run(self, *arguments: str | Path, seconds: float = commands.BUILD_SECONDS) -> str:
        # The mounts of the Dockerfiles are BuildKit's.
        return commands.run(self.command, *arguments, seconds=seconds, env={"DOCKER_BUILDKIT": "1"})


class Podman(Builder):
    command = "podman"
    pull_if_missing = ("--pull=false",)
    pull_never = ("--pull=never",)

    def _build_options(self) -> tuple[str, ...]:
        return ("--layers", "--network=host")

    def _save(self, name: str, archive: Path) -> None:
        self._run("save", "--format=oci-archive", "--output", archive, name)


class Buildah(Builder):
    command = "buildah"
    pull_if_missing = ("--pull=false",)
    pull_never = ("--pull-never",)

    def why_not(self) -> str:
        if os.geteuid() != 0:
            return "needs root here"
        return super().why_not()

    def _build_options(self) -> tuple[str, ...]:
        return ("--layers", "--isolation=chroot", "--network=host")

    def _save(self, name: str, archive: Path) -> None:
        fast = ("--compression-format=gzip", "--compression-level=1")
        self._run("push", "--quiet", *fast, name, f"oci-archive:{archive}:{name}")

    def _run(self, *arguments: str | Path, seconds: float = commands.BUILD_SECONDS) -> str:
        home = cache.folder()
        temporary = home / "tmp"
        temporary.mkdir(exist_ok=True)
        ours = hashlib.sha256(os.fsencode(home)).hexdigest()[:8]
        return commands.run(
            *(self.command, "--root", home / "storage"),
            # Not on a disk: what it says of mounts is void after a reboot.
            *("--runroot", f"/run/anypod-images-{ours}"),
            *arguments,
            seconds=seconds,
            env={"TMPDIR": str(temporary)},
        )

    def tidy(self) -> None:
        """End what a killed build has left; and begin anew when old builds fill the disk."""
        self._run("rm", "--all", seconds=commands.QUICK_SECONDS)
        images = self._run("images", "--all", "--quiet", seconds=commands.QUICK_SECONDS)
        if len(images.splitlines()) > _MANY_IMAGES:
            # Gigabytes, of which each layer is unlinked by itself: minutes on a busy machine.
            self._run("rmi", "--all", "--force")


def choose() -> Builder:
    """The first that works here. Raises CannotBuild."""
    wanted = os.environ.get(VARIABLE)
    builders = [each for each in (Buildah(), Podman(), Docker()) if wanted in (None, each.command)]
    reasons = []
    for builder in builders:
        reason = builder.why_not()
        if not reason:
            return builder
        reasons.append(f"{builder.command}: {reason}")
    raise CannotBuild("; ".join(reasons) or f"{VARIABLE}={wanted} is no builder of images")
