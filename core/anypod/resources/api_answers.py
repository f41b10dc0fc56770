"""What the Kubernetes API answers, understood alike by gateway and operator, who ask it each in
their own way.

What answers in its place may be something else, as a proxy that wants a login, or an answer may be
cut off. That is a BadAnswer at once, and never a fault of whoever works with it.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

Raw = dict[str, Any]

PAGE = 500
_SHOWN = 100


class BadAnswer(ValueError):
    """The Kubernetes API does not answer like this."""


def document(text: bytes) -> Raw:
    """Raises BadAnswer."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadAnswer(f"no object of JSON: {text[:_SHOWN].decode(errors='replace')!r}")
    return found


def event(line: bytes) -> Raw:
    """Of a watch. Raises BadAnswer."""
    found = document(line)
    if not isinstance(found.get("type"), str) or not isinstance(found.get("object"), dict):
        raise BadAnswer(f"no event of a watch, but what has {_names(found)}")
    return found


def refusal(text: bytes) -> Raw:
    """The ``Status`` by which the API says no; empty when it is something else that does."""
    try:
        found = document(text)
    except BadAnswer:
        return {}
    return found if found.get("kind") == "Status" else {}


async def read_all(
    ask: Callable[[dict[str, str]], Awaitable[Raw]], selector: str
) -> tuple[list[Raw], str]:
    """Objects and the version of the whole, read page by page; ``ask`` gives the document that
    answers a query. Raises BadAnswer, and what ``ask`` raises."""
    items: list[Raw] = []
    query = {"limit": str(PAGE), "labelSelector": selector}
    while True:
        page = await ask(query)
        found, metadata = page.get("items"), page.get("metadata")
        if not isinstance(found, list) or not isinstance(metadata, dict):
            raise BadAnswer(f"no list, but what has {_names(page)}")
        items += found
        query["continue"] = metadata.get("continue", "")
        if not query["continue"]:
            return items, _version(metadata)


def _names(found: Raw) -> str:
    return ", ".join(found)[:_SHOWN] or "nothing"


def _version(metadata: Raw) -> str:
    found = metadata.get("resourceVersion")
    if not isinstance(found, str) or not found:
        raise BadAnswer("a list without a version")
    return found
