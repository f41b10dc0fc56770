"""Whether Kubernetes is built already: a test of its API does not wait for that."""

from tests.cluster import versions
from tests.cluster.binaries import is_built
from tests.cluster.control_plane import why_no_api_server


def why_no_api_yet() -> str | None:
    """Why an API server cannot be started at once, or None."""
    reason = why_no_api_server()
    if reason is not None:
        return reason
    release = versions.kubernetes()
    if is_built(release):
        return None
    return (
        f"Kubernetes {release.version} is not built here yet: make cluster does it, in ten minutes"
    )
