"""Which versions a cluster is made of: the one place that names them.

Kubernetes is the variable (``make cluster KUBERNETES=v1.34``); a minor version stands for the
patch release that the suite is run against.
"""

import os
import re
from dataclasses import dataclass

DEFAULT = "v1.37"
PATCHES = {"v1.34": "v1.34.4", "v1.37": "v1.37.2"}

HELM = "v4.3.1"
COREDNS = "v1.15.0"
KUBE_ROUTER = "v2.1.0"


@dataclass(frozen=True)
class Kubernetes:
    """A release, such as v1.37.2."""

    version: str

    @property
    def minor(self) -> str:
        return self.version.split(".")[1]

    @property
    def staging(self) -> str:
        """The version of k8s.io/api and its siblings that belongs to this release."""
        return "v0." + self.version.removeprefix("v1.")


def kubernetes(asked: str | None = None) -> Kubernetes:
    """The release that ``asked``, the variable KUBERNETES, or the default names."""
    name = asked or os.environ.get("KUBERNETES") or DEFAULT
    version = PATCHES.get(name, name)
    if not re.fullmatch(r"v1\.\d+\.\d+", version):
        known = ", ".join(PATCHES)
        raise ValueError(
            f"KUBERNETES={name} is no version: name a release, such as v1.37.2, or one of {known}"
        )
    return Kubernetes(version)


def asked() -> Kubernetes | None:
    """The release that the variable KUBERNETES names; None: any will do."""
    return kubernetes() if os.environ.get("KUBERNETES") else None
