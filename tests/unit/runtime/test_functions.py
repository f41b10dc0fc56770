"""Every kind of callable that can be an entry point."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.programs import answer, executed, failure, loaded

ECHO = {
    "sync": "def main(x):\n    return [x, x]\n",
    "coroutine": "async def main(x):\n    return [x, x]\n",
    "returns a coroutine": "async def inner(x):\n    return [x, x]\n"
    "def main(x):\n    return inner(x)\n",
    "coroutine of a coroutine": "async def inner(x):\n    return [x, x]\n"
    "async def main(x):\n    return inner(x)\n",
    "generator": "def main(x):\n    yield x\n    yield x\n",
    "async generator": "import asyncio\nasync def main(x):\n    yield x\n"
    "    await asyncio.sleep(0)\n    yield x\n",
    "returns a generator": "def main(x):\n    return (x for _ in range(2))\n",
    "returns an async generator": "async def inner(x):\n    yield x\n    yield x\n"
    "def main(x):\n    return inner(x)\n",
    "coroutine that returns an async generator": "async def inner(x):\n    yield x\n    yield x\n"
    "async def main(x):\n    return inner(x)\n",
    "iterator": "def main(x):\n    return map(lambda _: x, range(2))\n",
    "iterator class": "class Two:\n    n = 0\n    def __init__(self, x): self.x = x\n"
    "    def __iter__(self): return self\n    def __next__(self):\n        self.n += 1\n"
    "        if self.n > 2: raise StopIteration\n        return self.x\n"
    "def main(x):\n    return Two(x)\n",
    "object": "class Main:\n    def __call__(self, x):\n        return [x, x]\nmain = Main()\n",
    "object with an async call": "class Main:\n    async def __call__(self, x):\n"
    "        return [x, x]\nmain = Main()\n",
    "lambda": "main = lambda x: [x, x]\n",
    "partial": "from functools import partial\ndef f(n, x):\n    return [x] * n\n"
    "main = partial(f, 2)\n",
    "wrapped": "import functools\ndef twice(f):\n    @functools.wraps(f)\n"
    "    def inner(*args, **kwargs):\n        return f(*args, **kwargs)\n    return inner\n"
    "@twice\ndef main(x):\n    return [x, x]\n",
    "cached": "import functools\n@functools.cache\ndef main(x):\n    return [x, x]\n",
    "class": "class main(list):\n    def __init__(self, x):\n        super().__init__([x, x])\n",
    "static method": "class A:\n    @staticmethod\n    def f(x):\n        return [x, x]\n"
    "main = A.f\n",
    "class method": "class A:\n    @classmethod\n    def f(cls, x):\n        return [x, x]\n"
    "main = A.f\n",
    "runs a loop itself": "import asyncio\nasync def inner(x):\n    return [x, x]\n"
    "def main(x):\n    return asyncio.run(inner(x))\n",
}
STREAMING = {"generator", "async generator", "iterator", "iterator class"} | {
    name for name in ECHO if "generator" in name
}


@pytest.mark.parametrize("kind", ECHO)
def test_every_kind_of_callable_answers(tmp_path: Path, kind: str) -> None:
    program = loaded(tmp_path, ECHO[kind])
    assert answer(program, x="é") == ["é", "é"]
    assert answer(program, x=1) == [1, 1]


@pytest.mark.parametrize("kind", ECHO)
def test_only_what_is_iterated_streams(tmp_path: Path, kind: str) -> None:
    chunks: list[bytes] = []
    outcome = executed(loaded(tmp_path, ECHO[kind]), {"x": "a"}, emit=chunks.append)
    assert outcome.failure is None
    assert outcome.outputs is not None
    if kind in STREAMING:
        assert [json.loads(each) for each in chunks] == ["a"] * 2
        assert outcome.outputs == b"null"
    else:
        assert chunks == []
        assert json.loads(outcome.outputs) == ["a"] * 2


def test_chunks_leave_while_the_generator_runs(tmp_path: Path) -> None:
    program = loaded(
        tmp_path, "SEEN = []\ndef main():\n    yield 1\n    SEEN.append(1)\n    yield 2\n"
    )
    seen = program.entry.__globals__["SEEN"]  # type: ignore[attr-defined]
    when: list[int] = []
    executed(program, emit=lambda _: when.append(len(seen)))
    assert when == [0, 1]


def test_a_failure_in_the_middle_of_a_stream_keeps_what_was_sent(tmp_path: Path) -> None:
    chunks: list[bytes] = []
    program = loaded(tmp_path, "def main():\n    yield 1\n    raise ValueError('after one')\n")
    outcome = executed(program, emit=chunks.append)
    assert chunks == [b"1"]
    assert outcome.outputs is None
    assert outcome.failure is not None
    assert outcome.failure.exception == "ValueError"


@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_chunk_that_is_not_json_ends_the_stream_with_its_place(
    tmp_path: Path, prefix: str
) -> None:
    source = (
        f"CLOSED = []\n{prefix}def main():\n    try:\n        yield 1\n"
        "        yield {'a': float('inf')}\n    finally:\n        CLOSED.append(1)\n"
    )
    program = loaded(tmp_path, source)
    chunks: list[bytes] = []
    outcome = executed(program, emit=chunks.append)
    assert chunks == [b"1"]
    assert outcome.failure is not None
    assert outcome.failure.type == "output-not-serializable"
    assert outcome.failure.path == "outputs[1].a"
    assert program.entry.__globals__["CLOSED"] == [1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("prefix", ["", "async "])
def test_an_endless_generator_that_is_not_streamed_meets_the_limit(
    tmp_path: Path, prefix: str
) -> None:
    source = f"{prefix}def main():\n    while True:\n        yield 'x' * 100\n"
    outcome = executed(loaded(tmp_path, source), limit=10_000)
    assert outcome.failure is not None
    assert outcome.failure.type == "output-too-large"
    assert outcome.failure.limit == 10_000


def test_a_list_of_what_was_yielded_may_be_as_long_as_the_limit(tmp_path: Path) -> None:
    program = loaded(tmp_path, "def main(n):\n    yield from [1] * n\n")
    fits = executed(program, {"n": 50}, limit=101)
    assert fits.outputs == b"[" + b",".join([b"1"] * 50) + b"]"
    assert executed(program, {"n": 51}, limit=101).failure is not None
    assert executed(program, {"n": 0}, limit=101).outputs == b"[]"


def test_an_open_file_is_not_iterated(tmp_path: Path) -> None:
    program = loaded(tmp_path, "FILE = open('/dev/null')\ndef main():\n    return FILE\n")
    assert failure(program).type == "output-not-serializable"
    program.entry.__globals__["FILE"].close()  # type: ignore[attr-defined]


def test_each_execution_has_a_loop_of_its_own(tmp_path: Path) -> None:
    source = """
        import asyncio
        LOOPS = []
        async def main():
            LOOPS.append(asyncio.get_running_loop())
            asyncio.create_task(asyncio.sleep(3600))
            return len({id(loop) for loop in LOOPS}), [loop.is_closed() for loop in LOOPS]
    """
    program = loaded(tmp_path, source)
    assert answer(program) == [1, [False]]
    assert answer(program) == [2, [True, False]]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_threads_of_an_async_program_are_waited_for(tmp_path: Path) -> None:
    source = "import asyncio\nasync def main():\n    return await asyncio.to_thread(sum, [1, 2])\n"
    outcome = executed(loaded(tmp_path, source))
    assert outcome.outputs == b"3"
    assert not outcome.threads_left


def test_a_task_group_works(tmp_path: Path) -> None:
    source = """
        import asyncio
        async def one(n):
            await asyncio.sleep(0)
            return n * n
        async def main(n):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(k)) for k in range(n)]
            return [task.result() for task in tasks]
    """
    assert answer(loaded(tmp_path, source), n=4) == [0, 1, 4, 9]


def test_context_variables_do_not_reach_the_next_execution(tmp_path: Path) -> None:
    source = """
        import contextvars, decimal
        VAR = contextvars.ContextVar("VAR", default=0)
        def main():
            before = VAR.get(), decimal.getcontext().prec
            VAR.set(1)
            decimal.getcontext().prec = 3
            return before
    """
    program = loaded(tmp_path, source)
    assert answer(program) == answer(program) == [0, 28]


def test_the_time_of_the_run_is_that_of_the_function(tmp_path: Path) -> None:
    program = loaded(tmp_path, "import time\ndef main(s):\n    time.sleep(s)\n")
    assert executed(program, {"s": 0.2}).run_seconds >= 0.2
    assert executed(program, {}).run_seconds == 0
