"""An archive says what it holds, and two of the same program are the same image."""

import hashlib
import tarfile
from pathlib import Path

import pytest
from tests.cluster.archives import images_in
from tests.cluster.oci import write_archive


@pytest.fixture
def program(tmp_path: Path) -> Path:
    written = tmp_path / "program"
    written.write_bytes(b"\x7fELF and so on")
    return written


def test_an_archive_names_its_image(tmp_path: Path, program: Path) -> None:
    write_archive(tmp_path / "a.tar", "localhost/thing:1", program)
    (image,) = images_in(tmp_path / "a.tar")
    assert image.name == "localhost/thing:1"
    assert image.id.startswith("sha256:")


def test_the_same_program_makes_the_same_image(tmp_path: Path, program: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_archive(tmp_path / name, "localhost/thing:1", program)
    assert images_in(tmp_path / "a.tar") == images_in(tmp_path / "b.tar")


def test_another_program_makes_another_image(tmp_path: Path, program: Path) -> None:
    write_archive(tmp_path / "a.tar", "localhost/thing:1", program)
    program.write_bytes(b"another")
    write_archive(tmp_path / "b.tar", "localhost/thing:1", program)
    assert images_in(tmp_path / "a.tar") != images_in(tmp_path / "b.tar")


def test_every_blob_is_what_its_name_says(tmp_path: Path, program: Path) -> None:
    write_archive(tmp_path / "a.tar", "localhost/thing:1", program)
    with tarfile.open(tmp_path / "a.tar") as archive:
        blobs = [name for name in archive.getnames() if name.startswith("blobs/sha256/")]
        for name in blobs:
            content = archive.extractfile(name)
            assert content is not None
            assert hashlib.sha256(content.read()).hexdigest() == Path(name).name
    assert len(blobs) == 3
