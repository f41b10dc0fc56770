"""A program over many inputs in one call: NDJSON in, NDJSON out, as a stream."""

import asyncio
import zlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.batches import NDJSON, NOTE, batch, lines, told
from tests.support.rig import Gateway, Rig, pool_of, rig

from anypod.api.ids import new_execution_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

SQUARE = "def main(n: int) -> int:\n    return n * n\n"
PATIENT = """
import os, time
def main(n: int, file: str = "") -> int:
    while file and not os.path.exists(file):
        time.sleep(0.01)
    return n
"""


@pytest.fixture
def program() -> str:
    """A name of the test's own."""
    return f"p{new_execution_id()[2:].strip('-_')}"


# what is answered


async def test_every_item_is_answered_in_order_and_counted(gateway: Gateway, program: str) -> None:
    await gateway.create(SQUARE, program)
    done = await batch(gateway, program, lines({"n": n} for n in range(300)))
    assert [item["index"] for item in done.items] == list(range(300))
    assert done.outputs == [n * n for n in range(300)]
    assert done.end == {"items": 300, "succeeded": 300, "failed": 0, "replayed": 0}
    assert done.items[7]["execution"]["program"] == program


async def test_an_empty_upload_is_a_batch_of_nothing(gateway: Gateway, program: str) -> None:
    await gateway.create(SQUARE, program)
    for upload in (b"", b"\n\n \n"):
        done = await batch(gateway, program, upload)
        assert (done.items, done.end["items"]) == ([], 0)


async def test_an_item_that_fails_does_not_end_the_batch(gateway: Gateway, program: str) -> None:
    await gateway.create(SQUARE, program)
    upload = b'{"n": 1}\nnope\n[1]\n{"n": "x"}\n{"n": 2}}\n\xff\n{"n": NaN}\n\n{"n": 3}'
    done = await batch(gateway, program, upload)
    assert done.problems == {
        1: "bad-request",
        2: "bad-request",
        3: "invalid-inputs",
        4: "bad-request",
        5: "bad-request",
        6: "bad-request",
    }
    assert {one["index"]: one["outputs"] for one in done.items if "outputs" in one} == {
        0: 1,
        8: 9,  # the number of its line: the blank one before it is counted, and not answered
    }
    assert done.end == {"items": 8, "succeeded": 2, "failed": 6, "replayed": 0}
    assert "an item must be a JSON object" in done.items[2]["problem"]["detail"]


async def test_what_looks_like_more_than_inputs_is_refused(gateway: Gateway, program: str) -> None:
    await gateway.create("def main(**given): return given", program)
    upload = b'{}, "timeoutSeconds": 1\n{"inputs": {"a": 1}}\n{"a": "\\ud800"}\n'
    done = await batch(gateway, program, upload)
    assert done.problems == {0: "bad-request"}
    assert done.outputs[1:] == [{"inputs": {"a": 1}}, {"a": "\ud800"}]


async def test_answers_come_as_they_are_done_if_order_is_not_wanted(
    gateway: Gateway, program: str, tmp_path: Path
) -> None:
    await gateway.create(PATIENT, program)
    go = tmp_path / "go"
    upload = lines([{"n": 0, "file": str(go)}, *({"n": n} for n in range(1, 6))])
    async with gateway.http.post(
        f"{gateway.base}/programs/{program}/map?unordered=true", data=upload, headers=NDJSON
    ) as answer:
        first = [await answer.content.readline() for _ in range(5)]
        go.touch()
        done = told(b"".join(first) + await answer.read())
    assert sorted(done.outputs[:5]) == [1, 2, 3, 4, 5]
    assert done.outputs[5] == 0


async def test_an_item_is_answered_while_the_upload_goes_on(gateway: Gateway, program: str) -> None:
    await gateway.create(SQUARE, program)
    answered: asyncio.Queue[int] = asyncio.Queue()

    async def upload() -> AsyncGenerator[bytes]:
        for n in range(5):
            yield lines([{"n": n}])
            assert await answered.get() == n

    async with gateway.http.post(
        f"{gateway.base}/programs/{program}/map", data=upload(), headers=NDJSON
    ) as answer:
        for n in range(5):
            await answer.content.readline()
            answered.put_nowait(n)
        assert b'"items":5' in await answer.read()


async def test_a_line_that_is_too_long_is_one_item_that_fails(tmp_path: Path) -> None:
    pool = pool_of(limits={"bodyBytes": 2000})
    async with rig(tmp_path, pool=pool) as made:
        await made.gateway.create("def main(text: str) -> int: return len(text)", "length")
        texts = ["x", "y" * 3000, "z" * 1900]
        done = await batch(made.gateway, "length", lines({"text": text} for text in texts))
    assert done.problems == {1: "too-large"}
    assert done.outputs == [1, None, 1900]


async def test_items_of_a_session_run_in_its_order(gateway: Gateway, program: str) -> None:
    source = "seen = []\ndef main(n: int):\n    seen.append(n)\n    return list(seen)\n"
    await gateway.create(source, program)
    done = await batch(
        gateway, program, lines({"n": n} for n in range(20)), headers={"X-Session-ID": program}
    )
    assert done.outputs == [list(range(n + 1)) for n in range(20)]


async def test_what_is_asked_holds_for_each_item(gateway: Gateway, program: str) -> None:
    source = "import time\ndef main(n: float):\n    print('n', n)\n    time.sleep(n)\n"
    await gateway.create(source, program)
    done = await batch(
        gateway, program, lines([{"n": 0}, {"n": 60}]), "?logs=true&timeoutSeconds=0.5"
    )
    assert done.items[0]["execution"]["logs"]["stdout"] == "n 0.0\n"
    assert done.problems == {1: "deadline-exceeded"}


async def test_outputs_stay_in_one_line(gateway: Gateway, program: str) -> None:
    source = "def main(**given): return 'a\\nb\\r\\u2028'"
    await gateway.create(source, program)
    for headers in ({}, {"Idempotency-Key": program}):
        done = await batch(gateway, program, b"{}\n{}\n", headers=headers)
        assert done.outputs == ["a\nb\r\u2028"] * 2


async def test_one_revision_runs_all_of_it(gateway: Gateway, program: str) -> None:
    await gateway.create("def main(n: int): return 'first'", program)
    moved = asyncio.Event()

    async def upload() -> AsyncGenerator[bytes]:
        yield b'{"n": 1}\n'
        await moved.wait()
        yield b'{"n": 2}\n'

    async with gateway.http.post(
        f"{gateway.base}/programs/{program}/map", data=upload(), headers=NDJSON
    ) as answer:
        line = await answer.content.readline()
        source = "def main(n: int): return 'second'"
        await gateway.ask("PUT", f"/programs/{program}", json={"source": source})
        moved.set()
        done = told(line + await answer.read())
    assert done.outputs == ["first", "first"]
    assert {one["execution"]["revision"] for one in done.items} == {
        answer.headers["X-AnyPod-Revision"]
    }


# what is refused at once


@pytest.mark.parametrize(
    ("path", "headers", "status", "type_"),
    [
        ("/programs/none/map", {}, 404, "program-not-found"),
        ("/programs/a%20b/map", {}, 404, "program-not-found"),
        ("/programs/square/map", {"Content-Type": "text/csv"}, 415, "unsupported-media-type"),
        ("/programs/square/map?concurrency=0", {}, 400, "bad-request"),
        ("/programs/square/map?concurrency=1.5", {}, 400, "bad-request"),
        ("/programs/square/map?timeoutSeconds=x", {}, 400, "bad-request"),
        ("/programs/square/map?timeoutSeconds=9999", {}, 400, "bad-request"),
        ("/programs/square/map?unordered=yes", {}, 400, "bad-request"),
        ("/programs/square/map", {"Idempotency-Key": "a b"}, 400, "bad-request"),
        ("/programs/square@00000000/map", {}, 404, "revision-not-found"),
    ],
)
async def test_what_is_wrong_with_all_of_it_is_an_ordinary_answer(
    gateway: Gateway, path: str, headers: dict[str, str], status: int, type_: str
) -> None:
    await gateway.create(SQUARE, "square")
    answer = await gateway.ask("POST", path, data=b'{"n": 1}\n', headers={**NDJSON, **headers})
    assert (answer.status, answer.document["type"]) == (status, type_)


async def test_a_timeout_is_refused_with_what_the_pool_allows(gateway: Gateway) -> None:
    await gateway.create(SQUARE, "square")
    for asked in (0, 301, 86_401):
        path = f"/programs/square/map?timeoutSeconds={asked}"
        answer = await gateway.ask("POST", path, data=b'{"n": 1}\n', headers=NDJSON)
        assert (answer.status, answer.document["path"]) == (400, "timeoutSeconds")
        assert answer.document["detail"].endswith("above 0, and at most 300")


# uploads that break


async def test_an_upload_that_breaks_is_told_in_the_last_line(
    gateway: Gateway, program: str
) -> None:
    await gateway.create(SQUARE, program)
    answered = asyncio.Event()

    async def upload() -> AsyncGenerator[bytes]:
        packed = zlib.compressobj(wbits=31)
        yield packed.compress(b'{"n": 3}\n{"n": ') + packed.flush(zlib.Z_SYNC_FLUSH)
        await answered.wait()
        yield b"no gzip"

    headers = {**NDJSON, "Content-Encoding": "gzip"}
    async with gateway.http.post(
        f"{gateway.base}/programs/{program}/map", data=upload(), headers=headers
    ) as answer:
        line = await answer.content.readline()
        answered.set()
        done = told(line + await answer.read())
    assert done.outputs == [9]
    assert done.end["items"] == 1
    assert done.end["problem"]["type"] == "bad-request"
    assert "the upload broke off" in done.end["problem"]["detail"]


async def executors_free(gateway: Gateway) -> None:
    async with asyncio.timeout(60):
        while (await gateway.ask("GET", "")).document["executors"]["busy"]:
            await asyncio.sleep(0.02)


async def test_a_client_that_goes_away_ends_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with rig(tmp_path, pool=pool_of(executors=2)) as made:
        gateway = made.gateway
        await gateway.create(NOTE, "note")
        upload = lines({"n": n, "file": str(log), "seconds": 50} for n in range(100))
        calling = asyncio.ensure_future(batch(gateway, "note", upload))
        async with asyncio.timeout(60):
            while not log.exists():
                await asyncio.sleep(0.02)
        calling.cancel()
        await executors_free(gateway)
        assert (await gateway.run("note", n=1, file=str(log))).outputs == 1
    assert log.read_text().count("done") == 1
    assert log.read_text().count("begun") <= 2 + 1 + 2  # what ran, the last one, and its spares
    access = (await gateway.log()).splitlines()
    assert any('"status":499' in line and "{program_ref}/map" in line for line in access)


async def test_a_batch_has_one_line_in_the_access_log(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        await made.gateway.create(SQUARE, "square")
        await batch(made.gateway, "square", b'{"n": 1}\nnope\n')
        metrics = (await made.gateway.ask("GET", "//metrics")).body.decode()
    (line,) = [one for one in (await made.gateway.log()).splitlines() if "/map" in one]
    assert '"items":2,"failed":1' in line
    assert 'anypod_batch_items_total{outcome="ok",pool="default"} 1.0' in metrics
    assert 'anypod_batch_items_total{outcome="bad-request",pool="default"} 1.0' in metrics


async def test_a_client_that_leaves_after_the_last_record_was_answered(tmp_path: Path) -> None:
    async with rig(tmp_path) as made:
        gateway = made.gateway
        await gateway.create(SQUARE, "square")
        for _ in range(30):
            async with gateway.http.post(
                f"{gateway.base}/programs/square/map", data=b'{"n": 1}\n', headers=NDJSON
            ) as answer:
                while b'"end"' not in await answer.content.readline():
                    pass
                answer.close()
        metrics = (await gateway.ask("GET", "//metrics")).body.decode()
    access = [one for one in (await gateway.log()).splitlines() if "/map" in one]
    assert ['"status":200' in one for one in access] == [True] * 30
    assert 'outcome="client-left"' not in metrics


# keys


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": f'"{key}"'}


async def test_a_batch_that_broke_goes_on_where_it_was_through_any_gateway(
    tmp_path: Path, program: str
) -> None:
    log = tmp_path / "log"
    async with rig(tmp_path, pool=pool_of(executors=2), gateways=2) as made:
        await made.gateway.create(NOTE, "note")
        upload = lines({"n": n, "file": str(log), "seconds": 0.01} for n in range(40))
        first, second = made.gateways
        async with first.http.post(
            f"{first.base}/programs/note/map", data=upload, headers={**NDJSON, **keyed(program)}
        ) as answer:
            for _ in range(10):
                await answer.content.readline()
            answer.close()
        done = await batch(second, "note", upload, headers=keyed(program))
        assert done.outputs == [n * n for n in range(40)]
        assert 10 <= done.end["replayed"] < 40
        again = await batch(first, "note", upload, headers=keyed(program))
    assert again.items == done.items
    assert again.end["replayed"] == 40
    for word in ("begun", "done"):
        told_ = [line for line in log.read_text().splitlines() if line.startswith(word)]
        assert sorted(told_) == sorted(f"{word} {n}" for n in range(40))


async def test_an_item_that_is_another_one_now_is_run(gateway: Gateway, program: str) -> None:
    await gateway.create(SQUARE, program)
    first = await batch(gateway, program, lines({"n": n} for n in range(5)), headers=keyed(program))
    changed = lines({"n": n} for n in (0, 1, 7, 3, 4, 5))
    second = await batch(gateway, program, changed, headers=keyed(program))
    assert second.outputs == [0, 1, 49, 9, 16, 25]
    assert second.end["replayed"] == 4
    assert first.items[:2] == second.items[:2]


async def test_equal_items_of_a_batch_are_each_run(gateway: Gateway, program: str) -> None:
    await gateway.create("def main(): return 1", program)
    done = await batch(gateway, program, b"{}\n{}\n{}\n", headers=keyed(program))
    assert len({one["execution"]["id"] for one in done.items}) == 3


async def test_the_programs_failures_are_kept_and_the_platforms_are_not(
    gateway: Gateway, program: str
) -> None:
    source = "import time\ndef main(n: float):\n    time.sleep(n)\n    return 1 / n\n"
    await gateway.create(source, program)
    upload = lines([{"n": 0}, {"n": 2}])
    first = await batch(gateway, program, upload, "?timeoutSeconds=0.3", keyed(program))
    assert first.problems == {0: "program-error", 1: "deadline-exceeded"}
    second = await batch(gateway, program, upload, headers=keyed(program))
    assert second.problems == {0: "program-error"}
    assert second.outputs[1] == 0.5
    assert second.end["replayed"] == 1
    assert second.items[0] == first.items[0]


async def test_a_batchs_key_is_no_runs_key(gateway: Gateway, program: str) -> None:
    await gateway.create(SQUARE, program)
    await batch(gateway, program, b'{"n": 3}\n', headers=keyed(program))
    answer = await gateway.run(program, headers=keyed(program), n=4)
    assert answer.outputs == 16


async def test_items_too_large_to_keep_are_told_once(gateway: Gateway, program: str) -> None:
    await gateway.create("def main(): return 'x' * 2_000_000", program)
    first = await batch(gateway, program, b"{}\n", headers=keyed(program))
    assert len(first.outputs[0]) == 2_000_000
    second = await batch(gateway, program, b"{}\n", headers=keyed(program))
    assert second.problems == {0: "answer-not-kept"}


def spread(done: Any) -> set[str]:
    return {one["execution"]["worker"] for one in done.items}


async def test_a_batch_is_spread_over_the_workers(
    shared: Rig, gateway: Gateway, program: str
) -> None:
    await gateway.create("import time\ndef main(n: int): time.sleep(0.05)", program)
    done = await batch(gateway, program, lines({"n": n} for n in range(30)))
    assert spread(done) == set(shared.workers)


async def test_concurrency_bounds_what_runs_at_once(
    gateway: Gateway, program: str, tmp_path: Path
) -> None:
    source = """
import os, time
def main(n: int, folder: str) -> int:
    open(f"{folder}/{n}", "x").close()
    time.sleep(0.03)
    here = len(os.listdir(folder))
    os.remove(f"{folder}/{n}")
    return here
"""
    await gateway.create(source, program)
    upload = lines({"n": n, "folder": str(tmp_path)} for n in range(20))
    assert set((await batch(gateway, program, upload, "?concurrency=1")).outputs) == {1}
    assert max((await batch(gateway, program, upload, "?concurrency=2")).outputs) == 2


async def test_a_media_type_that_is_not_taken_is_told_which_is(gateway: Gateway) -> None:
    answer = await gateway.ask("POST", "/programs/square/map", data=aiohttp.BytesPayload(b"{}"))
    assert answer.status == 415
    assert "application/x-ndjson" in answer.document["detail"]
