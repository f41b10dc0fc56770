"""Conversations: a session keeps them in its durable state, under the name of the History input."""

from typing import Any

import dspy

from anypod.dspy.spec import Spec
from anypod.session import Session
from anypod.wire import unpaired
from anypod_worker.runtime.inputs import refused


def filled(
    document: Spec, field: str, values: dict[str, Any], session: Session | None
) -> dict[str, Any]:
    """The inputs with the conversation so far. Raises Rejected."""
    if not field:
        return values
    messages = values[field]
    if session is not None:
        if messages:
            detail = "the session keeps the conversation: do not give it"
            raise refused(f"inputs.{field}", detail)
        messages = _turns(session, field)
    fields = {one.name for one in (*document.signature.inputs, *document.signature.outputs)}
    known = [
        {name: value for name, value in message.items() if name in fields}
        for message in messages
        if isinstance(message, dict)
    ]
    shown = known[-document.history_turns :] if document.history_turns else []
    return {**values, field: dspy.History(messages=shown)}


def kept(
    document: Spec,
    field: str,
    values: dict[str, Any],
    outputs: dict[str, Any],
    session: Session | None,
) -> None:
    """Add this turn to the session's state."""
    if not field or session is None:
        return
    names = {one.name for one in document.signature.outputs}
    turn = {
        **{name: value for name, value in values.items() if name != field},
        **{name: value for name, value in outputs.items() if name in names},
    }
    turns = [*_turns(session, field), turn]
    session.state[field] = turns[-document.history_turns :] if document.history_turns else []


def _turns(session: Session, field: str) -> list[Any]:
    """What the state has under that name, which a program of kind python may have put there; and an
    LM may have said what no LM can be told again."""
    found = session.state.get(field)
    if not isinstance(found, list):
        return []
    return found if unpaired.place_in(found, field) is None else unpaired.repaired(found)
