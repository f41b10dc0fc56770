"""Reading an archive of images, whoever wrote it: its images, and every file of their layers.

Three shapes are about. buildah and podman write an OCI layout of one manifest. Docker before 25
writes a layout of its own (manifest.json alone). Docker since then writes an OCI layout that may
have an index within the index, beside the image an attestation of how it was built, and the name
in an annotation of containerd's.
"""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

Document = dict[str, Any]

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What images call this machine's architecture."""
REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"
_ATTESTATION = "vnd.docker.reference.type"
_WHITEOUT = ".wh."


@dataclass(frozen=True)
class Image:
    """An image as a container runtime knows it."""

    name: str
    id: str
    """The digest of its configuration: the same in whatever shape it is saved, unlike others."""


@dataclass(frozen=True)
class ImageFile:
    path: str
    """From the root, without a slash before it."""
    mode: int
    owner: int
    is_link: bool
    content: bytes


@dataclass(frozen=True)
class _Content:
    """Where in the archive one image is."""

    names: tuple[str, ...]
    config: str
    id: str
    layers: tuple[str, ...]


class Archive:
    """Its first image; ``images_in`` has the names of all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _opened(path) as archive:
            self._content = _contents(archive)[0]
            self.config: Document = _json(archive, self._content.config)

    @property
    def process(self) -> Document:
        """What a container starts: Entrypoint, Cmd, Env, User."""
        settings: Document = self.config["config"]
        return settings

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.process.get("Labels") or {})

    @property
    def bytes_unpacked(self) -> int:
        """Of all layers: what a node has to have room for, and what ``docker images`` says."""
        size = 0
        for layer in self._layers():
            layer.seek(0, io.SEEK_END)
            size += layer.tell()
        return size

    def files(self) -> Iterator[ImageFile]:
        """Every entry of every layer but folders; what a later layer hides, too."""
        for layer in self._layers():
            with tarfile.open(fileobj=layer) as entries:
                for entry in entries:
                    if not entry.isdir():
                        yield _image_file(entries, entry)

    def unpack(self, root: Path) -> None:
        """The file system that a container of it sees; as root, with owners and modes."""
        root.mkdir()
        for layer in self._layers():
            with tarfile.open(fileobj=layer) as entries:
                members = [each for each in entries if not _hides(root, each.name)]
                entries.extractall(root, members, numeric_owner=True, filter="fully_trusted")

    def _layers(self) -> Iterator[IO[bytes]]:
        with _opened(self.path) as archive:
            for layer in self._content.layers:
                yield _uncompressed(archive, layer)


def images_in(path: Path) -> list[Image]:
    """The named images of an archive; one that has two names is there twice."""
    with _opened(path) as archive:
        found = _contents(archive)
    return [Image(name, content.id) for content in found for name in content.names]


def is_image(entry: Document) -> bool:
    """Whether an index's entry is an image for this machine, and not a note about one."""
    platform = entry.get("platform", {}).get("architecture")
    machine = MACHINES.get(os.uname().machine, os.uname().machine)
    return _ATTESTATION not in entry.get("annotations", {}) and platform in (None, machine)


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path)
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no archive of images: {error}") from error


def _contents(archive: tarfile.TarFile) -> list[_Content]:
    names = archive.getnames()
    if "index.json" in names:
        found = list(_of_layout(archive, _json(archive, "index.json"), ()))
    elif "manifest.json" in names:
        found = [_of_docker(entry) for entry in _json(archive, "manifest.json")]
    else:
        raise _refused(archive, "it has neither index.json nor manifest.json")
    if not found:
        raise _refused(archive, f"for {os.uname().machine} at least")
    return found


def _of_layout(
    archive: tarfile.TarFile, index: Document, names: tuple[str, ...]
) -> Iterator[_Content]:
    for entry in filter(is_image, index["manifests"]):
        mine = _names(entry) or names
        document = _json(archive, _blob(entry["digest"]))
        if "manifests" in document:
            yield from _of_layout(archive, document, mine)
        else:
            config = document["config"]["digest"]
            layers = tuple(_blob(layer["digest"]) for layer in document["layers"])
            yield _Content(mine, _blob(config), config, layers)


def _names(entry: Document) -> tuple[str, ...]:
    annotations = entry.get("annotations", {})
    name = annotations.get(_CONTAINERD_NAME) or annotations.get(REF_NAME, "")
    # A tag alone is no name: it says of which image's only to who saved it.
    return (whole(name),) if ":" in name or "/" in name else ()


def _of_docker(entry: Document) -> _Content:
    # <digest>.json, or since version 24 blobs/sha256/<digest>
    digest = Path(entry["Config"]).name.removesuffix(".json")
    names = tuple(whole(name) for name in entry["RepoTags"] or ())
    return _Content(names, entry["Config"], f"sha256:{digest}", tuple(entry["Layers"]))


def whole(name: str) -> str:
    """With the registry that Docker leaves out, as a container runtime names it."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _hides(root: Path, name: str) -> bool:
    """Whether the entry says that an earlier layer's is gone; which it then is."""
    path = root / name
    if not path.name.startswith(_WHITEOUT):
        return False
    hidden = path.with_name(path.name.removeprefix(_WHITEOUT))
    hidden.unlink(missing_ok=True)
    return True


def _image_file(entries: tarfile.TarFile, entry: tarfile.TarInfo) -> ImageFile:
    content = entries.extractfile(entry) if entry.isreg() else None
    return ImageFile(
        path=entry.name.removeprefix("./"),
        mode=entry.mode,
        owner=entry.uid,
        is_link=entry.issym() or entry.islnk(),
        content=content.read() if content is not None else b"",
    )


def _uncompressed(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    blob = archive.extractfile(name)
    assert blob is not None, name
    is_gzip = blob.read(2) == b"\x1f\x8b"
    blob.seek(0)
    if not is_gzip:
        return blob
    return cast("IO[bytes]", gzip.GzipFile(fileobj=blob))


def _json(archive: tarfile.TarFile, name: str) -> Any:
    member = archive.extractfile(name)
    if member is None:
        raise _refused(archive, f"{name} is no file")
    return json.load(member)


def _refused(archive: tarfile.TarFile, why: str) -> ValueError:
    return ValueError(f"{archive.name!s} is no archive of images: {why}")


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
