"""What a gateway says of its API: the OpenAPI document, and the page for people.

Both are made when somebody first asks, in a thread: most gateways are never asked, and making them
would be a tenth of their start.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from anypod_gateway.routing import Route


class _Made(NamedTuple):
    document: bytes
    page: bytes


class Description:
    def __init__(self, table: Sequence[Route], *, secured: bool) -> None:
        """``secured``: callers have to be known."""
        self._table = table
        self._secured = secured
        self._made: _Made | None = None
        self._one_by_one = asyncio.Lock()

    async def document(self) -> bytes:
        return (await self._described()).document

    async def page(self) -> bytes:
        return (await self._described()).page

    async def _described(self) -> _Made:
        async with self._one_by_one:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
            return self._made

    def _make(self) -> _Made:
        from anypod_gateway import docs_page, openapi

        document = openapi.document(self._table, secured=self._secured)
        return _Made(msgspec.json.encode(document), docs_page.render(document).encode())
