"""A WorkerPool as the API server has it, whose custom resource may be newer than we are.

The server keeps no field that the custom resource has not, and fills in what has a default. So a
field that is not known here has come with a newer version, and in an upgrade there is always a
moment between the custom resource's and ours.
"""

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from anypod.resources.workerpool import WorkerPool

Way = tuple[int | str, ...]


def read(raw: Mapping[str, Any]) -> tuple[WorkerPool, tuple[str, ...]]:
    """The manifest, and the fields of it that are not known here. Raises ValidationError."""
    document = {
        "apiVersion": raw["apiVersion"],
        "kind": raw["kind"],
        "metadata": {"name": raw["metadata"]["name"]},
        "spec": raw.get("spec") or {},
    }
    try:
        return WorkerPool.model_validate(document), ()
    except ValidationError as invalid:
        unknown = [each["loc"] for each in invalid.errors() if each["type"] == "extra_forbidden"]
        if not unknown:
            raise
    fields = tuple(".".join(map(str, way)) for way in unknown)
    return WorkerPool.model_validate(_without(document, unknown)), fields


def _without(document: dict[str, Any], ways: list[Way]) -> dict[str, Any]:
    left = copy.deepcopy(document)
    for *way, name in ways:
        inner: Any = left
        for step in way:
            inner = inner[step]
        del inner[name]
    return left
