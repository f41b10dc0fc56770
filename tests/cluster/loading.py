"""Which images a node still lacks, so that loading the same archives again costs nothing."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.cluster import archives
from tests.cluster.archives import Image

_CTR = ("ctr", "--namespace=k8s.io")
IMAGES = (*_CTR, "images")


def import_image(archive: Path) -> Sequence[str]:
    """The command that loads an archive on the node that has the file."""
    return (*IMAGES, "import", str(archive))


def missing(run: Callable[..., str], files: Sequence[Path]) -> list[Path]:
    """Those archives that hold an image which the node lacks, or has in another build."""
    wanted = {file: archives.images_in(file) for file in files}
    nameless = [str(file) for file in files if not wanted[file]]
    if nameless:
        raise ValueError(f"no image of {', '.join(nameless)} has a name: save it with one")
    names = {image.name for images in wanted.values() for image in images}
    there = set(_there(run, names))
    return [file for file in files if not there.issuperset(wanted[file])]


def _there(run: Callable[..., str], names: set[str]) -> Iterator[Image]:
    for line in run(*IMAGES, "list").splitlines()[1:]:
        name, _, digest, *_ = line.split()
        if name in names:
            yield from (Image(name, identity) for identity in _identities(run, digest))


def _identities(run: Callable[..., str], digest: str) -> Iterator[str]:
    """Of an image's manifest, or of an index of several."""
    document = json.loads(run(*_CTR, "content", "get", digest))
    if "config" in document:
        yield document["config"]["digest"]
    for entry in filter(archives.is_image, document.get("manifests", ())):
        yield from _identities(run, entry["digest"])
