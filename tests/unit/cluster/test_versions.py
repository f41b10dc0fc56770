"""One variable says which Kubernetes, and a wrong one is refused before anything is built."""

import pytest
from tests.cluster.versions import PATCHES, kubernetes


def test_a_minor_version_stands_for_the_release_that_the_suite_is_run_against(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBERNETES", "v1.34")
    assert kubernetes().version == PATCHES["v1.34"]


def test_a_release_is_taken_as_it_is() -> None:
    assert kubernetes("v1.36.1").version == "v1.36.1"


def test_its_siblings_have_the_version_that_belongs_to_it() -> None:
    assert (kubernetes("v1.36.1").staging, kubernetes("v1.36.1").minor) == ("v0.36.1", "36")


@pytest.mark.parametrize("name", ["latest", "1.37.2", "v1.37.x", "v2.0.0", "v1.37.2; true"])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no version: name a release, such as v1\.37\.2"):
        kubernetes(name)
