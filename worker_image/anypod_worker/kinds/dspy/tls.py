"""One TLS context for all requests to LMs, of a process and of its forks.

DSPy's engine makes one for each new LM, and each run has an LM of its own. To read the system's
certificates takes tens of milliseconds, in which the other runs of an executor wait too.
"""

import functools
import ssl

from dspy._vendor.lm15.transports import _ssl


@functools.cache
def context() -> ssl.SSLContext:
    """As the engine would make it."""
    return ssl.create_default_context()


class Shared(_ssl.TLS):  # type: ignore[misc]
    def __init__(self, *, verify: bool = True, ca_bundle: str | None = None) -> None:
        if verify and ca_bundle is None:
            self._ctx = context()
        else:
            super().__init__(verify=verify, ca_bundle=ca_bundle)


def share() -> None:
    """Have DSPy's engine use it; once more changes nothing."""
    _ssl.TLS = Shared
