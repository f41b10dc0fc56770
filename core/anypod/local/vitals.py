"""Following one process: is it ready, and has it gone silent for so long that it must be wedged?"""

import asyncio
from collections.abc import Callable

from anypod.local import probes
from anypod.local.probes import Health
from anypod.local.settings import Timing


async def follow(
    address: tuple[str, int],
    timing: Timing,
    on_health: Callable[[Health], None],
    on_wedged: Callable[[], None],
) -> None:
    """Asks ``/readyz`` again and again; returns after ``on_wedged``, which ends the process."""
    loop = asyncio.get_running_loop()
    began, silent, heard, ready = loop.time(), 0, False, False
    while True:
        try:
            health = await probes.ask(*address, "/readyz", timing.probe)
            silent, heard = 0, True
        except probes.NoAnswer:
            health = probes.SILENT
            silent += 1
        if heard:
            on_health(health)
            ready = health.ready
        if silent >= timing.silent_probes and (heard or loop.time() - began > timing.first_answer):
            on_wedged()
            return
        await asyncio.sleep(timing.between if ready else timing.between_starting)
