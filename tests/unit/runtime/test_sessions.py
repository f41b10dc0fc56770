"""What a session keeps: state that is JSON, globals and loops; and what a failure takes back."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.forked import in_executor
from tests.support.programs import answer, executed, failure, loaded, refused

from anypod import session as session_module
from anypod.session import Session
from anypod_worker.runtime.containment import Baseline
from anypod_worker.runtime.loading import LoadedProgram
from anypod_worker.runtime.running import STATE_LIMIT


@pytest.fixture(params=["module", "parameter"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedProgram:
    """Runs the statement ``do`` with ``session``, which it has in one way or the other."""
    imported = request.param == "module"
    first = "from anypod import session\n" if imported else ""
    parameters = "do" if imported else "session, do"
    return loaded(
        tmp_path,
        f"{first}def main({parameters}):\n    exec(do, {{'session': session}})\n"
        "    return [session.id, session.state]\n",
    )


def run(program: LoadedProgram, session: Session, do: str) -> Any:
    outcome = executed(program, {"do": do}, session=session)
    assert outcome.outputs is not None, outcome.failure
    return json.loads(outcome.outputs)[1], outcome.state


def test_state_is_kept_and_told_when_it_changed(program: LoadedProgram) -> None:
    session = Session("key", b'{"n":1}')
    assert run(program, session, "session.state['n'] += 1") == ({"n": 2}, b'{"n":2}')
    assert run(program, session, "pass") == ({"n": 2}, None)
    assert run(program, session, "session.state['n'] = 2") == ({"n": 2}, None)
    assert run(program, session, "session.state = {'m': 1}") == ({"m": 1}, b'{"m":1}')
    assert run(program, session, "session.state['m'] = [1]") == ({"m": [1]}, b'{"m":[1]}')


def test_a_change_deep_inside_is_noticed(program: LoadedProgram) -> None:
    session = Session("key", b'{"a":[{"b":1}]}')
    _, state = run(program, session, "session.state['a'][0]['b'] = 2")
    assert state == b'{"a":[{"b":2}]}'


def test_the_id_is_the_sessions(program: LoadedProgram) -> None:
    outcome = executed(program, {"do": "pass"}, session=Session("key~1"))
    assert outcome.outputs == b'["key~1",{}]'


def test_a_failed_execution_changes_nothing(program: LoadedProgram) -> None:
    session = Session("key", b'{"n":1}')
    outcome = executed(program, {"do": "session.state['n'] = 2\nraise ValueError"}, session=session)
    assert outcome.failure is not None
    assert outcome.state is None
    assert run(program, session, "pass") == ({"n": 1}, None)


@pytest.mark.parametrize(
    ("do", "path"),
    [
        ("session.state['f'] = print", "session.state.f"),
        ("session.state['a'] = [{'b c': float('nan')}]", 'session.state.a[0]["b c"]'),
        ("session.state['self'] = session.state", "session.state.self"),
    ],
)
def test_the_place_in_the_state_is_told(tmp_path: Path, do: str, path: str) -> None:
    program = loaded(tmp_path, f"def main(session):\n    {do}\n")
    outcome = executed(program, session=Session("key"))
    assert outcome.failure is not None
    assert outcome.failure.type == "output-not-serializable"
    assert outcome.failure.path == path
    assert outcome.outputs is None


def test_a_state_above_the_limit_fails_the_execution(tmp_path: Path) -> None:
    program = loaded(tmp_path, "def main(session, n):\n    session.state['x'] = 'x' * n\n")
    session = Session("key")
    assert executed(program, {"n": STATE_LIMIT - 8}, session=session).failure is None
    outcome = executed(program, {"n": STATE_LIMIT - 7}, session=session)
    assert outcome.failure is not None
    assert outcome.failure.type == "output-too-large"
    assert outcome.failure.path == "session.state"
    assert outcome.failure.limit == STATE_LIMIT
    assert len(session.state["x"]) == STATE_LIMIT - 8


def test_after_success_the_state_reads_as_json_has_it(tmp_path: Path) -> None:
    """So that it is the same whether the session moved to another worker meanwhile or not."""
    source = """
        from datetime import date
        def main(session):
            kind = [type(session.state.get(key)).__name__ for key in ("when", "pair")]
            session.state["when"] = date(2024, 1, session.state.setdefault("day", 0) + 1)
            session.state["day"] += 1
            session.state["pair"] = (1, 2)
            return kind
    """
    program, session = loaded(tmp_path, source), Session("key")
    kinds = [executed(program, session=session).outputs for _ in range(2)]
    assert kinds == [b'["NoneType","NoneType"]', b'["str","list"]']


def test_the_state_must_be_a_dict(program: LoadedProgram) -> None:
    outcome = executed(program, {"do": "session.state = [1]"}, session=Session("key"))
    assert outcome.failure is not None
    assert outcome.failure.exception == "TypeError"


@pytest.mark.parametrize("what", ["session.state", "session.id", "session.state = {}"])
def test_outside_a_session_it_is_told_so(program: LoadedProgram, what: str) -> None:
    told = failure(program, do=what)
    assert told.exception == "RuntimeError"
    assert told.message is not None
    assert "no session" in told.message


def test_a_session_ends_with_its_execution(program: LoadedProgram) -> None:
    run(program, Session("key"), "pass")
    with pytest.raises(RuntimeError):
        _ = session_module.state


def test_the_state_is_not_there_while_a_module_is_imported(tmp_path: Path) -> None:
    told = refused(
        tmp_path, "from anypod import session\nsession.state['x'] = 1\ndef main(): ...\n"
    )
    assert told.exception == "RuntimeError"


@pytest.mark.parametrize(
    ("parameter", "without"),
    [
        ("session=None", None),
        ("session: Session | None = None", None),
        ("session: 'Session' = None", None),
        ("session: Optional[Session] = None", None),
        ("*, session=None", None),
        ("session=None, /", None),
    ],
)
def test_a_default_says_what_it_is_without_a_session(
    tmp_path: Path, parameter: str, without: Any
) -> None:
    source = (
        "from typing import Optional\nfrom anypod.session import Session\n"
        f"def main({parameter}):\n    return session and session.id\n"
    )
    program = loaded(tmp_path, source)
    assert answer(program) is without
    assert executed(program, session=Session("key")).outputs == b'"key"'
    assert failure(program, session="x").type == "invalid-inputs"


@pytest.mark.parametrize(
    "parameter",
    [
        "session, a",
        "session: Session, a",
        "a, *, session: 'Session'",
        "session, /, a",
        "session, a: int",
        "session: 'Unknown.Session', a",
        "a, session, **others",
    ],
)
def test_the_parameter_is_recognised_in_every_form(tmp_path: Path, parameter: str) -> None:
    source = f"from anypod.session import Session\ndef main({parameter}):\n    return session.id\n"
    program = loaded(tmp_path, source)
    assert executed(program, {"a": 1}, session=Session("key")).outputs == b'"key"'
    told = failure(program, a=1, session="x")
    assert told.type == "invalid-inputs"
    assert told.path == "inputs.session"


@pytest.mark.parametrize("annotation", ["str", "dict", "int | str"])
def test_a_parameter_of_another_type_is_an_input(tmp_path: Path, annotation: str) -> None:
    program = loaded(tmp_path, f"def main(session: {annotation}):\n    return session\n")
    value: Any = {} if annotation == "dict" else "mine"
    assert answer(program, session=value) == value
    outcome = executed(program, {"session": value}, session=Session("key"))
    assert outcome.outputs == json.dumps(value).encode()


def test_what_is_bound_to_a_loop_lives_from_call_to_call(tmp_path: Path) -> None:
    source = """
        import asyncio
        QUEUE = asyncio.Queue()
        TASKS = []
        async def work():
            n = 0
            while True:
                item = await QUEUE.get()
                n += item
                QUEUE.task_done()
                LOOPS.append(asyncio.get_running_loop())
                TOTAL[0] = n
        TOTAL, LOOPS = [0], []
        async def main(x):
            if not TASKS:
                TASKS.append(asyncio.create_task(work()))
            LOOPS.append(asyncio.get_running_loop())
            await QUEUE.put(x)
            await QUEUE.join()
            return TOTAL[0], len(set(LOOPS))
    """

    def body(baseline: Baseline) -> list[bytes | None]:
        program, session = loaded(tmp_path, source), Session("key")
        found = []
        for n in (1, 2, 3):
            found.append(executed(program, {"x": n}, session=session).outputs)
            assert baseline.restore_session()
        return found

    assert in_executor(body).value == [b"[1,1]", b"[3,1]", b"[6,1]"]


def test_a_session_keeps_its_context_variables_as_it_keeps_globals(tmp_path: Path) -> None:
    source = """
        from contextvars import ContextVar
        VAR = ContextVar("VAR", default=0)
        def main():
            VAR.set(VAR.get() + 1)
            return VAR.get()
    """
    program, session = loaded(tmp_path, source), Session("key")
    found = [executed(program, session=each).outputs for each in (session, session, None)]
    assert found == [b"1", b"2", b"1"]


def test_a_stream_may_change_the_state(tmp_path: Path) -> None:
    source = """
        def main(session):
            for n in range(3):
                session.state["n"] = n
                yield n
    """
    chunks: list[bytes] = []
    outcome = executed(loaded(tmp_path, source), emit=chunks.append, session=Session("key"))
    assert chunks == [b"0", b"1", b"2"]
    assert outcome.state == b'{"n":2}'
