"""Reading the Kubernetes API: lists and watches as raw JSON, each with a deadline.

The official client logs in and makes the requests; its models would cost most of the time of a
long list.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from anypod.resources import api_answers
from anypod_gateway.callers.remembered import NoAnswer
from anypod_gateway.cluster.objects import Raw

CALL_SECONDS = 20.0
REVIEW_SECONDS = 5.0
"""Somebody waits for it."""
WATCH_SECONDS = 300
"""After which the server ends a watch, and it is begun anew."""
SILENCE_SECONDS = 90.0
"""The server sends a bookmark about once a minute: a watch that says nothing is broken."""
_LONGEST_EVENT = 16 * 1024 * 1024


class ApiAway(NoAnswer):
    """The API server cannot be reached, or does not do what it is asked."""


class Forbidden(ApiAway):
    """The server does not let us."""


class Expired(ApiAway):
    """The server has forgotten what came after that version: list again."""


class Api:
    def __init__(self, connection: client.ApiClient) -> None:
        self._client = connection

    async def list_all(self, path: str, selector: str) -> tuple[Sequence[Raw], str]:
        """Objects and the version of the whole, read page by page. Raises ApiAway."""

        async def page(query: dict[str, str]) -> dict[str, Any]:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._get(path, query)
                return api_answers.document(await answer.read())

        async with _told_as_away():
            return await api_answers.read_all(page, selector)

    async def watch(self, path: str, selector: str, since: str) -> AsyncIterator[Raw]:
        """Events until the server ends it. Raises ApiAway, Expired."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": since,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with _told_as_away():
            async with asyncio.timeout(CALL_SECONDS):
                answer = await self._get(path, query)
            lines = _lines(answer)
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    line = await anext(lines, None)
                if line is None:
                    return
                event = api_answers.event(line)
                if event["type"] == "ERROR":
                    raise _error(event["object"].get("code", 500), event["object"])
                yield event

    async def review(self, path: str, question: Mapping[str, Any]) -> Raw:
        """What the server makes of a review. Raises ApiAway."""
        async with _told_as_away(), asyncio.timeout(REVIEW_SECONDS):
            answer = await self._call("POST", path, question)
            return api_answers.document(await answer.read())

    async def _get(self, path: str, query: dict[str, str]) -> aiohttp.ClientResponse:
        target = f"{path}?{urlencode({name: value for name, value in query.items() if value})}"
        return await self._call("GET", target)

    async def _call(
        self, method: str, target: str, body: Mapping[str, Any] | None = None
    ) -> aiohttp.ClientResponse:
        request = await self._client.param_serialize(
            method,
            target,
            header_params={"Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        told = await self._client.call_api(*request, _request_timeout=WATCH_SECONDS + 60)
        answer: aiohttp.ClientResponse = told.response
        if answer.status >= 400:
            raise _error(answer.status, api_answers.refusal(await answer.read()))
        return answer


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Of any length that an object can have, longer than aiohttp's own lines."""
    rest = b""
    try:
        async for chunk in answer.content.iter_any():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line:
                    yield line
            if len(rest) > _LONGEST_EVENT:
                raise ApiAway("an event of the API server does not end")
    finally:
        answer.close()


def _error(status: int, told: Raw) -> ApiAway:
    text = f"the API server answers {status}: {told.get('message') or 'nothing'}"
    return {403: Forbidden, 410: Expired}.get(status, ApiAway)(text)


@asynccontextmanager
async def _told_as_away() -> AsyncIterator[None]:
    try:
        yield
    except TimeoutError:
        raise ApiAway("the API server does not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as reason:
        raise ApiAway(f"the API server: {str(reason) or type(reason).__name__}") from reason


@asynccontextmanager
async def connected() -> AsyncIterator[Api]:
    """With what KUBECONFIG says, else as the pod's service account. Raises ConfigException."""
    connection = await asyncio.to_thread(_open)  # it reads files
    try:
        yield Api(connection)
    finally:
        await connection.close()


def _open() -> Any:
    settings, load = client.Configuration(), cast("Any", config)  # which has no types
    if file := os.environ.get("KUBECONFIG"):
        asyncio.run(load.load_kube_config(file, client_configuration=settings))
    else:
        load.load_incluster_config(client_configuration=settings)
    return client.ApiClient(settings)
