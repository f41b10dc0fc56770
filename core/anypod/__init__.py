"""AnyPod: create a program once over HTTP; any ready worker of its pool runs it.

What a user imports is here, and is loaded only when it is touched: executors import this
package too (for ``from anypod import session``) and must not pay for an HTTP client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from anypod import session as session
    from anypod.client import *  # noqa: F403
    from anypod.reporting import progress as progress
else:  # to who checks types, it would say that there is any name

    def __getattr__(name: str) -> Any:
        if name == "session":
            return import_module("anypod.session")
        if name == "progress":
            return import_module("anypod.reporting").progress
        client = import_module("anypod.client")
        if name == "__all__":
            return [*client.__all__, "__version__", "progress", "session"]
        if name in client.__all__:
            return getattr(client, name)
        raise AttributeError(f"module 'anypod' has no attribute {name!r}")
