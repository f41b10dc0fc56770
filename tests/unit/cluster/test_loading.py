"""An image that a node has is not loaded again, whatever shape it was saved in."""

import json
from pathlib import Path

import pytest
from tests.cluster import archives, loading
from tests.cluster.oci import write_archive

NAME = "localhost/thing:1"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "program").write_bytes(b"\x7fELF")
    write_archive(tmp_path / "a.tar", NAME, tmp_path / "program")
    return tmp_path / "a.tar"


class Node:
    """What ctr answers on a node that has one image."""

    def __init__(self, name: str, manifests: dict[str, object]) -> None:
        self._name, self._manifests = name, manifests

    def run(self, *command: str) -> str:
        if command[-1] == "list":
            return f"REF TYPE DIGEST SIZE\n{self._name} application/x sha256:top 1.0 KiB\n"
        return json.dumps(self._manifests[command[-1]])


def image(identity: str) -> dict[str, object]:
    return {"config": {"digest": identity}}


def test_what_is_there_is_not_missing(archive: Path) -> None:
    (wanted,) = archives.images_in(archive)
    assert loading.missing(Node(NAME, {"sha256:top": image(wanted.id)}).run, [archive]) == []


def test_what_is_there_within_an_index_is_not_missing(archive: Path) -> None:
    (wanted,) = archives.images_in(archive)
    entries = [
        {"digest": "sha256:note", "annotations": {"vnd.docker.reference.type": "attestation"}},
        {"digest": "sha256:image"},
    ]
    there = {"sha256:top": {"manifests": entries}, "sha256:image": image(wanted.id)}
    assert loading.missing(Node(NAME, there).run, [archive]) == []


def test_another_build_of_that_name_is_not_it(archive: Path) -> None:
    there = {"sha256:top": image("sha256:another")}
    assert loading.missing(Node(NAME, there).run, [archive]) == [archive]
    assert loading.missing(Node("localhost/other:1", {}).run, [archive]) == [archive]


def test_an_archive_whose_images_have_no_names_is_refused(tmp_path: Path, archive: Path) -> None:
    content = archive.read_bytes().replace(b"org.opencontainers.image.ref.name", b"x" * 33)
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(ValueError, match=r"no image of .*b\.tar has a name: save it with one"):
        loading.missing(Node(NAME, {}).run, [tmp_path / "b.tar"])
