"""A real Kubernetes for the tests: one interface, and three providers of it.

``up`` is for tests, which get a cluster of their own; ``python -m tests.cluster`` is for people.
"""

from tests.cluster.interface import Cluster, Faults, ImageNames, Pod, Unsupported
from tests.cluster.kubectl import KubectlError
from tests.cluster.providers import Wishes, up, why_none

__all__ = [
    "Cluster",
    "Faults",
    "ImageNames",
    "KubectlError",
    "Pod",
    "Unsupported",
    "Wishes",
    "up",
    "why_none",
]
