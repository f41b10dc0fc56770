"""Small parts of the operator: what it is told, what workers say, its health."""

from pathlib import Path

import pytest
from tests.support.operator_pools import make_pool

from anypod.wire.messages import Load as WireLoad
from anypod_operator.api_errors import Refused
from anypod_operator.health import OVERDUE_SECONDS, STALE_SECONDS, Health
from anypod_operator.loads import deletion_cost, parse
from anypod_operator.metrics import Metrics
from anypod_operator.objects.layers import BadTemplate
from anypod_operator.pools import InvalidPool
from anypod_operator.problems import problem_of
from anypod_operator.settings import GATEWAY_LABELS
from anypod_operator.settings import parse as parse_settings
from anypod_operator.status import Load
from anypod_worker.health import _metrics


def test_settings_have_defaults_and_lists(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key\n")
    key = ("--link-key-file", str(tmp_path / "key"))
    found = parse_settings(["--worker-image", "w:1", *key])
    assert found.link_key == "a key"
    assert "a key" not in repr(found)
    assert (found.namespaces, found.gateway_labels) == ((), GATEWAY_LABELS)
    found = parse_settings(
        [
            *("--worker-image", "w:1", "--namespace", "a", "--namespace", "b", "--namespace", "a"),
            *("--gateway-label", "app=g", "--cluster-network", "52.0.0.0/8"),
            *("--pool-url", "http://g/{pool}"),
            *key,
        ]
    )
    assert found.namespaces == ("a", "b")
    assert found.gateway_labels == {"app": "g"}
    assert found.cluster_networks == ("52.0.0.0/8",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--worker-image"),
        (["--worker-image", "w", "--cluster-network", "10.0.0.1/8"], "host bits"),
        (["--worker-image", "w", "--gateway-label", "app"], "KEY=VALUE"),
        (["--worker-image", "w", "--pool-url", "http://{name}"], "may have {pool} in it"),
        (["--worker-image", "w", "--listen", "8080"], "HOST:PORT"),
        (["--worker-image", "w", "--link-key-file", "/nowhere"], "no key"),
        (["--worker-image", "w", "--link-key-file", "/dev/null"], "is empty"),
        (["--worker-image", "w", "--load-seconds", "0"], "--load-seconds"),
    ],
)
def test_wrong_settings_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_settings(arguments)
    assert said in capsys.readouterr().err


def test_what_a_worker_says_of_itself_is_understood() -> None:
    text = _metrics(
        WireLoad(
            ready=True, draining=False, busy=2, idle=1, sessions=3, busy_sessions=1, restarts={}
        )
    )
    assert parse(text) == Load(busy=2, sessions=3, busy_sessions=1)


@pytest.mark.parametrize("text", ["", "<html>", "anypod_worker_sessions 1\n"])
def test_what_is_no_workers_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the metrics of a worker"):
        parse(text)


@pytest.mark.parametrize("count", ["inf", "-inf", "nan", "1e400", "1" * 5000, "-1", "1_0", "", "x"])
def test_what_is_no_count_of_a_worker_is_refused(count: str) -> None:
    text = "anypod_worker_sessions 0\nanypod_worker_sessions_busy 0\n"
    with pytest.raises(ValueError, match="no count of a worker"):
        parse(f"{text}anypod_worker_executors_busy {count}\n")


def test_a_deletion_cost_is_one_that_kubernetes_takes() -> None:
    text = _metrics(
        WireLoad(
            ready=True,
            draining=False,
            busy=999_999,
            idle=0,
            sessions=999_999,
            busy_sessions=999_999,
            restarts={},
        )
    )
    assert deletion_cost(parse(text)) < 2**31


def test_sessions_weigh_more_than_executions_and_silence_least() -> None:
    costs = [
        deletion_cost(load)
        for load in (None, Load(0, 0), Load(5, 0), Load(0, 1), Load(0, 1, 1), Load(0, 50))
    ]
    assert costs == sorted(set(costs))


def test_health_complains_of_what_piles_up_and_of_silent_watches() -> None:
    overdue, stale = 0.0, 0.0
    health = Health(Metrics(), lambda: overdue, lambda: stale, lambda: 0)
    assert health.complaint() == ""
    overdue = OVERDUE_SECONDS + 1
    assert "has waited" in health.complaint()
    overdue, stale = 0.0, STALE_SECONDS + 1
    assert "a watch is silent" in health.complaint()


def test_a_pool_that_the_models_refuse_is_told_of_with_its_field() -> None:
    with pytest.raises(InvalidPool, match=r"spec\.replicas"):
        make_pool(replicas="many")


def test_what_a_newer_custom_resource_has_is_passed_over() -> None:
    assert make_pool(replicas=3, later={"a": 1}).unknown == ("spec.later",)
    assert make_pool(replicas=3, later={"a": 1}).spec == make_pool(replicas=3).spec


def test_a_refused_network_policy_is_told_of_as_what_it_is_made_of() -> None:
    refused = Refused("spec.egress[0].to[0]: Invalid value")
    refused.kind = "NetworkPolicy"
    problem = problem_of(refused)
    assert problem is not None
    assert problem.trouble.reason == "InvalidNetwork"
    assert "spec.network" in str(problem.trouble)


def test_what_may_pass_by_itself_is_no_problem_to_tell_of() -> None:
    assert problem_of(RuntimeError("x")) is None
    problem = problem_of(BadTemplate("spec.template.spec.containers must be a list"))
    assert problem is not None
    assert problem.retry is None
