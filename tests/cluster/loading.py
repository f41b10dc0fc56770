"""Which images a node still lacks, so that loading the same archives again costs nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cluster import oci

IMAGES = ("ctr", "--namespace=k8s.io", "images")


def import_image(archive: Path) -> Sequence[str]:
    """The command that loads an archive on the node that has the file."""
    return (*IMAGES, "import", str(archive))


def missing(run: Callable[..., str], archives: Sequence[Path]) -> list[Path]:
    """Those that hold an image which the node lacks, or has in another build."""
    there = set()
    for line in run(*IMAGES, "list").splitlines()[1:]:
        name, _, digest, *_ = line.split()
        there.add(oci.Image(name, digest))
    return [archive for archive in archives if not there.issuperset(oci.images_in(archive))]
