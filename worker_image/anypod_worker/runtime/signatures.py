"""What an entry function takes and gives, by its signature and annotations."""

from typing import NamedTuple

from anypod_worker.runtime.loading import LoadedProgram


class Description(NamedTuple):
    inputs_schema: bytes
    outputs_schema: bytes
    doc: str | None
    streams: bool


def describe(program: LoadedProgram) -> Description:
    """JSON schemas of inputs and outputs. Raises InvalidProgram for annotations without a way from
    JSON."""
    raise NotImplementedError
