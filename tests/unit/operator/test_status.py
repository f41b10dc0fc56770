"""Status and diagnosis: what pods and Deployments say, in the pool's words."""

from datetime import UTC, datetime
from typing import Any

import pytest

from anypod_operator.diagnosis import Trouble, last_line, troubles
from anypod_operator.news import of_status
from anypod_operator.pools import Owner, PoolKey
from anypod_operator.status import Load, Observed, assess, time_to_ready

OWNER = Owner(PoolKey("team", "texts"), "u-1", 3)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Raw = dict[str, Any]


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}Z"


def pod(name: str = "a", *, ready: bool = False, **more: Any) -> Raw:
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(2)},
        {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": at(more.pop("ready_at", 9)),
        },
    ]
    running = {"name": "worker", "restartCount": 0, "state": {"running": {"startedAt": at(5)}}}
    status = {"conditions": conditions, "containerStatuses": [running], **more}
    return {
        "metadata": {"name": name, "namespace": "team", "creationTimestamp": at(0)},
        "status": status,
    }


def deployment(replicas: int, **status: Any) -> Raw:
    counts = {
        "observedGeneration": 1,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": replicas,
    }
    return {
        "metadata": {"generation": 1},
        "spec": {"replicas": replicas},
        "status": {**counts, **status},
    }


def status(replicas: int = 2, before: Raw | None = None, **observed: Any) -> Raw:
    defaults: Raw = {"pods": [], "deployment": deployment(replicas)}
    seen = Observed(**{**defaults, **observed})
    return assess(OWNER, replicas, "http://g/texts.team", seen, before or {}, NOW)


def condition(found: Raw, type_: str) -> tuple[str, str]:
    (one,) = (c for c in found["conditions"] if c["type"] == type_)
    return one["status"], one["reason"]


def test_all_serve() -> None:
    found = status(pods=[pod("a", ready=True), pod("b", ready=True)])
    assert condition(found, "Ready") == ("True", "AllServe")
    assert condition(found, "Progressing") == ("False", "Complete")
    assert condition(found, "Degraded") == ("False", "AsExpected")
    assert (found["replicas"], found["readyReplicas"], found["updatedReplicas"]) == (2, 2, 2)
    assert found["url"] == "http://g/texts.team"


def test_a_terminating_or_ended_pod_counts_for_nothing() -> None:
    terminating = pod("b", ready=True)
    terminating["metadata"]["deletionTimestamp"] = at(9)
    over = pod("c", phase="Failed", reason="Evicted")
    found = status(pods=[pod("a", ready=True), terminating, over])
    assert (found["replicas"], found["readyReplicas"]) == (1, 1)
    assert condition(found, "Degraded") == ("False", "AsExpected")


def test_a_deployment_that_has_not_been_looked_at_tells_nothing() -> None:
    old = deployment(2, observedGeneration=0)
    assert status(deployment=old)["updatedReplicas"] == 0
    assert condition(status(deployment=old), "Progressing") == ("True", "WorkersChange")
    assert condition(status(deployment=None), "Progressing") == ("True", "WorkersChange")


def test_a_stuck_rollout_without_another_trouble_is_told_of() -> None:
    stuck = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    serving = [pod("a", ready=True), pod("b", ready=True)]
    found = status(pods=serving, deployment=deployment(2, updatedReplicas=1, conditions=[stuck]))
    assert condition(found, "Ready") == ("True", "AllServe")
    assert condition(found, "Progressing") == ("False", "DeadlineExceeded")
    assert condition(found, "Degraded") == ("True", "RolloutStuck")


def test_what_cannot_be_applied_blocks_progress() -> None:
    problem = Trouble("InvalidTemplate", "x is wrong", "Correct it.")
    found = status(problem=problem, pods=[pod("a", ready=True)])
    assert condition(found, "Progressing") == ("False", "Blocked")
    assert condition(found, "Degraded") == ("True", "InvalidTemplate")
    assert found["conditions"][2]["message"] == "x is wrong. Correct it."


def test_times_of_transition_stay_while_a_status_does() -> None:
    first = status()
    for one in first["conditions"]:
        one["lastTransitionTime"] = at(0)
    second = status(before=first, pods=[pod("a", ready=True), pod("b", ready=True)])
    times = {one["type"]: one["lastTransitionTime"] for one in second["conditions"]}
    assert times == {
        "Ready": "2026-01-02T03:04:05Z",
        "Progressing": at(0),
        "Degraded": at(0),
    }
    assert all(one["observedGeneration"] == 3 for one in second["conditions"])


def test_the_same_observed_twice_is_the_same_status() -> None:
    pods = [pod("a", ready=True), pod("b")]
    first = status(pods=pods)
    assert status(pods=pods, before=first) == first


def test_loads_are_added_up() -> None:
    found = status(loads={"a": Load(1, 3, 2), "b": Load(0, 1, 0)})
    assert (found["busy"], found["sessions"]) == (3, 4)


def test_time_to_ready_is_that_of_the_median_worker() -> None:
    pods = [pod("a", ready=True), pod("b", ready=True, ready_at=59), pod("c", ready=True)]
    found = time_to_ready(pods)
    assert found is not None
    assert found.model_dump() == {
        "scheduled_seconds": 2,
        "started_seconds": 3,
        "preloaded_seconds": 4,
    }
    assert time_to_ready([pod("a")]) is None


def test_a_restarted_worker_tells_nothing_of_how_long_a_start_takes() -> None:
    restarted = pod("a", ready=True)
    restarted["status"]["containerStatuses"][0]["restartCount"] = 1
    assert time_to_ready([restarted]) is None


def waiting(reason: str, name: str = "worker", **more: Any) -> Raw:
    return {"name": name, "state": {"waiting": {"reason": reason}}, **more}


def crashed(message: str = "", **more: Any) -> Raw:
    return {"lastState": {"terminated": {"exitCode": 1, "message": message, **more}}}


def ended_well(times: int) -> Raw:
    return {"restartCount": times, "lastState": {"terminated": {"exitCode": 0}}}


def of(*containers: Raw, **more: Any) -> list[str]:
    return [one.reason for one in troubles([pod(containerStatuses=list(containers), **more)])]


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (waiting("ErrImagePull"), ["ImagePullFailed"]),
        (waiting("InvalidImageName"), ["ImagePullFailed"]),
        (waiting("CreateContainerError"), ["CannotStart"]),
        (waiting("CrashLoopBackOff", **crashed("preload of x failed: no")), ["PreloadFailed"]),
        (waiting("CrashLoopBackOff", **crashed("Killed")), ["WorkerCrashing"]),
        (waiting("CrashLoopBackOff"), ["WorkerCrashing"]),
        (waiting("CrashLoopBackOff", **crashed(reason="OOMKilled")), ["OutOfMemory"]),
        (waiting("CrashLoopBackOff", "side", **crashed("x")), ["SidecarFailing"]),
        (waiting("CrashLoopBackOff", "side"), ["SidecarFailing"]),
        (waiting("CrashLoopBackOff", "side", **ended_well(3)), ["SidecarFailing"]),
        (waiting("CrashLoopBackOff", **ended_well(3)), ["WorkerCrashing"]),
        (waiting("ContainerCreating"), []),
        (waiting("PodInitializing"), []),
        ({"name": "worker", "state": {"running": {}}, **crashed("x")}, ["WorkerCrashing"]),
        ({"name": "worker", "state": {"running": {}}}, []),
    ],
)
def test_a_container_that_does_not_run_is_understood(container: Raw, reason: list[str]) -> None:
    assert of(container) == reason


def test_a_container_that_ended_well_and_begins_again_is_no_trouble() -> None:
    running = {"name": "worker", "state": {"running": {}}}
    assert of({**running, **ended_well(1)}) == []
    init = {"name": "init", "state": ended_well(9)["lastState"], "restartCount": 9}
    assert of(running, initContainerStatuses=[init]) == []


@pytest.mark.parametrize("state", [{"running": {}}, {"terminated": {"exitCode": 0}}])
def test_one_that_always_ends_well_is_in_trouble_all_the_while(state: Raw) -> None:
    """Not only between its starts: the pool would be told to be well, and again not to be."""
    often = {"name": "worker", **ended_well(2), "state": state}
    (found,) = troubles([pod(containerStatuses=[often])])
    assert "ended with exit code 0" in found.message


def test_a_ready_pod_is_in_no_trouble_whatever_was_before() -> None:
    assert troubles([pod(ready=True, containerStatuses=[waiting("CrashLoopBackOff")])]) == []


def test_an_init_container_is_looked_at_first() -> None:
    init = [waiting("ImagePullBackOff", "init")]
    assert of(waiting("PodInitializing"), initContainerStatuses=init) == ["ImagePullFailed"]


LOST = {"type": "Ready", "status": "False"}


@pytest.mark.parametrize(
    ("ready", "containers", "reasons"),
    [
        (LOST, "True", ["NodeLost"]),
        (LOST, "False", []),
        ({**LOST, "reason": "ReadinessGatesNotReady"}, "True", []),
    ],
)
def test_a_pod_that_is_not_ready_though_its_containers_are_has_lost_its_node(
    ready: Raw, containers: str, reasons: list[str]
) -> None:
    lost = pod(conditions=[{"type": "ContainersReady", "status": containers}, ready])
    lost["spec"] = {"nodeName": "node-7"}
    found = troubles([lost])
    assert [one.reason for one in found] == reasons
    assert all(str(one).startswith("1 worker: node node-7 does not answer.") for one in found)


def test_troubles_of_many_pods_are_one_for_each_reason() -> None:
    pods = [pod(n, containerStatuses=[waiting("ErrImagePull")]) for n in "abc"]
    pods.append(pod("d", containerStatuses=[waiting("CreateContainerError")]))
    pull, start = troubles(pods)
    assert pull.message.startswith("3 workers: ")
    assert start.message.startswith("1 worker: ")
    assert str(pull).endswith("Check spec.image and spec.imagePullSecrets.")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ('x\n{"level": "error", "message": "it broke", "n": 1}', "it broke"),
        ('{"no message": 1}', '{"no message": 1}'),
        ("[1, 2]", "[1, 2]"),
        ("42", "42"),
    ],
)
def test_the_last_line_of_a_log_is_quoted_as_a_person_would(text: str, line: str) -> None:
    assert last_line(text) == line


@pytest.mark.parametrize("name", ["worker", "side"])
@pytest.mark.parametrize("how", [{"exitCode": 137}, {"exitCode": 255, "signal": 9}])
def test_a_killed_container_is_not_said_to_have_ended_over_what_it_logged_last(
    how: dict[str, int], name: str
) -> None:
    killed = waiting("Error", name, **crashed("linked", **how))
    (found,) = troubles([pod(containerStatuses=[killed])])
    assert "SIGKILL" in found.message
    assert "linked" not in found.message


def test_endless_messages_are_cut() -> None:
    loud = waiting("CrashLoopBackOff", **crashed("x" * 100_000))
    found = status(pods=[pod(containerStatuses=[loud])])
    assert all(len(one["message"]) < 4096 for one in found["conditions"])


def test_events_are_told_of_changes_and_of_nothing_else() -> None:
    bad = status(pods=[pod(containerStatuses=[waiting("ErrImagePull")])])
    good = status(pods=[pod("a", ready=True), pod("b", ready=True)])
    assert [one.reason for one in of_status({}, bad)] == ["ImagePullFailed"]
    assert list(of_status(bad, bad)) == []
    assert [one.reason for one in of_status(bad, good)] == ["Recovered", "Ready"]
    assert [one.reason for one in of_status(good, bad)] == ["ImagePullFailed", "NotReady"]
