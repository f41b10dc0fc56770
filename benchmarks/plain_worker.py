"""A rival's worker: aiohttp and uvloop, the program's function called in the process itself.

No isolation, validation, ids or limits: what is left when all that a pool is for is left out.
"""

import json
import sys
from typing import Any

import uvloop
from aiohttp import web


def program(x: int, text: str) -> dict[str, Any]:
    return {"y": x + 1, "text": text}


async def execute(request: web.Request) -> web.Response:
    body = json.loads(await request.read())
    outputs = program(**body["inputs"])
    return web.Response(
        body=json.dumps({"outputs": outputs}).encode(), content_type="application/json"
    )


def main() -> None:
    app = web.Application(client_max_size=8 * 2**20)
    app.router.add_post("/{path:.*}", execute)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop=uvloop.new_event_loop(),
        access_log=None,
        print=None,
    )


if __name__ == "__main__":
    main()
