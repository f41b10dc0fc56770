"""How a client behaves; both clients read the same settings."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import anypod
from anypod.api.executions import LONGEST_TIMEOUT
from anypod.client.calls import EVENT_STREAM, Call

DEFAULT_URL = "http://127.0.0.1:8700"
CALL_SECONDS = 90.0
"""For a call and its retries, where the caller says nothing."""
CONNECT_SECONDS = 10.0
GRACE_SECONDS = 10.0
"""How much longer than the execution may take its answer is waited for."""
IDLE_SECONDS = 60.0
"""Of silence on a stream, which else has a heartbeat every 15 seconds."""
MAX_CONNECTIONS = 100
API_KEY = "ANYPOD_API_KEY"
"""The environment variable that holds the key where none is given."""

_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")


class BadKey(ValueError):
    """What is shown cannot be a key; the message does not say it."""


@dataclass(frozen=True, slots=True)
class Settings:
    url: str = DEFAULT_URL
    timeout: float | None = None
    """Of a call; None for ``CALL_SECONDS``, and for as long as it takes if the call is a run."""
    retries: int = 2
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    """None for what the environment holds; empty for none at all."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{self.url!r} is not an address as http://127.0.0.1:8700")
        if parts.query or parts.fragment or parts.username:
            raise ValueError(f"{self.url!r}: only scheme, host, port and path are used")
        if (self.timeout is not None and self.timeout <= 0) or self.retries < 0:
            raise ValueError("timeout must be above 0 and retries not below")
        key = os.environ.get(API_KEY, "").strip() if self.api_key is None else self.api_key
        if key and not _KEY.fullmatch(key):
            raise BadKey("an API key has letters, digits, and '-._~+/' only, and '=' at its end")
        object.__setattr__(self, "api_key", key)

    @property
    def path(self) -> str:
        """Under which the API's paths are."""
        return urlsplit(self.url).path.rstrip("/")

    def target(self, call: Call[object]) -> str:
        """Path and query, encoded."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in call.query)
        return f"{self.path}{call.path}" + (f"?{query}" if query else "")

    def headers_for(self, call: Call[object], *, stream: bool = False) -> dict[str, str]:
        headers = {
            "User-Agent": f"anypod/{anypod.__version__}",
            "Accept": EVENT_STREAM if stream else "application/json",
            **({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}),
            **(self.headers or {}),
            **call.headers,
        }
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def seconds_for(self, call: Call[object]) -> float:
        """For the call, its retries and its answer."""
        if call.execution_seconds is not None:
            return call.execution_seconds + GRACE_SECONDS
        if self.timeout is not None:
            return self.timeout
        # The program or the pool has a timeout, which the gateway knows; a gateway whose machine
        # has died is noticed by its connection.
        return LONGEST_TIMEOUT + GRACE_SECONDS if call.is_run else CALL_SECONDS

    def stream_seconds(self, call: Call[object]) -> float | None:
        """For all of a stream; None when only silence ends it."""
        asked = call.execution_seconds
        return None if asked is None else asked + GRACE_SECONDS
