"""The WorkerPool model (``anypod.dev/v1alpha1``).

Field names in YAML are camelCase, as Kubernetes has them; durations are ``…Seconds``, sizes are
quantities (``512Mi``) or bytes. The text under a field is its description everywhere: in the CRD,
for ``kubectl explain``, and in ``docs/workerpool.md``.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from anypod.resources.fields import (
    Bytes,
    HeaderName,
    Model,
    ModuleName,
    PoolName,
    Rule,
    Share,
    is_network,
)
from anypod.resources.lms import RULES as LM_RULES
from anypod.resources.lms import Lm
from anypod.resources.surroundings import (
    EnvFrom,
    EnvVar,
    NamedRef,
    Network,
    PodTemplate,
    Rollout,
)
from anypod.wire.messages import MAX_EXECUTORS

GROUP = "anypod.dev"
VERSION = "v1alpha1"
API_VERSION = "anypod.dev/v1alpha1"
KIND = "WorkerPool"
PLURAL = "workerpools"


class Limits(Model):
    """What one execution may use."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.timeoutSeconds <= self.maxTimeoutSeconds",
            lambda limits: limits.timeout_seconds <= limits.max_timeout_seconds,
            "timeoutSeconds must not be above maxTimeoutSeconds",
        ),
    )

    timeout_seconds: float = Field(60, gt=0, le=86_400)
    """Time of an execution for which neither the request nor the program says another."""
    max_timeout_seconds: float = Field(600, gt=0, le=86_400)
    """Time that a request or a program may ask for."""
    memory: Bytes = Field(1024 * 2**20, ge=64 * 2**20, le=1024 * 2**30)
    """Memory of an executor beyond the preload, with what it starts."""
    body_bytes: Bytes = Field(8 * 2**20, ge=1024, le=256 * 2**20)
    """Of a request, and of an answer."""
    log_bytes: Bytes = Field(64 * 2**10, ge=0, le=16 * 2**20)
    """Kept of what one execution prints."""
    open_files: int = Field(1024, ge=64, le=1_048_576)
    """Open files of an executor."""
    processes: int = Field(64, ge=0, le=4096)
    """Processes below one executor at once."""
    interrupt_grace_seconds: float = Field(1.0, ge=0, le=60)
    """Between the interrupt at a deadline and the kill."""


class Queue(Model):
    """Calls that wait for a free worker."""

    depth: int = Field(1000, ge=0, le=1_000_000)
    """Calls that may wait for a worker, at each gateway; more get 429."""
    max_wait_seconds: float = Field(30, ge=0, le=3600)
    """How long one waits before it gets 503 `no-worker`."""


HEADERS_WITH_A_MEANING = (
    *("accept", "accept-charset", "accept-encoding", "accept-language", "authorization"),
    *("cache-control", "connection", "content-encoding", "content-length", "content-type"),
    *("cookie", "date", "expect", "forwarded", "from", "host", "idempotency-key", "if-match"),
    *("if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive"),
    *("last-event-id", "max-forwards", "origin", "pragma", "prefer", "proxy-authorization"),
    *("proxy-connection", "range", "referer", "te", "traceparent", "tracestate", "trailer"),
    *("transfer-encoding", "upgrade", "user-agent", "via", "webhook-url", "x-forwarded-for"),
    *("x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
)
"""Of HTTP's or of AnyPod's own, or what clients and proxies send by themselves."""


class Sessions(Model):
    """How sessions are named, kept and ended."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!(self.header.lowerAscii() in {list(HEADERS_WITH_A_MEANING)})",
            lambda sessions: sessions.header.lower() not in HEADERS_WITH_A_MEANING,
            "header must not be one that has a meaning already, such as Host or Content-Type",
        ),
    )

    header: HeaderName = "X-Session-ID"
    """Name of the header that names a session."""
    ttl_seconds: float = Field(3600, ge=1, le=30 * 86_400)
    """Time after its last call at which a session ends."""
    max_per_worker: int = Field(64, ge=0, le=10_000)
    """Sessions that a worker has room for; each holds a process."""
    on_worker_loss: Literal["restore", "fail"] = "restore"
    """Go on from the stored state on another worker, or answer 410."""
    on_busy: Literal["queue", "fail"] = "queue"
    """A call for a busy session waits, or gets 409."""


class Jobs(Model):
    """Runs whose callers do not wait."""

    depth: int = Field(10_000, ge=0, le=100_000)
    """Jobs that may be open, queued or running; more get 429."""
    concurrency: Share = "50%"
    """Jobs that run at once, or a percentage of the ready workers' executors; one at least."""
    ttl_seconds: float = Field(86_400, ge=60, le=30 * 86_400)
    """How long a job and its result are kept after its end."""


class Webhooks(Model):
    """What jobs may have called when they have ended."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.allowedNetworks.all(one, isCIDR(one) && cidr(one) == cidr(one).masked())",
            lambda webhooks: all(map(is_network, webhooks.allowed_networks)),
            "allowedNetworks must be networks, such as 10.1.0.0/16 or 2001:db8::/32",
        ),
    )

    allowed_networks: list[Annotated[str, StringConstraints(max_length=64)]] = Field(
        [], max_length=50
    )
    """Networks whose addresses may be called though they are not public, and without TLS, as
    10.1.0.0/16. Gateways reach more than programs do: name no more than the receivers."""


class Recycle(Model):
    """When an executor is replaced though nothing went wrong."""

    max_executions: int = Field(10_000, ge=1, le=1_000_000_000)
    """Executions after which an executor is replaced."""
    max_age_seconds: float = Field(86_400, gt=0, le=365 * 86_400)
    """Age at which it is."""
    memory_growth: Bytes = Field(256 * 2**20, ge=2**20, le=1024 * 2**30)
    """Private memory that it may gain before it is."""


class WorkerPoolSpec(Model):
    """What is wanted of the pool."""

    RULES: ClassVar[tuple[Rule, ...]] = LM_RULES

    replicas: int = Field(2, ge=0, le=1000)
    """Workers."""
    image: Annotated[str, StringConstraints(max_length=1024, pattern=r"^\S*$")] = ""
    """The workers' image. Empty: the plain one that came with the operator. Not in local mode."""
    image_pull_secrets: list[NamedRef] = Field([], max_length=20)
    """Secrets with which the image is pulled. Not in local mode."""
    executors: int = Field(2, ge=1, le=MAX_EXECUTORS)
    """Executions that one worker runs at once, beside those of sessions."""
    concurrency: int = Field(100, ge=1, le=1000)
    """Executions of an async program that one executor may run at once, where the program asks for
    that (`concurrency`). They share the executor's memory."""
    isolation: Literal["shared", "program", "fresh"] = "shared"
    """What an executor serves: all programs, one revision, or one execution."""
    preload: list[ModuleName] = Field([], max_length=200)
    """Modules that a worker imports once, before it is ready; executors are forked from that."""
    limits: Limits = Limits()
    """What one execution may use."""
    queue: Queue = Queue()
    """Calls that wait for a free worker."""
    sessions: Sessions = Sessions()
    """How sessions are named, kept and ended."""
    jobs: Jobs = Jobs()
    """Runs whose callers do not wait."""
    webhooks: Webhooks = Webhooks()
    """What jobs may have called when they have ended."""
    recycle: Recycle = Recycle()
    """When an executor is replaced though nothing went wrong."""
    idempotency_ttl_seconds: float = Field(86_400, ge=60, le=30 * 86_400)
    """How long the answer of a call with an Idempotency-Key is kept."""
    env: list[EnvVar] = Field([], max_length=500)
    """Variables for programs. Readable by every program of the pool. What changes in a Secret or
    ConfigMap reaches workers that start after it: kubectl rollout restart deployment/POOL-workers
    replaces those that run."""
    env_from: list[EnvFrom] = Field([], max_length=50)
    """Secrets and ConfigMaps whose keys are variables for programs. What changes in them reaches
    workers as with env. Not in local mode."""
    lms: list[Lm] = Field([], max_length=32)
    """Language models for programs of kind dspy. Their keys are in no program's environment."""
    default_lm: Annotated[str, StringConstraints(max_length=63)] = ""
    """Name of the LM for programs that name none. Empty: the first of lms."""
    rollout: Rollout = Rollout()
    """How workers are replaced when what they are made of changes. Not in local mode."""
    drain_seconds: float = Field(30, ge=0, le=3600)
    """For what runs when a worker is told to stop."""
    network: Network = Network()
    """What programs may reach. Not in local mode."""
    template: PodTemplate = PodTemplate()
    """Fields of the workers' pods, merged under what the operator sets. Not in local mode."""


class Metadata(Model):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: PoolName


class WorkerPool(Model):
    """Workers that are alike and run any program of the pool. One trust domain."""

    api_version: Literal["anypod.dev/v1alpha1"]
    kind: Literal["WorkerPool"]
    metadata: Metadata
    spec: WorkerPoolSpec = WorkerPoolSpec()
    """What is wanted of the pool."""
