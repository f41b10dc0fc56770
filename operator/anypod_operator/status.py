"""The pool's status, from what was observed. Pure.

Ready says whether all workers that are wanted serve, of whatever spec they are made: a rollout
that fails leaves it true, while Degraded tells what is wrong. Progressing is true while workers are
being made or replaced.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from anypod.resources import names
from anypod.resources.status import Condition, TimeToReady, WorkerPoolStatus
from anypod_operator.diagnosis import (
    Trouble,
    condition,
    is_over,
    is_ready,
    is_terminating,
    refusal,
    troubles,
)
from anypod_operator.kinds import Raw
from anypod_operator.pools import Owner

_MESSAGE_LIMIT = 4000


@dataclass(frozen=True)
class Load:
    """What one worker said of itself."""

    busy: int
    sessions: int
    busy_sessions: int = 0


@dataclass(frozen=True)
class Observed:
    pods: Sequence[Raw]
    deployment: Raw | None
    loads: dict[str, Load] = field(default_factory=dict)
    """By pod; those that answered."""
    problem: Trouble | None = None
    """Why what is wanted could not be applied."""


@dataclass(frozen=True)
class _Counts:
    wanted: int
    present: int
    ready: int
    updated: int
    complete: bool
    stuck: bool


def assess(
    owner: Owner, replicas: int, url: str, observed: Observed, before: Raw, now: datetime
) -> Raw:
    """``url``: where it is called; ``before``: the status that the pool has."""
    counts = _count(replicas, observed)
    wrong = _wrong(observed, counts)
    conditions = [
        _ready(counts, wrong),
        _progressing(counts, observed.problem),
        _degraded(wrong),
    ]
    status = WorkerPoolStatus(
        observed_generation=owner.generation,
        replicas=counts.present,
        ready_replicas=counts.ready,
        updated_replicas=counts.updated,
        busy=sum(load.busy + load.busy_sessions for load in observed.loads.values()),
        sessions=sum(load.sessions for load in observed.loads.values()),
        selector=",".join(f"{k}={v}" for k, v in names.worker_selector(owner.key.name).items()),
        url=url,
        time_to_ready=time_to_ready(observed.pods),
        conditions=[_dated(one, owner, before, now) for one in conditions],
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _count(wanted: int, observed: Observed) -> _Counts:
    alive = [pod for pod in observed.pods if not is_terminating(pod) and not is_over(pod)]
    deployment = observed.deployment or {}
    status = deployment.get("status", {})
    current = (
        observed.deployment is not None
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and deployment["spec"].get("replicas") == wanted
    )
    updated = status.get("updatedReplicas", 0) if current else 0
    progressing = condition(deployment, "Progressing")
    return _Counts(
        wanted=wanted,
        present=len(alive),
        ready=sum(map(is_ready, alive)),
        updated=updated,
        complete=current
        and updated == status.get("replicas", 0) == status.get("availableReplicas", 0) == wanted,
        stuck=current
        and progressing.get("status") == "False"
        and progressing.get("reason") == "ProgressDeadlineExceeded",
    )


def _wrong(observed: Observed, counts: _Counts) -> list[Trouble]:
    found = [observed.problem, refusal(observed.deployment), *troubles(observed.pods)]
    wrong = [one for one in found if one is not None]
    if counts.stuck and not wrong:
        wrong.append(
            Trouble(
                "RolloutStuck",
                f"{counts.updated} of {counts.wanted} workers are made of the present spec, and "
                "there was no progress within spec.rollout.progressDeadlineSeconds",
                "See kubectl describe pod. Workers of a former spec go on, if there are any.",
            )
        )
    return wrong


def _ready(counts: _Counts, wrong: list[Trouble]) -> Condition:
    message = f"{counts.ready} of {counts.wanted} workers serve"
    if counts.wanted == 0:
        return _condition("Ready", True, "ScaledToZero", "no workers are wanted")
    if counts.ready >= counts.wanted:
        return _condition("Ready", True, "AllServe", message)
    reason = "SomeServe" if counts.ready else "NoneServes"
    return _condition("Ready", False, reason, _join(message, wrong))


def _progressing(counts: _Counts, problem: Trouble | None) -> Condition:
    if problem is not None:
        return _condition("Progressing", False, "Blocked", str(problem))
    if counts.complete:
        return _condition("Progressing", False, "Complete", "all is as it is wanted")
    message = (
        f"{counts.updated} of {counts.wanted} workers are made of the present spec, "
        f"{counts.ready} serve, {counts.present} there are"
    )
    if counts.stuck:
        return _condition("Progressing", False, "DeadlineExceeded", message)
    return _condition("Progressing", True, "WorkersChange", message)


def _degraded(wrong: list[Trouble]) -> Condition:
    if not wrong:
        return _condition("Degraded", False, "AsExpected", "")
    return _condition("Degraded", True, wrong[0].reason, _join("", wrong))


def _join(first: str, wrong: list[Trouble]) -> str:
    start = [f"{first}."] if first else []
    return " ".join([*start, *map(str, wrong)])


def _condition(type_: str, holds: bool, reason: str, message: str) -> Condition:
    return Condition.model_validate(
        {
            "type": type_,
            "status": "True" if holds else "False",
            "reason": reason,
            "message": message[:_MESSAGE_LIMIT],
        }
    )


def _dated(found: Condition, owner: Owner, before: Raw, now: datetime) -> Condition:
    """``lastTransitionTime`` stays while the status does."""
    old = condition({"status": before}, found.type)
    since = old.get("lastTransitionTime") if old.get("status") == found.status else None
    return found.model_copy(
        update={
            "observed_generation": owner.generation,
            "last_transition_time": since or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )


def time_to_ready(pods: Sequence[Raw]) -> TimeToReady | None:
    """Of the median worker, which one that became ready a second time does not change."""
    found = sorted(filter(None, map(_phases, pods)), key=sum)
    if not found:
        return None
    scheduled, started, preloaded = found[(len(found) - 1) // 2]
    return TimeToReady(
        scheduled_seconds=scheduled, started_seconds=started, preloaded_seconds=preloaded
    )


def _phases(pod: Raw) -> tuple[float, float, float] | None:
    worker: Raw = next(
        (
            one
            for one in pod.get("status", {}).get("containerStatuses", [])
            if one["name"] == names.WORKER_CONTAINER
        ),
        {},
    )
    times = [
        pod["metadata"]["creationTimestamp"],
        condition(pod, "PodScheduled").get("lastTransitionTime"),
        (worker.get("state", {}).get("running") or {}).get("startedAt"),
        condition(pod, "Ready").get("lastTransitionTime"),
    ]
    if not is_ready(pod) or worker.get("restartCount") or not all(times):
        return None
    moments = [datetime.fromisoformat(time) for time in times]
    first, second, third = (
        max(0.0, (after - before).total_seconds()) for before, after in itertools.pairwise(moments)
    )
    return first, second, third
