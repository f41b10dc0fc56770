"""Gateways, workers and the operator of two versions, in either order of an upgrade.

What the first version sent is written down here, and never changes: a peer of that version is made
of it.
"""

import inspect
from typing import Any, Union, get_args

import msgspec
import pytest

from anypod.api.problems import AnyPodError
from anypod.dspy.spec import LmChoice
from anypod.resources.worker_config import worker_config_in_pod
from anypod.resources.workerpool import WorkerPoolSpec
from anypod.wire import codec, config, messages
from anypod.wire.messages import Checked, Code, Execute, Failure, Load, Result, Usage, WorkerHello
from anypod_gateway.given import check_waits

FIRST = {
    "Failure": "type detail exception message traceback line path errors exit_code signal limit",
    "Code": "kind files entrypoint",
    "SessionRef": "key epoch on_busy",
    "Output": "stdout stderr cut_bytes",
    "GatewayHello": "gateway version protocol",
    "Execute": "id program revision inputs timeout attempt stream logs session",
    "Program": "id revision code",
    "Check": "id revision code timeout",
    "Cancel": "id",
    "Credit": "id bytes",
    "SessionState": "id state version",
    "Verdict": "session epoch committed version",
    "EndSession": "session epoch",
    "WorkerHello": "worker instance pool version executors max_sessions max_body_bytes protocol",
    "Load": "ready draining busy idle sessions busy_sessions restarts memory_bytes message",
    "Draining": "",
    "NeedProgram": "id revision",
    "NeedState": "id session epoch",
    "Refused": "id reason",
    "Chunk": "id data",
    "Log": "id stream text",
    "Result": "id run_seconds wait_seconds outputs failure printed state base",
    "Checked": "id failure inputs_schema outputs_schema doc streams",
    "Limits": "memory_bytes output_bytes log_bytes open_files processes interrupt_grace_seconds",
    "Recycle": "max_executions max_age_seconds memory_growth_bytes",
    "WorkerConfig": "worker pool host port executors isolation preload preload_timeout_seconds env "
    "container_env max_sessions session_queue program_cache_bytes programs_per_executor "
    "drain_seconds log_format limits recycle",
}

IN_A_POD = (
    '{"worker":"","pool":"p","host":"0.0.0.0","port":8701,"executors":2,"isolation":"shared",'
    '"preload":[],"preloadTimeoutSeconds":300.0,"env":{},"containerEnv":true,"maxSessions":64,'
    '"sessionQueue":100,"programCacheBytes":67108864,"programsPerExecutor":64,"drainSeconds":30,'
    '"logFormat":"json","limits":{"memoryBytes":1073741824,"outputBytes":8388608,"logBytes":65536,'
    '"openFiles":1024,"processes":64,"interruptGraceSeconds":1.0},"recycle":{"maxExecutions":10000,'
    '"maxAgeSeconds":86400,"memoryGrowthBytes":268435456}}'
)
"""What the operator told workers of a pool that says nothing."""


def _structs(module: Any) -> dict[str, type[msgspec.Struct]]:
    return {
        name: each
        for name, each in vars(module).items()
        if inspect.isclass(each) and issubclass(each, msgspec.Struct) and name in FIRST
    }


NOW = _structs(messages) | _structs(config)


def _first(name: str, **options: Any) -> type[msgspec.Struct]:
    """The struct as the first version has it, which looks at names only."""
    now = NOW[name].__struct_config__
    return msgspec.defstruct(
        name,
        [(field, Any, None) for field in FIRST[name].split()],
        tag=now.tag,
        tag_field=now.tag_field,
        **options,
    )


_KINDS: Any = tuple(_first(name) for name, each in NOW.items() if each.__struct_config__.tag)
FIRST_TO_READ = msgspec.msgpack.Decoder(list[Union[_KINDS]])  # noqa: UP007 - it is a tuple
"""A gateway or a worker of the first version."""


def test_all_that_the_first_version_says_is_still_there() -> None:
    assert NOW.keys() == FIRST.keys()
    for name, fields in FIRST.items():
        assert set(fields.split()) <= set(NOW[name].__struct_fields__), name


@pytest.mark.parametrize("name", FIRST)
def test_what_came_later_need_not_be_said_and_is_not_sent_where_it_says_nothing(name: str) -> None:
    fields = msgspec.structs.fields(NOW[name])
    for field in (field for field in fields if field.name not in FIRST[name].split()):
        assert not field.required, field
        if not NOW[name].__struct_config__.omit_defaults:
            assert field.default is msgspec.UNSET, field


@pytest.mark.parametrize(
    "message",
    [
        Execute("x", "p", "r", b"{}", 1.0, lm=LmChoice("fast"), group="g", progress=True),
        WorkerHello("w", "i", "p", "1", 2, 3, 4, groups=True),
        Load(True, False, 1, 1, 0, 0, {}, running=7),
        Result("x", 1.0, failure=Failure("lm-auth", "?", retry_after=1), usage=Usage("fast")),
        Checked("x", waits=True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_peer_of_the_first_version_understands_the_rest_of_a_message(
    message: messages.Message,
) -> None:
    (read,) = FIRST_TO_READ.decode(msgspec.msgpack.encode([message]))
    name = type(message).__name__
    assert type(read).__name__ == name
    known = FIRST[name].split()
    assert msgspec.to_builtins(read)["id" if "id" in known else known[0]] is not None


def test_a_program_that_a_worker_of_the_first_version_looked_at_is_not_said_to_block() -> None:
    first = _first("Checked", omit_defaults=True)("x")
    (checked,) = codec.decode_for_gateway(msgspec.msgpack.encode([first]))
    assert checked == Checked("x")
    with pytest.raises(AnyPodError, match="version without concurrency") as refused:
        check_waits("p", Code("python", {}, "main:main"), Checked("x"))
    assert (refused.value.type, refused.value.problem.retry_after) == ("no-worker", 5)


def test_of_new_kinds_of_messages_only_those_are_sent_that_were_asked_for() -> None:
    """A peer that does not know a kind ends the link: whoever adds one says here who asks for it.

    ``Progress`` answers ``Execute.progress``; ``OthersSaw`` answers ``StoreSeen``, which goes to
    those that say ``WorkerHello.hearsay`` (gateway_engine/test_store_away.py)."""
    kinds = {*get_args(messages.ToWorker), *get_args(messages.ToGateway)}
    assert {kind.__name__ for kind in kinds} - FIRST.keys() == {
        "Progress",
        "StoreSeen",
        "OthersSaw",
    }
    assert not Execute("x", "p", "r", b"{}", 1.0).progress


def test_workers_of_the_first_version_start_in_a_pool_that_says_nothing_new() -> None:
    """Nor are they replaced, for their pods are the same."""
    told = msgspec.json.encode(worker_config_in_pod("p", WorkerPoolSpec()))
    assert told.decode() == IN_A_POD
    first = _first("WorkerConfig", rename="camel", forbid_unknown_fields=True)
    assert msgspec.json.decode(told, type=first) is not None


def test_workers_take_what_an_operator_of_the_first_version_tells_them() -> None:
    now = msgspec.json.decode(IN_A_POD, type=config.WorkerConfig)
    assert now == worker_config_in_pod("p", WorkerPoolSpec())


def test_a_worker_that_does_not_know_what_its_pool_wants_says_what_that_is() -> None:
    spec = WorkerPoolSpec.model_validate({"lms": [{"name": "fast", "model": "openai/x"}]})
    told = msgspec.json.encode(worker_config_in_pod("p", spec))
    first = _first("WorkerConfig", rename="camel", forbid_unknown_fields=True)
    with pytest.raises(msgspec.ValidationError, match="unknown field `lms`"):
        msgspec.json.decode(told, type=first)
