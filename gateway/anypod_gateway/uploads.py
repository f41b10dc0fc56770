"""The lines that a client uploads, read from its connection only as they are asked for.

What is not asked for stays with the client: the connection's buffers fill, and it has to wait.
"""

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import hdrs, web

from anypod.api.ndjson import MEDIA_TYPES, LineSplitter
from anypod.api.problems import error

SILENT_SECONDS = 600.0
"""For the client to send something while it is waited for; a space does, and changes nothing."""


def check_media_type(request: web.Request) -> None:
    given = request.headers.get(hdrs.CONTENT_TYPE, "")
    if given.partition(";")[0].strip().lower() not in MEDIA_TYPES:
        raise error("unsupported-media-type", f"{given or 'nothing'!r} is not {MEDIA_TYPES[0]}")


async def lines(request: web.Request, longest: int) -> AsyncGenerator[tuple[int, bytes | None]]:
    """Each with its number, from 0; None for one that is too long. Blank ones are counted, and not
    given: they stand for items that are of no interest. Raises AnyPodError when it breaks off."""
    splitter = LineSplitter(longest)
    number = 0
    while piece := await _piece(request):
        for line in splitter.feed(piece):
            if line is None or line.strip():
                yield number, line
            number += 1
    for line in splitter.end():
        if line is None or line.strip():
            yield number, line


async def _piece(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            return await request.content.readany()
    except TimeoutError:
        raise error(
            "bad-request", f"the upload has been silent for {SILENT_SECONDS:g} seconds"
        ) from None
    except web.RequestPayloadError as broken:
        raise error("bad-request", f"the upload broke off: {broken}") from None
