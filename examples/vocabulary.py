"""How many different words do texts use? An async program with child processes of its own.

The system's `sort -u` counts; one runs per text, all at the same time.
"""

import asyncio
import re


async def main(texts: dict[str, str]) -> dict[str, int]:
    """Number of different words, by title."""
    async with asyncio.TaskGroup() as group:
        tasks = {title: group.create_task(distinct(text)) for title, text in texts.items()}
    return {title: task.result() for title, task in tasks.items()}


async def distinct(text: str) -> int:
    words = re.findall(r"[a-z]+", text.lower())
    sort = await asyncio.create_subprocess_exec(
        "sort", "-u", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await sort.communicate("\n".join(words).encode())
    return len(output.split())
