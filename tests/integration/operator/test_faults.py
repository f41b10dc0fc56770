"""What goes wrong between the operator and the API ends by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.faulty_api import FaultyApi, faulty_api
from tests.support.operated import Namespace, until
from tests.support.operator_process import OperatorProcess


@pytest.fixture
def way(space: Namespace) -> Iterator[FaultyApi]:
    with faulty_api(space.api.url) as proxy:
        yield proxy


@pytest.fixture
def remote(space: Namespace, way: FaultyApi, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that has only that way, and reads everything anew every two seconds."""
    options = ("--namespace", space.name, "--resync-seconds", "2", "--load-seconds", "1")
    process = OperatorProcess(space.api, tmp_path, *options, url=way.url)
    try:
        yield process
    finally:
        process.kill()


def writes(method: str, _: str) -> bool:
    return method in ("PATCH", "POST")


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503, 504])
def test_refused_writes_are_tried_again(
    space: Namespace, way: FaultyApi, remote: OperatorProcess, status: int
) -> None:
    remote.start()
    way.fail(writes, status, 4, **({"Retry-After": "1"} if status == 429 else {}))
    space.apply(replicas=3)
    space.until_children()
    until(lambda: space.condition("Ready"), "the status is written")
    assert way.failed == 4
    assert "Traceback" not in remote.log


def test_an_error_half_way_leaves_nothing_undone(
    space: Namespace, way: FaultyApi, remote: OperatorProcess
) -> None:
    remote.start()
    way.fail(lambda method, path: method == "PATCH" and "deployments" in path, 500, 3)
    space.apply(replicas=3)
    space.until_pods(3)


def test_what_fails_again_and_again_is_told_of(
    space: Namespace, way: FaultyApi, remote: OperatorProcess
) -> None:
    remote.start()
    way.fail(lambda method, path: method == "PATCH" and "deployments" in path, 500, 6)
    space.apply()
    condition = space.until_condition("Degraded", "True", "ApplyFailed")
    assert "the test says 500" in condition["message"]
    space.until_condition("Degraded", "False", "AsExpected")


def test_refused_reads_at_the_start_are_waited_out(
    space: Namespace, way: FaultyApi, remote: OperatorProcess
) -> None:
    """That of the CRD, for which the operator waits, and those with which its watches begin."""
    way.fail(lambda method, path: method == "GET" and path.endswith("/v1alpha1"), 503, 2)
    way.fail(lambda method, path: method == "GET" and "/namespaces/" in path, 503, 4)
    remote.start()
    space.apply()
    space.until_children()
    assert way.failed == 6


def test_an_api_server_that_was_away_is_caught_up_with(
    space: Namespace, way: FaultyApi, remote: OperatorProcess
) -> None:
    remote.start()
    space.apply()
    space.until_children()
    way.is_away = True
    space.apply(replicas=5)
    space.api.delete(space.child_path("Service"))
    until(lambda: "cannot be reached" in remote.log, "the operator notices")
    assert remote.is_running
    way.is_away = False
    until(lambda: (d := space.child("Deployment")) and d["spec"]["replicas"] == 5, "5 replicas")
    until(lambda: space.child("Service"), "the Service is there again")
    assert remote.get("/healthz")[0] == 200


def test_what_answers_in_the_api_servers_place_is_waited_out(
    space: Namespace, way: FaultyApi, remote: OperatorProcess
) -> None:
    way.page = b"<html>log in</html>"
    remote.start(wait=False)
    until(lambda: NOT_ITS_OWN in remote.log, "it waits when it starts")
    way.page = b""
    space.apply()
    space.until_children()
    way.page = b"<html>log in</html>"
    space.apply(replicas=5)
    until(lambda: f"trying on: {NOT_ITS_OWN}" in remote.log, "it reads everything anew")
    until(lambda: f"{space.name}/pool: {NOT_ITS_OWN}" in remote.log, "it looks at the pool")
    way.page = b""
    until(lambda: (d := space.child("Deployment")) and d["spec"]["replicas"] == 5, "5 replicas")
    assert remote.get("/healthz")[0] == 200
    assert "Traceback" not in remote.log


NOT_ITS_OWN = "what the API server answers is not its own"


def test_what_a_silent_watch_does_not_tell_is_found(
    space: Namespace, way: FaultyApi, remote: OperatorProcess
) -> None:
    remote.start()
    space.apply()
    space.until_children()
    way.silence_watches()
    space.api.delete(space.child_path("NetworkPolicy"))
    space.apply("silent")
    space.until_children()
    space.until_children("silent")
    metrics = remote.get("/metrics")[1]
    (line,) = [one for one in metrics.splitlines() if one.startswith(STALENESS)]
    assert float(line.split()[1]) > 0


STALENESS = "anypod_operator_watch_staleness_seconds "


def test_a_watch_whose_history_is_gone_begins_again(
    space: Namespace, way: FaultyApi, remote: OperatorProcess
) -> None:
    remote.start()
    space.apply()
    space.until_children()
    way.end_history()
    space.apply(replicas=4)
    until(lambda: (d := space.child("Deployment")) and d["spec"]["replicas"] == 4, "4 replicas")
    space.api.delete(space.child_path("PodDisruptionBudget"))
    space.until_children()
    assert remote.is_running


def test_a_frozen_operator_goes_on_where_it_was(space: Namespace, own: OperatorProcess) -> None:
    own.start()
    space.apply()
    space.until_children()
    own.freeze()
    space.apply(replicas=3)
    space.api.delete(space.child_path("Service"))
    own.thaw()
    until(lambda: (d := space.child("Deployment")) and d["spec"]["replicas"] == 3, "3 replicas")
    until(lambda: space.child("Service"), "the Service is there again")


def test_two_operators_at_once_do_no_harm(
    space: Namespace, own: OperatorProcess, remote: OperatorProcess
) -> None:
    own.start()
    remote.start()
    space.apply(replicas=2)
    secret = space.until_children()["Secret"]
    space.apply(replicas=4)
    space.until_pods(4)
    space.until_ready()
    assert (space.child("Secret") or {})["data"] == secret["data"]
