"""Whether Kubernetes is built already: a test of its API does not wait for that."""

from tests.cluster import versions
from tests.cluster.binaries import Binaries, cache
from tests.cluster.control_plane import why_no_api_server


def why_no_api_yet() -> str | None:
    """Why an API server cannot be started at once, or None."""
    reason = why_no_api_server()
    if reason is not None:
        return reason
    version = versions.kubernetes().version
    if Binaries(cache() / version).path("kube-apiserver").exists():
        return None
    return f"Kubernetes {version} is not built here yet: make cluster does it, in ten minutes"
