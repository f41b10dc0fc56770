"""A log outside of all that is killed: programs in pods tell it what they do, line by line.

A line is printed before it is acknowledged. A connection is open for as long as its run is at it:
it ends with the process, and the kernel says so before anybody else can notice. So a run that
begins while another one of its name has a connection is beside that.

Runs in a pod that has nothing of ours (``python -c`` with this file's text).
"""

import asyncio
import os
import signal
from collections import Counter

at_it: Counter[str] = Counter()


def tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201


async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    name = ""
    try:
        while line := (await reader.readline()).decode().strip():
            what, name, run = line.split(" ")
            if what == "begin":
                if at_it[name]:
                    tell(f"beside {name} {run}")
                at_it[name] += 1
            tell(line)
            writer.write(b"\n")
            await writer.drain()
    except ConnectionError:
        pass  # it was killed
    finally:
        at_it[name] -= 1
        writer.close()


async def main() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with await asyncio.start_server(listen, "0.0.0.0", int(os.environ["PORT"])):
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
