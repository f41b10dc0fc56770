"""What the HTTP side asks the running side for, and what it gets back.

``anypod_gateway.dispatch.Dispatcher`` answers these; handlers know nothing of links or workers.
Structs, because making one costs a fifth of a frozen dataclass, and each call makes three.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from anypod.api.problems import AnyPodError
from anypod.dspy.spec import LmChoice
from anypod.wire.messages import PYTHON, Checked, Chunk, Code, Log, Output, Progress, Usage


class ExecutionRequest(msgspec.Struct, frozen=True):
    execution: str
    program: str
    """Empty for an inline program."""
    revision: str
    code: Callable[[], Awaitable[Code]]
    """Fetches the code, for a worker that lacks the revision; may raise AnyPodError."""
    inputs: bytes
    deadline: float
    """By the loop's clock (``loop.time()``)."""
    idempotent: bool = False
    kind: str = PYTHON
    """Of its program."""
    logs: bool = False
    session: str | None = None
    lm: LmChoice | None = None
    shows_replies: bool = True
    """The caller may see what an LM said that could not be used."""
    concurrency: int = 1
    """How many executions of the revision may share an executor, as its program says."""
    holds: Callable[[], bool] | None = None
    """Asked right before each time that it is sent: whether it still may begin."""
    on_progress: Callable[[Progress], None] | None = None
    """Hears what the program says of itself."""
    on_end: Callable[[Usage | None], None] | None = None
    """Hears that nothing of it runs at a worker any more, and what was asked of an LM; also when
    nobody waits for the answer any more."""


class ExecutionInfo(msgspec.Struct, frozen=True):
    """How an execution went: members of the answer, its headers and its problem document."""

    execution: str
    program: str
    revision: str
    worker: str
    attempt: int
    queue_seconds: float
    run_seconds: float
    session: str | None = None


class ExecutionAnswer(msgspec.Struct, frozen=True):
    outputs: bytes
    """JSON."""
    info: ExecutionInfo
    printed: Output | None = None
    usage: Usage | None = None


StreamEvent = Chunk | Log | ExecutionAnswer


class ToldLost(AnyPodError):
    """A worker says itself that it lost an execution: nothing of that runs any more."""


class Runner(Protocol):
    """Runs executions on the workers of one pool. Failures are raised as AnyPodError, with the
    members execution, program, revision, worker and attempt as far as they are known."""

    async def run(self, request: ExecutionRequest) -> ExecutionAnswer:
        """Cancelling the call cancels the execution on its worker."""
        ...

    def stream(self, request: ExecutionRequest) -> AsyncIterator[StreamEvent]:
        """Chunks and logs as they come, and last the answer. The consumer's pace is the
        program's: nothing is read ahead beyond ``wire.messages.WINDOW``. Closing the iterator
        cancels the execution."""
        ...

    async def check(self, revision: str, code: Code, deadline: float) -> Checked:
        """Compile and import a program on some worker."""
        ...
