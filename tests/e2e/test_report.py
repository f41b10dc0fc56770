"""The report of a failure has what was said by those who are gone by then."""

import asyncio
from pathlib import Path

import pytest
from tests.cluster import images
from tests.support.happenings import Happenings
from tests.support.in_cluster import Object, Place

pytestmark = pytest.mark.timeout(3600)  # the first run on a machine builds Kubernetes


def pod(place: Place, name: str, code: str, *, first: str | None = None) -> Object:
    """``first`` is what an init container does."""
    names = place.cluster.images

    def container(name: str, code: str) -> Object:
        return {
            "name": name,
            "image": names.of(images.WORKER),
            "imagePullPolicy": names.pull_policy,
            "command": ["python", "-u", "-c", code],
        }

    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "initContainers": [] if first is None else [container("first", first)],
            "containers": [container("main", code)],
            "terminationGracePeriodSeconds": 0,
        },
    }


async def test_what_init_containers_said_is_in_the_report(place: Place, tmp_path: Path) -> None:
    with Happenings(place.cluster, place.namespace, tmp_path / "written") as happenings:
        await place.apply(
            pod(place, "refused", "pass", first="import sys; sys.exit('not ' + 'yet')")
        )
        async with asyncio.timeout(120):
            while not any(
                title.startswith("log of refused first") and "not yet" in text
                for title, text in await asyncio.to_thread(happenings.told)
            ):
                await asyncio.sleep(0.2)


async def test_replaced_containers_and_deleted_pods_are_in_the_report(
    place: Place, tmp_path: Path
) -> None:
    with Happenings(place.cluster, place.namespace, tmp_path / "written") as happenings:

        async def until_told(*wanted: str) -> list[tuple[str, str]]:
            async with asyncio.timeout(120):
                while True:
                    told = await asyncio.to_thread(happenings.told)
                    if all(any(words in text for _, text in told) for words in wanted):
                        return told
                    await asyncio.sleep(0.2)

        await place.apply(
            pod(place, "restarted", "import time; print('I was', 'here'); time.sleep(1); exit(1)"),
            pod(place, "deleted", "import time; print('and', 'I, too'); time.sleep(3600)"),
        )
        await until_told("I was here", "and I, too", "Started")
        await place.kubectl("delete", "pod", "deleted", "--now")

        async def lives() -> int:
            told = await until_told("I was here", "and I, too")
            return sum(title.startswith("log of restarted") for title, _ in told)

        async with asyncio.timeout(120):
            while await lives() < 2:
                await asyncio.sleep(0.2)
