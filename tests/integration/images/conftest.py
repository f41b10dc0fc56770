"""The images as the project's Dockerfiles make them, where this machine can build them."""

import pytest
from tests.cluster import images
from tests.cluster.archives import Archive
from tests.cluster.images import containers

Images = dict[str, Archive]


@pytest.fixture(scope="session")
def built() -> Images:
    try:
        found = images.archives()
    except images.CannotBuild as reason:
        pytest.skip(f"no image can be built here: {reason}")
    names = (images.ANYPOD, images.WORKER, images.ETCD)
    return dict(zip(names, map(Archive, found), strict=True))


@pytest.fixture(scope="session")
def runnable(built: Images) -> Images:
    """Images whose containers can be run, too."""
    why_not = containers.why_not()
    if why_not:
        pytest.skip(f"no container can be run here: {why_not}")
    return built
