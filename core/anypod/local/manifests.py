"""Pool manifests from YAML, with errors that say which field is wrong and what it may be."""

from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import ValidationError

from anypod.resources.workerpool import API_VERSION, KIND, WorkerPool


class InvalidManifest(Exception):
    """``str()`` is for the person who wrote the file."""


def read(path: Path) -> list[WorkerPool]:
    """All WorkerPools of a file; other kinds in it are refused. Raises InvalidManifest."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifest(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise InvalidManifest(f"{path} is not YAML: {error}") from None
    pools = [_pool(path, number, one) for number, one in enumerate(documents, 1) if one is not None]
    names = [pool.metadata.name for pool in pools]
    for name in names:
        if names.count(name) > 1:
            raise InvalidManifest(f"{path} has two pools of the name {name!r}")
    if not pools:
        raise InvalidManifest(f"{path} holds no {KIND}")
    return pools


def _pool(path: Path, number: int, document: object) -> WorkerPool:
    try:
        return WorkerPool.model_validate(document)
    except ValidationError as error:
        told = "\n".join(_lines(error))
        raise InvalidManifest(f"{path}, document {number} is not a {KIND}:\n{told}") from None


def _lines(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False, include_context=False):
        where = ".".join(map(str, one["loc"])) or "the document"
        yield f"  {where}: {one['msg']}"


def default_pool() -> WorkerPool:
    return WorkerPool.model_validate(
        {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "default"}}
    )


def changed(
    pool: WorkerPool, *, workers: int | None, executors: int | None, preload: list[str]
) -> WorkerPool:
    """The pool with what the command line says in its place. Raises InvalidManifest."""
    spec = pool.spec.model_dump(by_alias=True)
    if workers is not None:
        spec["replicas"] = workers
    if executors is not None:
        spec["executors"] = executors
    if preload:
        spec["preload"] = preload
    try:
        return WorkerPool.model_validate({**pool.model_dump(by_alias=True), "spec": spec})
    except ValidationError as error:
        raise InvalidManifest("\n".join(_lines(error))) from None
