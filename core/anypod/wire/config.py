"""What a worker is told at its start, by local mode or by the operator's pod template.

Travels as JSON (environment variable ``ANYPOD_WORKER_CONFIG``, a file, or a local fork server's
request); the link's secret never travels in it.

An operator may be newer than a pool's image, and a worker takes no field that it does not know: one
that came later is UNSET unless the pool says something of it. Workers of an older image then start
in all pools that they can serve, and no pod is replaced for a field that says nothing.
"""

from typing import Literal

import msgspec

from anypod.wire.codec import MAX_BODY_BYTES

MIB = 1024 * 1024


class Limits(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    memory_bytes: int = 1024 * MIB
    """RLIMIT_DATA of an executor; a program that wants more gets MemoryError."""
    output_bytes: int = MAX_BODY_BYTES
    log_bytes: int = 64 * 1024
    """Kept of what one execution prints."""
    open_files: int = 1024
    processes: int = 64
    """Descendants that one executor may have at once."""
    interrupt_grace_seconds: float = 1.0
    """Between the interrupt at a deadline or cancel and the kill."""


class Recycle(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    max_executions: int = 10_000
    max_age_seconds: float = 24 * 3600.0
    memory_growth_bytes: int = 256 * MIB
    """Of private memory since the executor was forked."""


class Lm(
    msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """A language model that the pool declares. Its key is never in here."""

    name: str
    model: str
    api_base: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    timeout_seconds: float = 60.0
    retries: int = 2
    input_price: float | None = None
    """In dollars, of a million tokens."""
    output_price: float | None = None


class WorkerConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    worker: str
    """Name of the worker: the pod's name, or ``w1`` … in local mode."""
    pool: str
    host: str = "127.0.0.1"
    port: int = 8701
    executors: int = 2
    isolation: Literal["shared", "program", "fresh"] = "shared"
    preload: list[str] = []
    preload_timeout_seconds: float = 300.0
    env: dict[str, str] = {}
    """The whole environment of programs, beside PATH, HOME, LANG and TMPDIR."""
    lms: list[Lm] | msgspec.UnsetType = msgspec.UNSET
    """The first is the default."""
    container_env: bool = False
    """Programs get all of the container's environment beside: see ``anypod.wire.pod``."""
    max_sessions: int = 64
    session_queue: int = 100
    """Calls that may wait for one session's executor."""
    program_cache_bytes: int = 64 * MIB
    programs_per_executor: int = 64
    drain_seconds: float = 30.0
    log_format: Literal["json", "text"] = "json"
    limits: Limits = Limits()
    recycle: Recycle = Recycle()
