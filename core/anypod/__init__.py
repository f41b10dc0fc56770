"""AnyPod: create a program once over HTTP; any ready worker of its pool runs it.

What a user imports is here, and is loaded only when it is touched: executors import this
package too (for ``from anypod import session``) and must not pay for an HTTP client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anypod import session as session
    from anypod.client import AnyPodError as AnyPodError
    from anypod.client import AsyncClient as AsyncClient
    from anypod.client import Client as Client
    from anypod.reporting import progress as progress

__version__ = "0.1.0"

_EXPORTS = {
    "AnyPodError": "anypod.client",
    "AsyncClient": "anypod.client",
    "Client": "anypod.client",
    "progress": "anypod.reporting",
}

__all__ = ["AnyPodError", "AsyncClient", "Client", "__version__", "progress", "session"]


def __getattr__(name: str) -> Any:
    if name == "session":
        return import_module("anypod.session")
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'anypod' has no attribute {name!r}")
