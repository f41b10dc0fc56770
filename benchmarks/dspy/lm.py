"""A language model's server that answers after as many milliseconds as the model's name says.

``hosted_vllm/50`` thinks for 50 ms; its HTTP takes some time more. It speaks OpenAI's API, as far
as DSPy's engine asks for it, and tells what each model was asked last: that can then be asked
without DSPy.
"""

import argparse
import asyncio
import json

from aiohttp import web

ANSWER = "Paris"
TEXT = (
    f"[[ ## reasoning ## ]]\nIt is known.\n\n[[ ## answer ## ]]\n{ANSWER}\n\n[[ ## completed ## ]]"
)
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
COMPLETIONS = "/v1/chat/completions"
ASKED = web.AppKey("ASKED", dict[str, bytes])
"""The last body, by the model."""


async def complete(request: web.Request) -> web.Response:
    body = await request.read()
    asked = json.loads(body)
    request.app[ASKED][asked["model"]] = body
    await asyncio.sleep(int(asked["model"]) / 1000)
    message = {"role": "assistant", "content": TEXT}
    return web.json_response(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": USAGE,
        }
    )


async def last_asked(request: web.Request) -> web.Response:
    return web.Response(body=request.app[ASKED][request.match_info["model"]])


async def ready(_: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    app = web.Application()
    app[ASKED] = {}
    app.router.add_post(COMPLETIONS, complete)
    app.router.add_get("/v1/asked/{model}", last_asked)
    app.router.add_get("/readyz", ready)
    web.run_app(app, host="127.0.0.1", port=parser.parse_args().port, print=None, backlog=1024)


if __name__ == "__main__":
    main()
