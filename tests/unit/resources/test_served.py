"""WorkerPools of an API server whose custom resource is of another version."""

from typing import Any

import pytest
from pydantic import ValidationError

from anypod.resources import served


def test_a_manifest_of_another_version_is_an_error() -> None:
    with pytest.raises(ValidationError):
        served.read({"apiVersion": "x/v2", "kind": "WorkerPool", "metadata": {"name": "p"}})


def manifest(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "anypod.dev/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "p"},
        "spec": spec,
    }


def test_what_a_newer_version_has_added_is_left_out_and_named() -> None:
    """The API server fills it in with its default as soon as the custom resource has it."""
    lm = {"name": "fast", "model": "openai/x"}
    newer = manifest(
        executors=3, later={"a": 1}, queue={"depth": 7, "later": 1}, lms=[lm, {**lm, "later": [2]}]
    )
    newer["spec"]["lms"][1]["name"] = "slow"
    found, unknown = served.read(newer)
    older = manifest(executors=3, queue={"depth": 7}, lms=[lm, {**lm, "name": "slow"}])
    assert (found, ()) == served.read(older)
    assert unknown == ("spec.queue.later", "spec.lms.1.later", "spec.later")
    assert newer["spec"]["later"] == {"a": 1}, "what the API server said is left as it is"


def test_what_it_knows_must_be_right_beside_what_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="executors"):
        served.read(manifest(executors=0, later=1))
