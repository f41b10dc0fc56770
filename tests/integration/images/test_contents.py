"""What is in the images, and what must not be."""

import base64
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import pytest
from tests.cluster import images
from tests.cluster.archives import Archive, ImageFile
from tests.cluster.images import pip_settings
from tests.support.figures import Figure

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = [images.ANYPOD, images.WORKER]
ALL = [*OURS, images.ETCD]
MAX_WORKER_BYTES = 200_000_000
UNCHECKED_HASH = (1).to_bytes(4, "little")
"""The flags of bytecode that is never compared with its source."""

Images = dict[str, Archive]

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("name", ALL)
def test_an_image_says_what_it_is(built: Images, name: str) -> None:
    told = {
        label.removeprefix("org.opencontainers.image."): value
        for label, value in built[name].labels.items()
    }
    assert told["title"] == name.removeprefix("localhost/").removesuffix(":dev")
    assert told["description"]
    assert told["base.name"]
    if name in OURS:
        assert told["version"] == PROJECT["project"]["version"]
        assert told["revision"] == "unknown"


@pytest.mark.parametrize("name", ALL)
def test_an_image_runs_as_a_number_that_is_not_root(built: Images, name: str) -> None:
    """A kubelet that is told runAsNonRoot believes only numbers."""
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", built[name].process["User"])


@pytest.mark.parametrize("name", OURS)
def test_what_is_installed_is_roots(built: Images, name: str) -> None:
    installed = [file for file in built[name].files() if file.path.startswith("opt/anypod/")]
    assert installed
    assert not [file.path for file in installed if file.owner != 0 or _others_may_write(file)]


def _others_may_write(file: ImageFile) -> bool:
    return not file.is_link and bool(file.mode & 0o022)


@pytest.mark.parametrize("name", OURS)
def test_every_module_has_bytecode_that_is_used_as_it_is(built: Images, name: str) -> None:
    files = {file.path: file.content for file in built[name].files()}
    compiled = {}
    for path, content in files.items():
        folder, found, stem = path.rpartition("/__pycache__/")
        if found:
            compiled[f"{folder}/{stem.partition('.')[0]}.py"] = content
    modules = {path for path in files if path.endswith(".py")}
    installed = {path for path in modules if path.startswith("opt/anypod/")}
    assert not installed - compiled.keys()
    assert {compiled[path][4:8] for path in installed} == {UNCHECKED_HASH}
    standard = {path for path in modules if re.search(r"/python3\.\d+/(asyncio|json)/", path)}
    assert len(standard) > 20
    assert not standard - compiled.keys()


@pytest.mark.parametrize("name", OURS)
def test_the_image_has_every_package_of_the_wheel(built: Images, name: str) -> None:
    paths = {file.path for file in built[name].files()}
    for source in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        if (ROOT / source).exists():
            package = Path(source).name
            assert any(path.endswith(f"/site-packages/{package}/__init__.py") for path in paths)


def test_the_worker_has_no_client_of_the_store_or_of_kubernetes(built: Images) -> None:
    folders = {file.path.split("/")[5] for file in _site_packages(built[images.WORKER])}
    assert "aiohttp" in folders
    assert not folders & {"etcd3aio", "grpc", "kubernetes", "kopf", "aiosqlite", "typer"}


def _site_packages(image: Archive) -> Iterator[ImageFile]:
    for file in image.files():
        if re.match(r"opt/anypod/lib/python[\d.]+/site-packages/", file.path):
            yield file


def test_the_worker_is_small(built: Images, figure: Figure) -> None:
    sizes = {name: built[name].bytes_unpacked for name in ALL}
    for name, size in sizes.items():
        figure(f"{name}: {size / 1e6:.0f} MB")
    assert sizes[images.WORKER] < MAX_WORKER_BYTES


# what a build was told


@pytest.mark.parametrize("name", ALL)
def test_nothing_of_the_machine_that_built_it_is_in_an_image(built: Images, name: str) -> None:
    """Neither its authority, nor where its index is, nor its names."""
    needles = {**_private_certificates(), **_addresses(), "mark": pip_settings.MARK.encode()}
    image = built[name]
    places = [("configuration", json.dumps(image.config).encode())]
    places += [(file.path, file.content) for file in image.files()]
    assert not [
        (path, what) for path, content in places for what in needles if needles[what] in content
    ]
    assert not [path for path, content in places if path in EMPTY and content]


EMPTY = ("etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id", "etc/pip.conf")


def _private_certificates() -> dict[str, bytes]:
    """The end of each that this machine trusts and the world does not: as PEM, and as DER."""
    file = pip_settings.authority()
    known = [Path(certifi.where()), *Path("/usr/share/ca-certificates").rglob("*.crt")]
    public = {body for each in known for body in _certificates(each.read_text())}
    found = {}
    for body in [] if file is None else _certificates(file.read_text()):
        if body not in public:
            lines = body.splitlines()
            found[f"PEM {lines[-2]}"] = lines[-2].encode()
            found[f"DER {lines[-2]}"] = base64.b64decode(body)[-64:]
    return found


def _certificates(pem: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----\n(.*?)\n-----END", pem, re.DOTALL)


def _addresses() -> dict[str, bytes]:
    """Of the index and the proxy, where they are not everybody's."""
    settings = pip_settings.settings()
    values = " ".join(settings.get(name, "") for name in ("index-url", "extra-index-url", "proxy"))
    hosts = {urlsplit(value).hostname for value in values.split()}
    hosts |= set(settings.get("trusted-host", "").split())
    return {f"address {host}": host.encode() for host in hosts if host and host != "pypi.org"}
