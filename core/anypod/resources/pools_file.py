"""The file that tells gateways outside Kubernetes which pools and workers there are.

Local mode writes it; a gateway started with ``--pools-file`` reads it again whenever it changes.
Writers replace it by a rename, so a reader never sees half of it.
"""

import os
from pathlib import Path

from pydantic import Field

from anypod.resources.fields import Model
from anypod.resources.workerpool import WorkerPool


class WorkerEndpoint(Model):
    name: str
    host: str
    port: int
    ready: bool
    """What the worker's ``/readyz`` last said; a gateway routes to no other."""
    terminating: bool = False


class PoolEntry(Model):
    pool: WorkerPool
    workers: list[WorkerEndpoint] = Field(default_factory=list)
    message: str = ""
    """What is wrong with the pool as a whole, for people: a preload that cannot be imported."""


class PoolsFile(Model):
    pools: list[PoolEntry] = Field(default_factory=list)


def write(path: Path, content: PoolsFile) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(content.model_dump_json(by_alias=True))
    draft.replace(path)


def read(path: Path) -> PoolsFile:
    """Raises OSError, or pydantic's ValidationError for a file that is not one of ours."""
    return PoolsFile.model_validate_json(path.read_bytes())
