"""Pools as the operator's pure parts take them."""

from typing import Any

from anypod.resources.workerpool import API_VERSION, KIND
from anypod_operator.pools import Pool, parse
from anypod_operator.settings import Settings

SETTINGS = Settings(worker_image="anypod-worker:1", link_key="a key", home="anypod-system")


def make_pool(**spec: Any) -> Pool:
    return parse(
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": "texts", "namespace": "team", "uid": "u-1", "generation": 3},
            "spec": spec,
        }
    )
