"""A store is filled once, and a node that starts with a link to it has its images."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster import bare, image_store, loading
from tests.cluster.archives import images_in
from tests.cluster.images import cache
from tests.cluster.oci import write_archive
from tests.cluster.own_images import PAUSE, PROBE
from tests.cluster.versions import kubernetes

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes


@pytest.fixture(autouse=True)
def _bare_is_possible() -> None:
    reason = bare.why_no_bare(kubernetes()) or PROBE.why_not()
    if reason is not None:
        pytest.skip(f"bare: {reason}")


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Of a cache of their own."""
    made = [PAUSE.archive(), PROBE.archive()]
    monkeypatch.setenv("CLUSTER_CACHE", str(tmp_path / "cache"))
    yield made
    cache.let_go()


def lacks(root: Path, archives: list[Path]) -> list[Path]:
    with image_store.containerd(root) as ctr:
        return loading.missing(ctr, archives)


def test_what_was_filled_is_there_and_is_filled_once(tmp_path: Path, archives: list[Path]) -> None:
    store = image_store.filled(archives)
    assert image_store.filled(archives[::-1]) == store
    image_store.link(store, tmp_path / "node")
    assert lacks(tmp_path / "node", archives) == []


def test_what_a_node_does_to_its_images_is_its_own(tmp_path: Path, archives: list[Path]) -> None:
    store = image_store.filled(archives)
    for name in ("one", "other"):
        image_store.link(store, tmp_path / name)
    with image_store.containerd(tmp_path / "one") as ctr:
        names = [image.name for archive in archives for image in images_in(archive)]
        ctr(*loading.IMAGES, "remove", "--sync", *names)
    assert lacks(tmp_path / "one", archives) == archives
    assert lacks(tmp_path / "other", archives) == []


def test_the_next_store_has_what_is_wanted_and_nothing_of_the_last(
    tmp_path: Path, archives: list[Path]
) -> None:
    pause, probe = archives
    both, one = image_store.filled(archives), image_store.filled([pause])
    image_store.link(one, tmp_path / "node")
    assert lacks(tmp_path / "node", [pause]) == []
    assert lacks(tmp_path / "node", [probe]) == [probe]
    assert len(list(one.rglob("blobs/sha256/*"))) < len(list(both.rglob("blobs/sha256/*")))


def test_a_new_build_of_an_image_takes_the_place_of_the_last(
    tmp_path: Path, archives: list[Path]
) -> None:
    """As every change of the code brings one."""
    _, probe = archives
    program = tmp_path / "program"
    for content in (b"one", b"another"):
        program.write_bytes(content)
        built = tmp_path / content.decode()
        write_archive(built, "localhost/built:dev", program)
        store = image_store.filled([built, probe])
    image_store.link(store, tmp_path / "node")
    assert lacks(tmp_path / "node", [built, probe]) == []
    assert lacks(tmp_path / "node", [tmp_path / "one"]) == [tmp_path / "one"]
