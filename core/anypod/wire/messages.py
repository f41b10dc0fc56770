"""The messages of the link between one gateway and one worker.

One WebSocket message is a MessagePack array of the messages below, in the order in which they
were sent (``anypod.wire.codec``): what one turn of the sender's loop produces travels together.

``inputs``, ``outputs``, chunks and session state are JSON as bytes and stay so between the HTTP
body and the executor; nobody on the way parses them.

Conversations, by the ``id`` of an execution:

- ``Execute`` → (``NeedProgram`` → ``Program``)? → (``NeedState`` → ``SessionState``)?
  → (``Chunk`` | ``Log``)* → ``Result``. Or → ``Refused``, which promises that nothing ran.
- ``Check`` → ``Checked``.
- A ``Result`` that carries ``state`` is answered by ``Verdict`` once the store has decided; the
  worker starts no other execution of that session before.
- The worker may send at most ``WINDOW`` bytes of ``Chunk`` and ``Log`` beyond what ``Credit`` has
  given back, so a slow client slows its program down and fills nobody's memory.

Of no execution: ``StoreSeen`` → ``OthersSaw``, where the worker says ``hearsay`` in its hello.
"""

from typing import Annotated, Literal

import msgspec

from anypod.dspy.spec import LmChoice

PROTOCOL = 1
"""Raised when a change would not be understood by the other side; ends differ → close 4400."""

WINDOW = 256 * 1024
"""Bytes of stream that may be under way to a gateway for one execution."""


PROGRESS_SECONDS = 0.1
"""Between two words of how far a program is."""
PROGRESS_MESSAGE = 500
"""Characters of what is said beside the numbers."""

PYTHON = "python"
"""The kind of programs that all workers can run."""

AHEAD_PER_EXECUTOR = 8
"""Executions that a gateway may send beyond a worker's executors, and that the worker lets wait."""


MAX_EXECUTORS = 256
"""Of one worker."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""An image of a pool can say what it likes; it costs its own link."""
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Restarts = Annotated[dict[Reason, Count], msgspec.Meta(max_length=40)]
"""By reason, each of which becomes a label of a metric."""


class Message(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of all messages; the tag ``t`` is the wire's name of the kind."""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an execution or a check has no outputs; ``type`` is one of the problem types.

    The gateway makes the problem document of it: title and status are in ``anypod.api.problems``.
    """

    type: str
    detail: str
    exception: str | None = None
    """Class name of what the program raised, such as ``ValueError``."""
    message: str | None = None
    traceback: str | None = None
    """The program's own frames only, as Python prints them; bounded."""
    line: int | None = None
    """Line in the program's source, for ``invalid-program``."""
    path: str | None = None
    """Where in inputs or outputs, such as ``outputs.rows[3].score``."""
    errors: list[dict[str, str]] | None = None
    """For ``invalid-inputs``: one ``{"path", "message"}`` per refused field."""
    exit_code: int | None = None
    signal: str | None = None
    limit: int | None = None
    retry_after: int | None = None
    """Seconds, where an LM's provider asks for patience."""
    model_output: str | None = None
    """What an LM said that cannot be used; bounded, and only for callers who may see it."""


class Code(msgspec.Struct, frozen=True, omit_defaults=True):
    """What of a revision an executor needs: the files and where to enter."""

    kind: str
    files: dict[str, str]
    """Relative POSIX path → text. A program given as ``source`` is ``{"main.py": source}``."""
    entrypoint: str
    """``module:function``."""


class SessionRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which session an execution belongs to, and which of its lives the gateway believes in."""

    key: str
    epoch: int
    """Rises by one each time the session is pinned anew; a worker refuses an older one."""
    on_busy: Literal["queue", "fail"] = "queue"


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an execution asked of an LM, also when it failed."""

    lm: str
    """The name by which the pool declares it."""
    calls: int = 0
    """Attempts, those that the provider refused among them."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """In dollars, where the prices are known."""


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an execution printed, at most the pool's limit of it."""

    stdout: str = ""
    stderr: str = ""
    cut_bytes: int = 0
    """How many bytes were printed beyond the limit and dropped."""


# gateway → worker


class GatewayHello(Message, frozen=True, tag="gateway-hello"):
    gateway: str
    version: str
    protocol: int = PROTOCOL
    max_message_bytes: int = 0
    """That it takes. 0: it is of a version that does not say it."""


class Execute(Message, frozen=True, tag="execute"):
    id: str
    program: str
    """The program's id for messages and logs; empty for an inline program."""
    revision: str
    inputs: bytes
    """A JSON object."""
    timeout: float
    """Seconds from now; what the client's deadline leaves. Clocks are not compared."""
    attempt: int = 1
    stream: bool = False
    logs: bool = False
    """Return what the execution printed: in ``Result.printed``, or as ``Log`` when streaming."""
    session: SessionRef | None = None
    lm: LmChoice | None = None
    """What the caller or the session says of the LM, over what the program says."""
    group: str = ""
    """Executions of one group run in one executor, at once: the gateway that names it says how
    many that are, and counts them as one executor. Empty: it has an executor of its own."""
    progress: bool = False
    """Send what the program says of how far it is."""


class Program(Message, frozen=True, tag="program"):
    id: str
    """The execution that asked."""
    revision: str
    code: Code


class Check(Message, frozen=True, tag="check"):
    id: str
    revision: str
    code: Code
    timeout: float


class Cancel(Message, frozen=True, tag="cancel"):
    id: str


class Credit(Message, frozen=True, tag="credit"):
    id: str
    bytes: int


class SessionState(Message, frozen=True, tag="session-state"):
    id: str
    state: bytes
    """JSON object."""
    version: int
    """The store's version of the state; comes back as ``Result.base``."""


class Verdict(Message, frozen=True, tag="verdict"):
    """What the store said of the state in ``Result``: written as ``version``, or refused.

    Refused: another worker has the session; this one drops its executor of it.
    """

    session: str
    epoch: int
    committed: bool
    version: int = 0


class EndSession(Message, frozen=True, tag="end-session"):
    """The session ended, expired or moved: drop its executor if its epoch is not newer."""

    session: str
    epoch: int


class StoreSeen(Message, frozen=True, tag="store-seen"):
    """What the gateway knows of the store, for other gateways to hear of."""

    seconds: float
    """Since the store last answered it."""
    version: int
    """The last of the pool's ``changes`` that it knows of."""


# worker → gateway


class WorkerHello(Message, frozen=True, tag="worker-hello"):
    worker: str
    instance: str
    """New at every start of the worker's process: what lived in its memory is gone with it."""
    pool: str
    version: str
    executors: Annotated[int, msgspec.Meta(ge=0, le=MAX_EXECUTORS)]
    max_sessions: Count
    max_body_bytes: Count
    protocol: int = PROTOCOL
    groups: bool = False
    """It knows groups; one that does not would take an executor for each execution."""
    kinds: tuple[str, ...] = (PYTHON,)
    """Of programs that it can run."""
    hearsay: bool = False
    """It answers ``StoreSeen``."""
    max_message_bytes: int = 0
    """That it takes. 0: it is of a version that does not say it."""


class Load(Message, frozen=True, tag="load"):
    """How the worker is; sent after the hello, on change of readiness, and on change at most
    every 50 ms, so a gateway that shares the worker with others can place well."""

    ready: bool
    draining: bool
    busy: Count
    """Shared executors that run something, for any gateway."""
    idle: Count
    """Shared executors that could start something now."""
    sessions: Count
    busy_sessions: Count
    restarts: Restarts
    """Executors replaced since the worker started, by reason."""
    memory_bytes: Count = 0
    message: str = ""
    """Why it is not ready, for people."""
    running: Count = 0
    """Executions in shared executors: more than are busy, where some share one."""


class Saw(msgspec.Struct, frozen=True):
    """What another gateway has said of the store, with the seconds as they are now."""

    seconds: float
    version: int


class OthersSaw(Message, frozen=True, tag="others-saw"):
    """All that the worker has heard of the store from others than the gateway that it answers."""

    others: list[Saw]


class Draining(Message, frozen=True, tag="draining"):
    """The worker got its SIGTERM: place nothing here any more; what runs will be answered."""


class NeedProgram(Message, frozen=True, tag="need-program"):
    id: str
    revision: str


class NeedState(Message, frozen=True, tag="need-state"):
    id: str
    session: str
    epoch: int


class Refused(Message, frozen=True, tag="refused"):
    """Nothing of this execution ran, and nothing will: place it elsewhere, or tell the caller."""

    id: str
    reason: Literal[
        "full",
        "draining",
        "not-ready",
        "sessions-full",
        "session-busy",
        "session-queue-full",
        "stale-epoch",
    ]


class Chunk(Message, frozen=True, tag="chunk"):
    id: str
    data: bytes
    """One JSON value: what the generator yielded."""


class Progress(Message, frozen=True, tag="progress"):
    """What the program says of how far it is; at most one each PROGRESS_SECONDS."""

    id: str
    done: float
    total: float | None = None
    message: str = ""


class Log(Message, frozen=True, tag="log"):
    id: str
    stream: Literal["stdout", "stderr"]
    text: str


class Result(Message, frozen=True, tag="result"):
    """The end of an execution: ``failure``, or ``outputs`` (JSON; null after a generator's
    stream)."""

    id: str
    run_seconds: float
    """From the executor's start of the entry function to its end; 0 if it never started."""
    wait_seconds: float = 0.0
    """In the worker before that: for the session's turn, for the program, for a fork."""
    outputs: bytes | None = None
    failure: Failure | None = None
    printed: Output | None = None
    state: bytes | None = None
    """The session's new state, when the execution changed it."""
    base: int = 0
    """The store's version of the state that the execution began from."""
    usage: Usage | None = None


class Checked(Message, frozen=True, tag="checked"):
    id: str
    failure: Failure | None = None
    inputs_schema: bytes | None = None
    """JSON schema of the inputs object."""
    outputs_schema: bytes | None = None
    doc: str | None = None
    streams: bool = False
    """The entry function is a generator: its outputs are a list, or chunks when streamed."""
    waits: bool | None = None
    """It is a coroutine function or an async generator: many of it can run in one executor. None:
    the worker is of a version that does not look at that."""


ToWorker = (
    GatewayHello
    | Execute
    | Program
    | Check
    | Cancel
    | Credit
    | SessionState
    | Verdict
    | EndSession
    | StoreSeen
)
ToGateway = (
    WorkerHello
    | Load
    | OthersSaw
    | Draining
    | NeedProgram
    | NeedState
    | Refused
    | Chunk
    | Progress
    | Log
    | Result
    | Checked
)
