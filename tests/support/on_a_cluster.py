"""Where jobs and keyed calls are reckoned up: a release on a cluster, called through its Service.

Callers and the log are pods that nobody kills.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import Pod
from tests.support import insistent, side_effects, witness
from tests.support.breaking import What
from tests.support.insistent import ALL_FINAL_WITHIN, Account, Load
from tests.support.installed import Release
from tests.support.side_effects import TO_A_WITNESS, SideEffects
from tests.support.standing import kill, look, restarts, until
from tests.support.strangers import end_of, in_a_pod, start

WITNESS = "witness"
PORT = 8080
REACHES_IT = {"podSelector": {"matchLabels": {"app": WITNESS}}}
"""For the pool's ``network.peers``."""


@dataclass
class ReleaseGround:
    release: Release
    log: str

    async def ask(self, load: Load, seed: int, seconds: float) -> Account:
        release = self.release
        url = f"http://{release.name}-gateway.{release.namespace}.svc/v1/pools/default"
        told = await asyncio.to_thread(
            in_a_pod,
            release,
            "insistent",
            Path(insistent.__file__).read_text(),
            patience=3 * seconds + ALL_FINAL_WITHIN,
            URL=url,
            ANYPOD_API_KEY=release.secret(f"{release.name}-api-keys")["admin"],
            LOG=self.log,
            JOBS=str(load.jobs),
            CALLS=str(load.calls),
            SEED=str(seed),
            SECONDS=str(seconds),
        )
        return Account(**json.loads(told))

    async def kill(self, what: What, chance: random.Random) -> None:
        await asyncio.to_thread(self._kill, what, chance)

    def _kill(self, what: What, chance: random.Random) -> None:
        """Whose container has died before would come back late, so its pod is replaced at once;
        etcd's has what it stores."""
        now = look(self.release)
        name = chance.choice(sorted(now.ready(what)))
        if what == "etcd" or not restarts(now.of(what)[name]):
            kill(self.release, what, name)
            return
        self.release.cluster.faults.kill_process(Pod(self.release.namespace, name))
        self.release.kubectl("delete", "pod", name, "--wait=false")
        wanted = len(now.ready(what))
        until(
            self.release,
            lambda there: len(there.ready(what) - {name}) == wanted,
            f"another {what} than {name}",
        )

    async def told(self) -> SideEffects:
        return side_effects.read(await asyncio.to_thread(end_of, self.release, WITNESS))


@asynccontextmanager
async def release_ground(release: Release) -> AsyncIterator[ReleaseGround]:
    """Its pool lets programs reach the witness."""
    script = Path(witness.__file__).read_text()
    await asyncio.to_thread(start, release, WITNESS, script, PORT=str(PORT))
    try:
        address = release.get(f"pod/{WITNESS}")["status"]["podIP"]
        async with release.calling() as gateway:
            await gateway.create(TO_A_WITNESS, "once")
            await gateway.create(TO_A_WITNESS + "# again", "again", idempotent=True)
        yield ReleaseGround(release, f"{address}:{PORT}")
    finally:
        await asyncio.to_thread(release.kubectl, "delete", "pod", WITNESS, "--wait=false")
