"""Programs as clients send and get them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from anypod.api.documents import AnswerModel, Listing, RequestModel
from anypod.api.ids import ProgramId, RevisionPrefix
from anypod.wire import unpaired
from anypod.wire.messages import Code

FILE_PATH = r"^[A-Za-z0-9_][A-Za-z0-9_. -]*(/[A-Za-z0-9_][A-Za-z0-9_. -]*)*$"
"""Relative and POSIX; no part begins with a dot, so none is ``..`` or hidden."""
ENTRYPOINT = r"^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:)?[A-Za-z_][A-Za-z0-9_]*$"
LABEL_KEY = r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,98}[A-Za-z0-9])?$"

MAIN_FILE = "main.py"
DEFAULT_ENTRYPOINT = "main:main"


def _encodable(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"has an unpaired surrogate at character {error.start}") from None
    return text


def _sendable(value: Any) -> Any:
    place = unpaired.place_in(value, "")
    if place is not None:
        raise ValueError(f"has an unpaired surrogate{place and ' at '}{place.removeprefix('.')}")
    return value


def _only(field: str) -> JsonDict:
    return {"required": [field], "properties": {field: {"not": {"type": "null"}}}}


Text = Annotated[str, AfterValidator(_encodable)]
Sendable = Annotated[Any, AfterValidator(_sendable)]
"""Any value of JSON that can be written without escapes."""
FilePath = Annotated[str, StringConstraints(pattern=FILE_PATH, max_length=255)]
Entrypoint = Annotated[str, StringConstraints(pattern=ENTRYPOINT, max_length=255)]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY)]
LabelValue = Annotated[Text, StringConstraints(max_length=256)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=64)]
MAX_CONCURRENCY = 1000
Concurrency = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]
# The longest is not checked here, where nobody knows how much less the pool allows.
TimeoutSeconds = Annotated[
    float, Field(gt=0, allow_inf_nan=False, json_schema_extra={"maximum": 86_400})
]


class ProgramCode(RequestModel):
    """What is run, and how: the part of a program that its revision names."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_only("source"), _only("files")]})

    kind: Literal["python"] = "python"
    source: Text | None = Field(None, description="The text of `main.py`; or give `files`.")
    files: Annotated[dict[FilePath, Text], Field(min_length=1, max_length=1000)] | None = Field(
        None, description="Relative POSIX path to text; or give `source`."
    )
    entrypoint: Entrypoint | None = Field(
        None,
        description="`function` of `main`, or `package.module:function`. Default `main:main`.",
    )
    timeout_seconds: TimeoutSeconds | None = Field(
        None, description="Of an execution that does not say another; else the pool's."
    )
    idempotent: bool = Field(
        False, description="Running it twice does no harm: it is run again if a worker is lost."
    )
    concurrency: Concurrency = Field(
        1,
        description="Executions that may run in one executor at once. More than 1 is for `async "
        "def` functions and async generators that mostly wait.",
    )

    @model_validator(mode="after")
    def _source_or_files(self) -> "ProgramCode":
        if (self.source is None) == (self.files is None):
            raise ValueError("give either source or files")
        for path in self.files or ():
            parts = path.split("/")
            for end in range(1, len(parts)):
                if "/".join(parts[:end]) in (self.files or ()):
                    raise ValueError(f"{'/'.join(parts[:end])!r} is a file and a folder in files")
        return self

    def all_files(self) -> dict[str, str]:
        return dict(self.files) if self.files is not None else {MAIN_FILE: self.source or ""}

    def full_entrypoint(self) -> str:
        """``module:function``."""
        entrypoint = self.entrypoint or DEFAULT_ENTRYPOINT
        return entrypoint if ":" in entrypoint else f"main:{entrypoint}"

    def code(self) -> Code:
        return Code(self.kind, self.all_files(), self.full_entrypoint())


class PutProgram(ProgramCode):
    """A new revision of a program, or a new program under the id of the path."""

    labels: Labels | None = Field(None, description="Replace the program's labels when given.")


class CreateProgram(PutProgram):
    """A new program."""

    id: ProgramId | None = Field(None, description="Made up when absent.")


class Rollback(RequestModel):
    """Which revision a program goes back to."""

    revision: RevisionPrefix | None = Field(
        None, description="At least 8 digits of it; when absent, the one before the latest."
    )


class ProgramSummary(AnswerModel):
    """A program as lists show it: without its files, doc and schemas."""

    id: str
    pool: str
    kind: str
    revision: str
    entrypoint: str
    timeout_seconds: float | None
    idempotent: bool
    concurrency: int = 1
    """Executions that may run in one executor at once."""
    labels: dict[str, str]
    created_at: datetime
    updated_at: datetime
    streams: bool
    """The entry function is a generator."""
    session: str | None = None
    """The session that owns it."""


class ProgramDocument(ProgramSummary):
    """A program, as its latest revision has it."""

    files: dict[str, str]
    """Of kind python; of another kind there are none."""
    definition: dict[str, Any] | None = None
    """Of kind dspy: what was given, in its canonical form; with ``kind`` it can be given again."""
    doc: str | None
    """The entry function's docstring; of kind dspy, the instructions."""
    inputs_schema: dict[str, Any] | None
    outputs_schema: Any
    """JSON schema; null when the annotations say nothing."""


class RevisionOrigin(AnswerModel):
    """Of a revision that an optimisation found."""

    parent: str
    """The revision that was optimised."""
    job: str
    optimizer: str
    metric: str
    """Its name, or `source`."""
    before: float
    """The parent's score."""
    after: float


class RevisionDocument(AnswerModel):
    """One revision of a program."""

    revision: str
    created_at: datetime
    latest: bool
    origin: RevisionOrigin | None = None
    """Null for one that a client gave."""


class ProgramList(Listing[ProgramSummary]):
    """Programs in the order of their ids."""


class RevisionList(Listing[RevisionDocument]):
    """A program's revisions, the latest first."""
