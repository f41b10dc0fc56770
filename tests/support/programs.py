"""Programs as tests write them: source in, what the runtime makes of it out."""

import itertools
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anypod.session import Session
from anypod.wire.messages import Code, Failure
from anypod_worker.runtime.loading import InvalidProgram, LoadedProgram, load
from anypod_worker.runtime.running import Outcome, run

LIMIT = 1_000_000
_revisions = itertools.count()


def code(source: str, entrypoint: str = "main:main") -> Code:
    return Code(kind="python", files={"main.py": textwrap.dedent(source)}, entrypoint=entrypoint)


def loaded(directory: Path, source: str, entrypoint: str = "main:main") -> LoadedProgram:
    return load(code(source, entrypoint), f"{next(_revisions):064x}", directory)


def loaded_files(directory: Path, entrypoint: str, /, **files: str) -> LoadedProgram:
    """Keyword ``pkg__mod`` is the file ``pkg/mod.py``."""
    paths = {f"{name.replace('__', '/')}.py": textwrap.dedent(text) for name, text in files.items()}
    return load(Code("python", paths, entrypoint), f"{next(_revisions):064x}", directory)


def refused(directory: Path, source: str, entrypoint: str = "main:main") -> Failure:
    """Why this program cannot be loaded."""
    try:
        loaded(directory, source, entrypoint).close()
    except InvalidProgram as error:
        return error.failure
    raise AssertionError("the program was accepted")


def executed(
    program: LoadedProgram,
    inputs: dict[str, Any] | bytes | None = None,
    *,
    emit: Callable[[bytes], None] | None = None,
    session: Session | None = None,
    limit: int = LIMIT,
) -> Outcome:
    """Streamed if ``emit`` is given."""
    data = inputs if isinstance(inputs, bytes) else json.dumps(inputs or {}).encode()
    return run(
        program,
        data,
        stream=emit is not None,
        emit=emit or _unexpected,
        session=session,
        output_limit=limit,
    )


def _unexpected(data: bytes) -> None:
    raise AssertionError(f"emitted without a stream: {data!r}")


def answer(program: LoadedProgram, /, **inputs: Any) -> Any:
    """The outputs, parsed; fails if there are none."""
    outcome = executed(program, inputs)
    assert outcome.failure is None, outcome.failure
    assert outcome.outputs is not None
    return json.loads(outcome.outputs)


def failure(program: LoadedProgram, /, **inputs: Any) -> Failure:
    outcome = executed(program, inputs)
    assert outcome.failure is not None, outcome.outputs
    assert outcome.outputs is None
    return outcome.failure
