"""Programs over HTTP: created, changed, listed, rolled back, deleted."""

import asyncio
from typing import Any

import pytest
from tests.support.rig import Gateway, Rig

pytestmark = pytest.mark.asyncio(loop_scope="module")


def returns(value: int) -> str:
    return f"def main() -> int:\n    return {value}\n"


async def put(gateway: Gateway, program: str, source: str, **headers: str) -> Any:
    return await gateway.ask(
        "PUT",
        f"/programs/{program}",
        json={"source": source},
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


async def test_a_program_from_its_creation_to_its_end(gateway: Gateway) -> None:
    given = {
        "id": "life",
        "kind": "python",
        "source": '"""."""\n\n\ndef main(x: int = 1) -> int:\n    "Doubles."\n    return 2 * x\n',
        "timeoutSeconds": 20,
        "idempotent": True,
        "labels": {"team": "a"},
    }
    made = await gateway.ask("POST", "/programs", json=given)
    assert made.status == 201
    document = made.document
    assert made.headers["Location"] == "/v1/pools/default/programs/life"
    assert made.headers["ETag"] == f'"{document["revision"]}"'
    assert document["files"] == {"main.py": given["source"]}
    assert document["entrypoint"] == "main:main"
    assert document["doc"] == "Doubles."
    assert document["labels"] == {"team": "a"}
    assert document["inputsSchema"]["properties"]["x"]["type"] == "integer"
    assert document["outputsSchema"]["type"] == "integer"
    assert (document["timeoutSeconds"], document["idempotent"]) == (20, True)

    found = await gateway.ask("GET", "/programs/life")
    assert (found.status, found.document) == (200, document)
    assert (await gateway.run("life", x=4)).outputs == 8
    assert (await gateway.ask("DELETE", "/programs/life")).status == 204
    gone = await gateway.ask("GET", "/programs/life")
    assert (gone.status, gone.document["type"]) == (404, "program-not-found")
    assert (await gateway.run("life")).status == 404
    assert (await gateway.ask("DELETE", "/programs/life")).status == 404


async def test_the_same_again_is_no_change_and_other_content_is_a_conflict(
    gateway: Gateway,
) -> None:
    given = {"id": "again", "source": returns(1), "labels": {"a": "b"}}
    first = await gateway.ask("POST", "/programs", json=given)
    second = await gateway.ask("POST", "/programs", json=given)
    assert (first.status, second.status) == (201, 200)
    assert second.document == first.document
    assert second.headers["ETag"] == first.headers["ETag"]
    content = "other content; PUT gives it a new revision"
    for other, told in (
        ({"source": returns(2)}, content),
        ({"idempotent": True}, content),
        ({"labels": {"a": "c"}}, "other labels; PUT changes them"),
    ):
        answer = await gateway.ask("POST", "/programs", json=given | other)
        assert (answer.status, answer.document["type"]) == (409, "already-exists")
        assert answer.document["detail"] == f"program 'again' exists with {told}"
    assert (await gateway.run("again")).outputs == 1


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("POST", "/programs/none/run?log=true", "?log: no such parameter; there are label, logs"),
        ("GET", "/programs?after=a&labels=x", "?labels: no such parameter; there are after"),
        ("GET", "/programs/none?logs=true", "?logs: no such parameter; there is none here"),
    ],
)
async def test_a_misspelt_parameter_is_refused(
    gateway: Gateway, method: str, path: str, told: str
) -> None:
    answer = await gateway.ask(method, path)
    assert (answer.status, answer.document["type"]) == (400, "bad-request")
    assert answer.document["detail"].startswith(told)


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=2&label=a=b&limit=2"])
async def test_a_parameter_that_stands_twice_is_refused(gateway: Gateway, query: str) -> None:
    """But for labels, all of which must hold."""
    answer = await gateway.ask("GET", f"/programs?{query}")
    assert (answer.status, answer.document["path"]) == (400, "limit")
    assert (await gateway.ask("GET", "/programs?label=a=b&label=c=d")).status == 200


async def test_an_id_is_made_up_when_none_is_given(gateway: Gateway) -> None:
    one, two = await asyncio.gather(gateway.create(returns(1)), gateway.create(returns(2)))
    assert one != two
    assert (await gateway.run(one)).outputs == 1
    assert (await gateway.run(two)).outputs == 2


async def test_of_two_that_create_the_same_id_at_once_one_wins(gateway: Gateway) -> None:
    answers = await asyncio.gather(
        *(
            gateway.ask("POST", "/programs", json={"id": "race", "source": returns(n)})
            for n in range(4)
        )
    )
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409]
    winner = [answer.status for answer in answers].index(201)
    assert (await gateway.run("race")).outputs == winner


async def test_a_put_creates_and_then_makes_revisions(gateway: Gateway) -> None:
    first = await put(gateway, "put", returns(1))
    assert (first.status, first.headers["Location"]) == (201, "/v1/pools/default/programs/put")
    second = await put(gateway, "put", returns(2))
    assert second.status == 200
    assert second.document["revision"] != first.document["revision"]
    assert second.document["createdAt"] == first.document["createdAt"]
    assert (await put(gateway, "put", returns(2))).document == second.document

    listing = (await gateway.ask("GET", "/programs/put/revisions")).document
    assert [(one["revision"], one["latest"]) for one in listing["items"]] == [
        (second.document["revision"], True),
        (first.document["revision"], False),
    ]
    pinned = f"put@{first.document['revision'][:8]}"
    assert (await gateway.run(pinned)).outputs == 1
    assert (await gateway.run("put")).outputs == 2
    assert (await gateway.run("put@" + "0" * 8)).document["type"] == "revision-not-found"
    malformed = await gateway.run("put@123")
    assert (malformed.status, malformed.document["type"]) == (400, "bad-request")
    assert "8 to 64 hexadecimal digits" in malformed.document["detail"]


async def test_if_match_guards_a_change(gateway: Gateway) -> None:
    assert (await put(gateway, "guard", returns(1), If_Match="*")).document[
        "type"
    ] == "revision-conflict"
    old = (await put(gateway, "guard", returns(1))).headers["ETag"]
    new = (await put(gateway, "guard", returns(2), If_Match=old)).headers["ETag"]
    for answer in (
        await put(gateway, "guard", returns(3), If_Match=old),
        await gateway.ask("DELETE", "/programs/guard", headers={"If-Match": old}),
        await gateway.ask("POST", "/programs/guard/rollback", json={}, headers={"If-Match": old}),
    ):
        assert (answer.status, answer.document["type"]) == (409, "revision-conflict")
    assert (await put(gateway, "guard", returns(3), If_Match="nonsense")).status == 400
    assert (await gateway.run("guard")).outputs == 2
    gone = await gateway.ask("DELETE", "/programs/guard", headers={"If-Match": new})
    assert gone.status == 204


async def test_labels_change_without_a_new_revision(gateway: Gateway) -> None:
    first = await put(gateway, "labels", returns(1))
    answer = await gateway.ask(
        "PUT", "/programs/labels", json={"source": returns(1), "labels": {"x": "y"}}
    )
    assert answer.document["labels"] == {"x": "y"}
    assert answer.document["revision"] == first.document["revision"]
    assert (await put(gateway, "labels", returns(2))).document["labels"] == {"x": "y"}


async def test_a_program_goes_back(gateway: Gateway) -> None:
    revisions = [
        (await put(gateway, "back", returns(number))).document["revision"] for number in (1, 2, 3)
    ]
    answer = await gateway.ask("POST", "/programs/back/rollback", json={})
    assert answer.document["revision"] == revisions[1]
    assert (await gateway.run("back")).outputs == 2
    named = {"revision": revisions[0][:10]}
    answer = await gateway.ask("POST", "/programs/back/rollback", json=named)
    assert answer.document["files"] == {"main.py": returns(1)}
    assert (await gateway.run("back")).outputs == 1
    answer = await gateway.ask("POST", "/programs/back/rollback", json={"revision": "0" * 64})
    assert (answer.status, answer.document["type"]) == (404, "revision-not-found")
    await put(gateway, "newborn", returns(1))
    answer = await gateway.ask("POST", "/programs/newborn/rollback", json={})
    assert (answer.status, answer.document["type"]) == (404, "revision-not-found")
    assert answer.document["detail"] == "there is no earlier revision"
    # No body at all means the same as an empty object.
    assert (await gateway.ask("POST", "/programs/back/rollback")).status == 200


async def test_lists_are_paged_and_filtered(gateway: Gateway) -> None:
    names = [f"page-{number}" for number in range(5)]
    for name in names:
        labels = {"list": "page", "odd": str(int(name[-1]) % 2)}
        await gateway.create(returns(1), name, labels=labels)

    async def page(query: str) -> tuple[list[str], str | None]:
        document = (await gateway.ask("GET", f"/programs?{query}")).document
        return [item["id"] for item in document["items"]], document["next"]

    found, after = await page("label=list=page&limit=2")
    assert found == names[:2]
    found, after = await page(f"label=list=page&limit=2&after={after}")
    assert found == names[2:4]
    found, after = await page(f"label=list=page&limit=2&after={after}")
    assert (found, after) == (names[4:], None)
    assert (await page("label=list=page&label=odd=1"))[0] == [names[1], names[3]]
    for bad in (
        "limit=0",
        "limit=1001",
        "limit=x",
        "label=x",
        "label=a=1&label=a=2",
        "after=%00",
        "after=a%20b",
    ):
        answer = await gateway.ask("GET", f"/programs?{bad}")
        assert (answer.status, answer.document["type"]) == (400, "bad-request"), bad


@pytest.mark.parametrize(
    "query",
    [
        *("limit=", "limit=0", "limit=1001", "limit=x", "limit=-1", "after=%00", "after=a%20b"),
        *("label=x", "label==x", "label=a=1&label=a=2"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(gateway: Gateway, query: str) -> None:
    answer = await gateway.ask("GET", f"/programs?{query}")
    assert (answer.status, answer.document["type"]) == (400, "bad-request")
    assert answer.document["path"] == query.partition("=")[0]


async def test_deleting_one_program_leaves_those_that_begin_the_same(gateway: Gateway) -> None:
    for name in ("a", "a_", "ab", "a.b"):
        await gateway.create(returns(1), name)
    assert (await gateway.ask("DELETE", "/programs/a")).status == 204
    assert (await gateway.run("a")).status == 404
    for name in ("a_", "ab", "a.b"):
        assert (await gateway.run(name)).outputs == 1
    assert (await gateway.ask("DELETE", "/programs/")).status == 404
    assert (await gateway.ask("DELETE", "/programs")).status == 405
    assert (await gateway.run("ab")).outputs == 1


async def test_after_an_update_every_call_runs_the_new_revision(shared: Rig) -> None:
    gateway = shared.gateway
    await gateway.create(returns(0), "fresh")
    workers = set()
    for number in (1, 2):
        await asyncio.gather(*(gateway.run("fresh") for _ in range(9)))
        revision = (await put(gateway, "fresh", returns(number))).document["revision"]
        answers = await asyncio.gather(*(gateway.run("fresh") for _ in range(50)))
        assert {answer.outputs for answer in answers} == {number}
        assert {answer.headers["X-AnyPod-Revision"] for answer in answers} == {revision}
        workers |= {answer.headers["X-AnyPod-Worker"] for answer in answers}
    assert workers == set(shared.workers)


async def test_what_does_not_load_is_refused_with_its_line(gateway: Gateway) -> None:
    for source, line in (
        ("def main():\n    return (\n", 2),
        ("import no_such_module\n", 1),
        ("x = 1\n\nraise ValueError('at import')\n", 3),
    ):
        answer = await gateway.ask("POST", "/programs", json={"id": "bad", "source": source})
        assert (answer.status, answer.document["type"]) == (422, "invalid-program"), answer.body
        assert answer.document["line"] == line, answer.body
    for ending, member in (("os._exit(3)", "exitCode"), ("os.abort()", "signal")):
        source = f"import os\n{ending}\n"
        answer = await gateway.ask("POST", "/programs", json={"id": "bad", "source": source})
        assert (answer.status, answer.document["type"]) == (422, "invalid-program"), answer.body
        assert answer.document[member] in (3, "SIGABRT")
    answer = await gateway.ask("POST", "/programs", json={"id": "bad", "source": "x = 1\n"})
    assert answer.document["type"] == "invalid-program"
    assert "main" in answer.document["detail"]
    assert (await gateway.ask("GET", "/programs/bad")).status == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"source": "", "labels": {"n": 1%s}}' % (b"0" * 40), "labels.n"),
        (b'{"source": "", "timeoutSeconds": 1%s}' % (b"0" * 400), "timeoutSeconds"),
        (b'{"source": "", "timeoutSeconds": 301}', "timeoutSeconds"),
        (b'{"source": "", "colour": 1}', "colour"),
        (b'{"source": "", "id": "a/b"}', "id"),
        (b'{"source": "\\ud800"}', "source"),
        (b'{"source": "", "\\ud800": 1}', None),
        (b'{"source": "", "source": ""}', None),
        (b'{"source": NaN}', None),
        (b'{"source": "\xff"}', None),
        (b"[" * 100_000, None),
        (b"[]", None),
        (b"{", None),
    ],
)
async def test_what_is_no_program_is_refused_where_it_is_wrong(
    gateway: Gateway, body: bytes, path: str | None
) -> None:
    answer = await gateway.ask(
        "POST", "/programs", data=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.document["type"]) == (400, "bad-request")
    assert answer.document.get("path") == path
    assert (await gateway.ask("GET", "/programs")).status == 200


@pytest.mark.parametrize("asked", [301, 86_401])
async def test_a_timeout_of_a_program_is_refused_with_what_the_pool_allows(
    gateway: Gateway, asked: int
) -> None:
    answer = await gateway.ask("POST", "/programs", json={"source": "", "timeoutSeconds": asked})
    assert (answer.status, answer.document["path"]) == (400, "timeoutSeconds")
    assert answer.document["detail"] == "timeoutSeconds may be 300 in this pool"


async def test_a_program_too_large_for_the_store_is_told_the_limit(gateway: Gateway) -> None:
    for size in (1024 * 1024 - 20, 1_600_000):
        source = returns(1) + "#" * (size - len(returns(1)))
        answer = await gateway.ask("POST", "/programs", json={"id": "big", "source": source})
        assert (answer.status, answer.document["type"]) == (413, "too-large")
        assert answer.document["limit"] == 1024 * 1024
    source = returns(1) + "#" * 1_000_000
    assert (await gateway.ask("POST", "/programs", json={"source": source})).status == 201


async def test_a_program_of_several_files_is_a_folder(gateway: Gateway) -> None:
    files = {
        "pkg/__init__.py": "",
        "pkg/mod.py": "from .other import VALUE\n\n\ndef run():\n    return VALUE\n",
        "pkg/other.py": "from pathlib import Path\n\n"
        "VALUE = Path(__file__).with_name('data.txt').read_text()\n",
        "pkg/data.txt": "from a file",
    }
    answer = await gateway.ask(
        "POST", "/programs", json={"id": "folder", "files": files, "entrypoint": "pkg.mod:run"}
    )
    assert answer.status == 201, answer.body
    assert answer.document["files"] == files
    assert (await gateway.run("folder")).outputs == "from a file"


async def test_a_sessions_program_hides_the_pools_and_ends_with_it(gateway: Gateway) -> None:
    await gateway.create(returns(1), "own")
    mine = {"X-Session-ID": "owner:1"}
    made = await gateway.ask(
        "POST", "/programs", json={"id": "own", "source": returns(2)}, headers=mine
    )
    assert (made.status, made.document["session"]) == (201, "owner:1")
    await gateway.create(returns(3), "only", headers=mine)
    assert (await gateway.run("own")).outputs == 1
    assert (await gateway.run("own", "", mine)).outputs == 2
    assert (await gateway.run("own", "", {"X-Session-ID": "other"})).outputs == 1
    assert (await gateway.ask("GET", "/programs/only")).status == 404
    assert (await gateway.ask("GET", "/programs/only", headers=mine)).status == 200
    assert (await gateway.ask("GET", "/sessions/owner:1")).document["programs"] == ["only", "own"]
    listing = (await gateway.ask("GET", "/programs", headers=mine)).document
    assert [item["id"] for item in listing["items"]] == ["only", "own"]
    assert (await gateway.ask("DELETE", "/programs/only", headers=mine)).status == 204
    assert (await gateway.ask("DELETE", "/sessions/owner:1")).status == 204
    assert (await gateway.run("own", "", mine)).outputs == 1
    answer = await gateway.ask("DELETE", "/programs/own", headers={"X-Session-ID": "nobody"})
    assert answer.document["type"] == "session-not-found"
    assert (await gateway.run("own")).outputs == 1
