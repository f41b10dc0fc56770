"""The options of pytest that say which cluster the tests run on.

Loaded by tests/conftest.py: pytest knows only the options of what it loads before it collects.
"""

from collections.abc import Generator
from pathlib import Path
from typing import cast

import pytest
from tests.cluster.interface import ImageNames, Unsupported
from tests.cluster.kind import KindOptions
from tests.cluster.providers import PROVIDERS, Provider, Wishes


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster", "the Kubernetes that tests run on")
    group.addoption("--cluster", choices=PROVIDERS, default="auto", help="who provides it")
    group.addoption("--kind-node-image", metavar="IMAGE", help="kind: the image of its nodes")
    group.addoption("--kind-config", type=Path, metavar="FILE", help="kind: its configuration")
    group.addoption("--kind-name", metavar="NAME", help="kind: a cluster that is there already")
    group.addoption("--keep", action="store_true", help="use a cluster that is up, leave it up")
    group.addoption("--context", metavar="NAME", help="existing: the context of the kubeconfig")
    group.addoption(
        "--image-repository",
        metavar="PREFIX",
        help="existing: where its nodes pull the project's images from, such as "
        "registry.example/team; localhost, with --image-pull-policy=Never: they have them already",
    )
    group.addoption("--image-tag", metavar="TAG", help="existing: of all images; else their own")
    group.addoption(
        "--image-pull-policy",
        choices=["Always", "IfNotPresent", "Never"],
        default="IfNotPresent",
        help="existing: when its nodes pull",
    )


def pytest_configure(config: pytest.Config) -> None:
    """What nobody has named is refused before anything runs."""
    if config.getoption("--cluster") == "existing" and not config.getoption("--context"):
        raise pytest.UsageError("name the context of the existing cluster: --context NAME")


def why_no_images(config: pytest.Config) -> str | None:
    """Why the cluster cannot have images that are built here, or None."""
    named = config.getoption("--image-repository")
    if config.getoption("--cluster") != "existing" or named:
        return None
    return "an existing cluster needs the images: push them, and say where (--image-repository)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A fault that the provider cannot do skips its test, with the reason."""
    try:
        yield
    except Unsupported as reason:
        pytest.skip(f"{item.name}: {reason}")


def wishes(config: pytest.Config, *, nodes: int = 2, keep: bool = False) -> Wishes:
    """What the options say, for ``providers.fulfil``."""
    return Wishes(
        provider=cast("Provider", config.getoption("--cluster")),
        nodes=nodes,
        keep=keep,
        kind=KindOptions(
            name=config.getoption("--kind-name"),
            image=config.getoption("--kind-node-image"),
            config=config.getoption("--kind-config"),
        ),
        context=config.getoption("--context"),
        images=_images(config),
    )


def _images(config: pytest.Config) -> ImageNames | None:
    repository = config.getoption("--image-repository")
    if not repository:
        return None
    policy = config.getoption("--image-pull-policy")
    return ImageNames(repository, config.getoption("--image-tag"), policy)
