"""The WorkerPool model (``anypod.dev/v1alpha1``).

Field names in YAML are camelCase, as Kubernetes has them; durations are ``…Seconds``, sizes are
quantities (``512Mi``) or bytes.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

API_VERSION = "anypod.dev/v1alpha1"
KIND = "WorkerPool"

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_QUANTITY = re.compile(r"^(\d+)(k|M|G|Ki|Mi|Gi)?$")


def parse_quantity(value: Any) -> Any:
    """Bytes of a Kubernetes quantity such as ``512Mi``; other values are left to pydantic."""
    if not isinstance(value, str):
        return value
    match = _QUANTITY.match(value)
    if match is None:
        raise ValueError("must be a number of bytes, or one with k, M, G, Ki, Mi or Gi, as 512Mi")
    return int(match[1]) * _UNITS[match[2] or ""]


Bytes = Annotated[int, BeforeValidator(parse_quantity)]
PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
"""A DNS label that leaves room for the suffixes of what is made for the pool (63 in all)."""

ModuleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$", max_length=64)]


class Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


class Limits(Model):
    """What one execution may use."""

    timeout_seconds: float = Field(60, gt=0, le=86_400)
    """Of an execution for which neither the program nor the request says another."""
    max_timeout_seconds: float = Field(600, gt=0, le=86_400)
    memory: Bytes = Field(1024 * 2**20, ge=64 * 2**20)
    """Memory per executor."""
    body_bytes: Bytes = Field(8 * 2**20, ge=1024, le=256 * 2**20)
    """Of a request, and of an answer."""
    log_bytes: Bytes = Field(64 * 2**10, ge=0, le=16 * 2**20)
    open_files: int = Field(1024, ge=64, le=1_048_576)
    processes: int = Field(64, ge=0, le=4096)
    """Descendants of one executor at once."""
    interrupt_grace_seconds: float = Field(1.0, ge=0, le=60)

    @model_validator(mode="after")
    def _default_within_max(self) -> "Limits":
        if self.timeout_seconds > self.max_timeout_seconds:
            raise ValueError("timeoutSeconds must not be above maxTimeoutSeconds")
        return self


class Queue(Model):
    """Requests that wait for a free worker."""

    depth: int = Field(1000, ge=0, le=1_000_000)
    max_wait_seconds: float = Field(30, ge=0, le=3600)


class Sessions(Model):
    header: HeaderName = "X-Session-ID"
    ttl_seconds: float = Field(3600, ge=1, le=30 * 86_400)
    max_per_worker: int = Field(64, ge=0, le=10_000)
    on_worker_loss: Literal["restore", "fail"] = "restore"
    on_busy: Literal["queue", "fail"] = "queue"


class Recycle(Model):
    """When an executor is replaced though nothing went wrong."""

    max_executions: int = Field(10_000, ge=1)
    max_age_seconds: float = Field(86_400, gt=0)
    memory_growth: Bytes = Field(256 * 2**20, ge=2**20)


class EnvVar(Model):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str = ""


class WorkerPoolSpec(Model):
    replicas: int = Field(2, ge=0, le=1000)
    executors: int = Field(2, ge=1, le=256)
    isolation: Literal["shared", "program", "fresh"] = "shared"
    preload: list[ModuleName] = []
    limits: Limits = Limits()
    queue: Queue = Queue()
    sessions: Sessions = Sessions()
    recycle: Recycle = Recycle()
    env: list[EnvVar] = []
    drain_seconds: float = Field(30, ge=0, le=3600)


class Metadata(Model):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: PoolName


class WorkerPool(Model):
    api_version: Literal["anypod.dev/v1alpha1"]
    kind: Literal["WorkerPool"]
    metadata: Metadata
    spec: WorkerPoolSpec = WorkerPoolSpec()
