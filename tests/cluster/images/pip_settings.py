"""What pip on this machine needs to reach its index, for a build: as secrets that no layer keeps.

The settings of the environment and of pip's files become one ``pip.conf``, and the private
authority of a proxy or an index goes beside it. Both begin with a line by which a test can find
them in an image.
"""

import ast
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images import commands

MARK = "# of the machine that builds; must be in no image"
CA_IN_BUILD = "/run/secrets/ca.crt"
_CARRIED = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout")
_CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_READERS = ("global", "install", ":env:")
"""What pip install obeys, the last most."""


@dataclass(frozen=True)
class Secrets:
    """Files by the names under which a Dockerfile mounts them."""

    files: dict[str, Path]


def settings() -> dict[str, str]:
    """What this machine's pip is told, as far as it is of use in a build."""
    listed = (sys.executable, "-m", "pip", "config", "list")
    return parse(commands.run(*listed, seconds=commands.QUICK_SECONDS))


def parse(listed: str) -> dict[str, str]:
    """Of what ``pip config list`` prints. Folders of this machine are not in the build."""
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in listed.splitlines()]
    for reader in _READERS:
        for name, _, value in lines:
            who, _, option = name.rpartition(".")
            if who == reader and option in _CARRIED:
                found[option] = ast.literal_eval(value)
    links = [link for link in found.pop("find-links", "").split() if "://" in link]
    return found | ({"find-links": " ".join(links)} if links else {})


def authority() -> Path | None:
    """The file of authorities that this machine's tools are told to trust."""
    for variable in _CA_VARIABLES:
        if os.environ.get(variable):
            return Path(os.environ[variable])
    return None


def write(folder: Path) -> Secrets:
    """The secrets, as files that only this user may read."""
    ca = authority()
    told = settings() | ({"cert": CA_IN_BUILD} if ca is not None else {})
    options = [
        f"{name} = {value.replace(chr(10), chr(10) + '    ')}" for name, value in told.items()
    ]
    files = {"pip.conf": _secret(folder / "pip.conf", "\n".join([MARK, "[global]", *options, ""]))}
    if ca is not None:
        files["ca.crt"] = _secret(folder / "ca.crt", f"{MARK}\n{ca.read_text()}")
    return Secrets(files)


def _secret(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content)
    return path
