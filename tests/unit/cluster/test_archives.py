"""Whoever saved an image, it is read the same: its name, its identity, its files."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.archives import Archive, Image, images_in

NAME = "localhost/thing:dev"
CONFIG = json.dumps({"config": {"User": "65532:65532", "Labels": {"a": "b"}}}).encode()
IDENTITY = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
Files = dict[str, bytes]


def tar(files: Files) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


LAYERS = [tar({"first": b"one", "second": b"two"}), tar({".wh.first": b""})]


class Layout:
    """An OCI layout in the making."""

    def __init__(self) -> None:
        self.files: Files = {"oci-layout": b"{}"}

    def blob(self, content: bytes | Any, **more: Any) -> dict[str, Any]:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data), **more}

    def image(self, config: bytes = CONFIG, **more: Any) -> dict[str, Any]:
        layers = [self.blob(gzip.compress(layer)) for layer in LAYERS]
        return self.blob({"config": self.blob(config), "layers": layers}, **more)

    def saved(self, *entries: dict[str, Any]) -> Files:
        return {**self.files, "index.json": json.dumps({"manifests": entries}).encode()}


def of_buildah() -> Files:
    layout = Layout()
    return layout.saved(layout.image(annotations={"org.opencontainers.image.ref.name": NAME}))


def of_docker_before_25() -> Files:
    folders = {f"{number}abc/layer.tar": layer for number, layer in enumerate(LAYERS)}
    config = f"{IDENTITY.removeprefix('sha256:')}.json"
    entry = {"Config": config, "RepoTags": [NAME], "Layers": list(folders)}
    listed = {"manifest.json": json.dumps([entry]).encode(), "repositories": b"{}"}
    return {config: CONFIG, **folders, **listed}


def of_docker() -> Files:
    """Since 25: the name is containerd's, the other only the tag."""
    layout = Layout()
    names = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "dev"}
    return {**layout.saved(layout.image(annotations=names)), "manifest.json": b"[]"}


def of_docker_with_an_attestation() -> Files:
    """With containerd's store of images: an index, and in it a note of how it was built."""
    layout = Layout()
    names = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": "dev"}
    note = layout.image(
        b'{"config": {}}',
        platform={"architecture": "unknown", "os": "unknown"},
        annotations={"vnd.docker.reference.type": "attestation-manifest"},
    )
    index = {"manifests": [note, layout.image()]}
    return layout.saved(layout.blob(index, annotations=names))


SHAPES = [of_buildah, of_docker_before_25, of_docker, of_docker_with_an_attestation]


@pytest.fixture(params=SHAPES, ids=lambda shape: shape.__name__)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(tmp_path, request.param)


def written(folder: Path, shape: Callable[[], Files]) -> Path:
    path = folder / "archive.tar"
    path.write_bytes(tar(shape()))
    return path


def test_its_name_and_identity_are_found(saved: Path) -> None:
    assert images_in(saved) == [Image(NAME, IDENTITY)]


def test_what_a_container_starts_is_found(saved: Path) -> None:
    assert Archive(saved).process["User"] == "65532:65532"
    assert Archive(saved).labels == {"a": "b"}


def test_every_file_of_every_layer_is_found(saved: Path) -> None:
    found = [(file.path, file.content) for file in Archive(saved).files()]
    assert found == [("first", b"one"), ("second", b"two"), (".wh.first", b"")]
    assert Archive(saved).bytes_unpacked == sum(map(len, LAYERS))


def test_it_can_be_unpacked_as_a_container_sees_it(saved: Path, tmp_path: Path) -> None:
    Archive(saved).unpack(tmp_path / "root")
    assert [file.name for file in (tmp_path / "root").iterdir()] == ["second"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("thing:1", "docker.io/library/thing:1"),
        ("team/thing:1", "docker.io/team/thing:1"),
        ("registry.example/thing:1", "registry.example/thing:1"),
        ("registry:5000/thing:1", "registry:5000/thing:1"),
    ],
)
def test_the_registry_that_docker_leaves_out_is_named(
    tmp_path: Path, given: str, name: str
) -> None:
    def shape() -> Files:
        layout = Layout()
        return layout.saved(layout.image(annotations={"io.containerd.image.name": given}))

    assert [image.name for image in images_in(written(tmp_path, shape))] == [name]


@pytest.mark.parametrize("annotations", [{}, {"org.opencontainers.image.ref.name": "dev"}])
def test_an_image_without_a_name_is_none_that_could_be_looked_for(
    tmp_path: Path, annotations: dict[str, str]
) -> None:
    def shape() -> Files:
        layout = Layout()
        return layout.saved(layout.image(annotations=annotations))

    assert images_in(written(tmp_path, shape)) == []


def test_an_image_for_other_machines_alone_is_refused(tmp_path: Path) -> None:
    def shape() -> Files:
        layout = Layout()
        return layout.saved(layout.image(platform={"architecture": "pdp11"}))

    with pytest.raises(ValueError, match="is no archive of images: for"):
        images_in(written(tmp_path, shape))


@pytest.mark.parametrize("content", [b"no tar", tar({"file": b""})])
def test_what_is_no_archive_of_images_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no archive of images"):
        images_in(path)
