"""Conversations: a session keeps them in its durable state, under the name of the History input."""

from typing import Any

import dspy
from dspy.adapters import base
from pydantic import BaseModel, ValidationError

from anypod.dspy import values as json_values
from anypod.dspy.spec import Spec
from anypod.session import Session
from anypod.wire import unpaired
from anypod_worker.kinds.dspy import types
from anypod_worker.runtime import outputs as runtime_outputs
from anypod_worker.runtime.inputs import refused
from anypod_worker.runtime.running import STATE_LIMIT

_MOST = 512 * 1024
"""Bytes of a conversation that a session keeps, as JSON: some images, or more words than most LMs
read at once."""
_MOST_OF_STATE = STATE_LIMIT - 64 * 1024
"""Bytes of a state that a conversation may fill: what else is in it may grow."""


def filled(
    document: Spec,
    field: str,
    values: dict[str, Any],
    session: Session | None,
    turn: type[BaseModel] | None = None,
) -> dict[str, Any]:
    """The inputs with the conversation so far; turns that a session keeps are read as ``turn``.
    Raises Rejected."""
    if not field:
        return values
    turns = values[field]
    if session is not None and turn is not None:
        if turns:
            detail = "the session keeps the conversation: do not give it"
            raise refused(f"inputs.{field}", detail)
        turns = _read(_turns(session, field), turn)
    known = [one for one in turns if one]
    shown = known[-document.history_turns :] if document.history_turns else []
    return {**values, field: dspy.History(messages=shown)}


def _read(turns: list[Any], turn: type[BaseModel]) -> list[dict[str, Any]]:
    """Those that fit: the program's types may have been others when a turn was kept."""
    found = []
    for one in turns:
        try:
            found.append(types.said(turn.model_validate(one)))
        except ValidationError:
            continue
    return found


def kept(
    document: Spec,
    field: str,
    values: dict[str, Any],
    outputs: dict[str, Any],
    session: Session | None,
) -> None:
    """Add this turn to the session's state. The oldest go for want of place: a state that is too
    large would fail this run, which is paid, and all that follow."""
    if not field or session is None:
        return
    names = {one.name for one in document.signature.outputs}
    turn = {
        **{name: json_values.as_json(value) for name, value in values.items() if name != field},
        **{name: value for name, value in outputs.items() if name in names},
    }
    turns = [*_turns(session, field), turn]
    turns = turns[-document.history_turns :] if document.history_turns else []
    while turns and not _has_place({**session.state, field: turns}, field):
        del turns[0]
    session.state[field] = turns


def _has_place(state: dict[str, Any], field: str) -> bool:
    return _is_within(_MOST, state[field]) and _is_within(_MOST_OF_STATE, state)


def _is_within(limit: int, value: Any) -> bool:
    """What is no JSON is told when the state is written."""
    try:
        runtime_outputs.encode(value, limit=limit)
    except runtime_outputs.BadOutput as bad:
        return bad.failure.type != "output-too-large"
    return True


def _turns(session: Session, field: str) -> list[Any]:
    """What the state has under that name, which a program of kind python may have put there; and an
    LM may have said what no LM can be told again."""
    found = session.state.get(field)
    if not isinstance(found, list):
        return []
    return found if unpaired.place_in(found, field) is None else unpaired.repaired(found)


def use() -> None:
    """Have DSPy take no value of a turn for calls of a provider's tools, which programs have not;
    once more changes nothing."""
    base._tool_calls_from_message = lambda _: (None, None)  # noqa: SLF001 - nothing public says so
