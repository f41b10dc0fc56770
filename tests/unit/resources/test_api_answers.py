"""Lists of the Kubernetes API are read page by page, and refusals are told from other words."""

import json
from typing import Any

from anypod.resources import api_answers


async def test_a_list_is_read_page_by_page() -> None:
    asked: list[dict[str, str]] = []

    async def ask(query: dict[str, str]) -> dict[str, Any]:
        asked.append(dict(query))
        metadata = {"resourceVersion": "7"}
        if len(asked) < 3:
            metadata["continue"] = f"from {len(asked)}"
        return {"metadata": metadata, "items": [{"number": len(asked)}]}

    items, version = await api_answers.read_all(ask, "app=a")
    assert items == [{"number": 1}, {"number": 2}, {"number": 3}]
    assert version == "7"
    assert [query.get("continue") for query in asked] == [None, "from 1", "from 2"]
    assert all(query["limit"] and query["labelSelector"] == "app=a" for query in asked)


def test_only_the_api_itself_says_no() -> None:
    status = {"kind": "Status", "message": "no"}
    assert api_answers.refusal(json.dumps(status).encode()) == status
    for other in (b"", b"no", b"null", b'{"message": "no"}', b'{"kind": "Error"}'):
        assert api_answers.refusal(other) == {}
