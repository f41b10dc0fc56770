"""What the operator tells of a pool: the model of ``status``."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from anypod.resources.fields import Model


class Condition(Model):
    """One aspect of the pool's state."""

    type: Literal["Ready", "Progressing", "Degraded"]
    """Ready: all workers that are wanted serve. Progressing: workers are being made or replaced.
    Degraded: something is wrong; some of it ends by itself, as a lack of nodes does."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]+$", max_length=64)]
    """Why, as one stable word for machines."""
    message: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Why, for people, and what to do."""
    observed_generation: int = 0
    """The generation of the spec that this is about."""
    last_transition_time: str = Field("", json_schema_extra={"format": "date-time"})
    """When status changed last."""


class TimeToReady(Model):
    """Seconds from a pod's creation to its readiness, by phase, of the median ready worker."""

    scheduled_seconds: float = 0
    """Until it had a node."""
    started_seconds: float = 0
    """From there until its container ran: pulling the image, mounting volumes."""
    preloaded_seconds: float = 0
    """From there until it was ready: importing the preload, forking the executors."""


class WorkerPoolStatus(Model):
    """What is."""

    observed_generation: int = 0
    """The generation of the spec that the rest is about."""
    replicas: int = 0
    """Workers that there are."""
    ready_replicas: int = 0
    """Workers that serve."""
    updated_replicas: int = 0
    """Workers that are made of the present spec."""
    busy: int = 0
    """Executors that run something, of all workers, when they were last asked."""
    sessions: int = 0
    """Sessions that live on the workers, when they were last asked."""
    selector: str = ""
    """Labels of the workers' pods."""
    url: str = ""
    """Where the pool is called, inside the cluster."""
    time_to_ready: TimeToReady | None = None
    """How long a worker takes to be ready."""
    conditions: list[Condition] = Field([], max_length=8)
    """Ready, Progressing and Degraded."""
