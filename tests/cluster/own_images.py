"""The image that a bare cluster itself needs, and one for the tests of clusters.

Each is one static program, written as an archive without a builder (oci.py). A program's image is
named after its source, so that a change of the one is never taken for the other.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import commands, oci
from tests.cluster.binaries import cache

_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Program:
    """A Go program of ours, ``programs/NAME/main.go``."""

    name: str

    @property
    def source(self) -> Path:
        return _PROGRAMS / self.name / "main.go"

    @property
    def version(self) -> str:
        return hashlib.sha256(self.source.read_bytes()).hexdigest()[:12]

    @property
    def image(self) -> str:
        return f"localhost/{self.name}:{self.version}"

    def why_not(self) -> str | None:
        """Why its image is not to be had here, or None."""
        if self._place.exists() or shutil.which("go"):
            return None
        return f"the image {self.name} is not in {cache()}, and there is no Go to build it"

    def archive(self) -> Path:
        """Built at the first call."""
        archive = self._place
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            program = archive.with_name(f"{self.name}.{os.getpid()}")
            _compile(self.source, program)
            oci.write_archive(archive, self.image, program)
            program.unlink()
        return archive

    @property
    def _place(self) -> Path:
        return cache() / f"{self.name}-{self.version}" / f"{self.name}.tar"


PAUSE = Program("pause")
"""What holds a pod's namespaces."""
PROBE = Program("probe")
"""What the tests of clusters run in pods."""


def _compile(source: Path, program: Path) -> None:
    build = ("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, source)
    told = os.environ | {"CGO_ENABLED": "0"}
    commands.run(*build, seconds=600, env=told, cwd=program.parent)
