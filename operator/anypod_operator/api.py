"""Calls of the Kubernetes API: raw JSON, each with a deadline, errors by what can be done.

The official client makes the requests; its models would cost most of the time of a long list.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from anypod.resources.api_answers import BadAnswer, document, read_all, refusal
from anypod.resources.names import MANAGER
from anypod_operator.api_errors import (
    ApiError,
    Conflict,
    Ending,
    Forbidden,
    NotFound,
    Refused,
)
from anypod_operator.kinds import BY_NAME, Kind, Raw
from anypod_operator.metrics import Metrics

CALL_SECONDS = 20.0
_NOT_TYPED = ("failed to create typed patch object", "failed to convert new object")
"""How an apply is refused that has unknown fields or values of a wrong form: with status 500."""


class Api:
    def __init__(self, connection: client.ApiClient, metrics: Metrics) -> None:
        self._client = connection
        self._metrics = metrics

    async def get(self, kind: Kind, namespace: str, name: str) -> Raw:
        return await self._call("GET", kind.path(namespace, name))

    async def list_all(
        self, kind: Kind, namespace: str | None, selector: str
    ) -> tuple[list[Raw], str]:
        """Objects and the version of the whole, read page by page."""

        async def page(query: dict[str, str]) -> Raw:
            return await self._call("GET", kind.path(namespace), query)

        with _understood():
            return await read_all(page, selector)

    async def exists(self, path: str) -> bool:
        try:
            await self._call("GET", path)
        except NotFound:
            return False
        return True

    async def document(self, path: str) -> Raw:
        """Of the API's descriptions of itself."""
        return await self._call("GET", path)

    async def create(self, body: Raw) -> Raw:
        kind = BY_NAME[body["kind"]]
        query = {"fieldManager": MANAGER}
        return await self._call("POST", kind.path(body["metadata"]["namespace"]), query, body)

    async def apply(self, body: Raw) -> Raw:
        """Server-side: what we said before and say no more goes, what others own stays. A field
        that the server does not know is an error."""
        kind, metadata = BY_NAME[body["kind"]], body["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        return await self._call("PATCH", path, query, body, "application/apply-patch+yaml")

    async def merge(
        self, kind: Kind, namespace: str, name: str, body: Raw, subresource: str = ""
    ) -> Raw:
        """What the server does not know of it is left away."""
        query = {"fieldManager": MANAGER}
        path = kind.path(namespace, name) + subresource
        return await self._call("PATCH", path, query, body, "application/merge-patch+json")

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Raw | None = None,
        content_type: str = "application/json",
    ) -> Raw:
        target = f"{path}?{urlencode({k: v for k, v in (query or {}).items() if v})}"
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            async with asyncio.timeout(CALL_SECONDS):
                request = await self._client.param_serialize(
                    method, target, header_params=headers, body=body, auth_settings=["BearerToken"]
                )
                answer = await self._client.call_api(*request)
                text = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as reason:
            self._metrics.api_calls.labels(method, "unreachable").inc()
            raise ApiError(f"the API server cannot be reached: {_words(reason)}") from reason
        self._metrics.api_calls.labels(method, str(answer.status)).inc()
        if answer.status >= 400:
            raise _error(answer.status, text, answer.headers)
        with _understood():
            return document(text)


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except BadAnswer as reason:
        raise ApiError(f"what the API server answers is not its own: {reason}") from reason


def _words(reason: BaseException) -> str:
    return str(reason) or type(reason).__name__


def _error(status: int, text: bytes, headers: Mapping[str, str]) -> ApiError:
    told = refusal(text)
    message = told.get("message") or text[:300].decode(errors="replace") or f"status {status}"
    error = _class(status, told)(message)
    after = headers.get("Retry-After", "")
    error.retry_after = float(after) if after.isdecimal() else 0.0
    return error


def _class(status: int, told: Raw) -> type[ApiError]:
    causes: list[Any] = (told.get("details") or {}).get("causes") or []
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return Ending
    if str(told.get("message")).startswith(_NOT_TYPED):
        return Refused
    classes = {400: Refused, 403: Forbidden, 404: NotFound, 409: Conflict, 413: Refused}
    return Refused if status == 422 else classes.get(status, ApiError)


async def connect() -> client.ApiClient:
    """With what KUBECONFIG says, else as the pod's service account. Raises ConfigException."""
    settings = client.Configuration()
    if os.environ.get("KUBECONFIG"):
        await config.load_kube_config(client_configuration=settings)
    else:
        config.load_incluster_config(client_configuration=settings)
    settings.connection_pool_maxsize = 32
    return client.ApiClient(settings)
