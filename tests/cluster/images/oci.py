"""Reading an OCI archive: its configuration, and every file of its layers."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

_WHITEOUT = ".wh."


@dataclass(frozen=True)
class ImageFile:
    path: str
    """From the root, without a slash before it."""
    mode: int
    owner: int
    is_link: bool
    content: bytes


class Archive:
    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path) as archive:
            index = _json(archive, "index.json")
            self._manifest = _json(archive, _blob(index["manifests"][0]["digest"]))
            self.config: dict[str, Any] = _json(archive, _blob(self._manifest["config"]["digest"]))

    @property
    def process(self) -> dict[str, Any]:
        """What a container starts: Entrypoint, Cmd, Env, User."""
        settings: dict[str, Any] = self.config["config"]
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
        with tarfile.open(self.path) as archive:
            for layer in self._manifest["layers"]:
                yield _uncompressed(archive, _blob(layer["digest"]))


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
    assert member is not None, f"no {name}: this is no OCI archive"
    return json.load(member)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
