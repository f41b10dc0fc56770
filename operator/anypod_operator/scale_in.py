"""Which workers a scale-in takes: told to the ReplicaSet by the annotation ``pod-deletion-cost``.

Written once, in the moment before the Deployment gets fewer replicas, and not all the time: every
write wakes each watcher of pods, and an old cost is worse than none.
"""

import asyncio
from collections.abc import Callable

from anypod_operator.api import Api
from anypod_operator.api_errors import ApiError, NotFound
from anypod_operator.diagnosis import is_ready
from anypod_operator.kinds import POD, Raw
from anypod_operator.loads import AT_ONCE, Loads, deletion_cost
from anypod_operator.pools import Pool, PoolKey
from anypod_operator.status import Load
from anypod_operator.world import World

COST = "controller.kubernetes.io/pod-deletion-cost"
WRITES_AT_ONCE = 16


class ScaleIn:
    def __init__(
        self,
        api: Api,
        world: World,
        loads: Loads,
        known: Callable[[PoolKey], dict[str, Load]],
    ) -> None:
        """``known``: what workers have said before, for those that do not answer now."""
        self._known = known
        self._api = api
        self._world = world
        self._loads = loads

    async def prepare(self, pool: Pool, deployment: Raw) -> bool:
        """Whether some workers go and some stay. A cost that cannot be written does not hold it
        up."""
        if not 0 < pool.spec.replicas < deployment["spec"]["replicas"]:
            return False
        key = pool.owner.key
        pods = [pod for pod in self._world.pods(key) if is_ready(pod)]
        loads = self._known(key) | await self._loads.ask(pods, asyncio.Semaphore(AT_ONCE))
        room = asyncio.Semaphore(WRITES_AT_ONCE)
        await asyncio.gather(
            *(
                self._write(room, pod, deletion_cost(loads.get(pod["metadata"]["name"])))
                for pod in pods
            )
        )
        return True

    async def _write(self, room: asyncio.Semaphore, pod: Raw, cost: int) -> None:
        metadata = pod["metadata"]
        if metadata.get("annotations", {}).get(COST, "0") == str(cost):
            return
        body = {"metadata": {"annotations": {COST: str(cost)}}}
        try:
            async with room:
                await self._api.merge(POD, metadata["namespace"], metadata["name"], body)
        except NotFound:
            self._world.lost(POD, metadata["namespace"], metadata["name"])
        except ApiError:
            return
