"""Whatever a program raises becomes data: what, where in its own files, and no more."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.programs import answer, executed, failure, loaded, loaded_files

from anypod.wire.messages import Failure


@pytest.fixture
def _no_garbage() -> Iterator[None]:
    """What other tests left is not collected where there is no stack for its finalizers."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def raised(directory: Path, source: str) -> Failure:
    told = failure(loaded(directory, source))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(told), type=Failure) == told
    return told


def test_an_exception_is_told_with_name_message_and_traceback(tmp_path: Path) -> None:
    told = raised(tmp_path, "def f():\n    raise ValueError('why')\n\ndef main():\n    f()\n")
    assert (told.type, told.exception, told.message) == ("program-error", "ValueError", "why")
    assert told.detail == "ValueError: why"
    assert told.traceback is not None
    without_marks = [line for line in told.traceback.splitlines(True) if set(line) - set(" ~^\n")]
    assert "".join(without_marks) == (
        "Traceback (most recent call last):\n"
        '  File "main.py", line 5, in main\n    f()\n'
        "  File \"main.py\", line 2, in f\n    raise ValueError('why')\n"
        "ValueError: why\n"
    )


def test_only_frames_of_the_program_are_told(tmp_path: Path) -> None:
    program = loaded_files(
        tmp_path,
        "main:main",
        main="from pkg.tools import parse\ndef main():\n    return parse('{')\n",
        pkg__tools="import json\ndef parse(text):\n    return json.loads(text)\n",
    )
    told = failure(program)
    assert told.exception == "JSONDecodeError"
    assert told.traceback is not None
    assert 'File "main.py", line 3' in told.traceback
    assert 'File "pkg/tools.py", line 3' in told.traceback
    assert "decoder.py" not in told.traceback
    assert "running.py" not in told.traceback
    assert str(tmp_path) not in told.traceback


def test_causes_contexts_and_notes_are_told(tmp_path: Path) -> None:
    source = """
        def main():
            try:
                try:
                    {}["a"]
                except KeyError as error:
                    raise TypeError("second") from error
            except TypeError:
                third = ValueError("third")
                third.add_note("a hint")
                raise third
    """
    told = raised(tmp_path, source).traceback
    assert told is not None
    order = [
        "KeyError: 'a'",
        "direct cause",
        "TypeError: second",
        "During handling",
        "ValueError: third\na hint",
    ]
    places = [told.index(words) for words in order]
    assert places == sorted(places)


def test_a_suppressed_context_is_not_told(tmp_path: Path) -> None:
    source = "def main():\n    try:\n        1 / 0\n    except Exception:\n"
    told = raised(tmp_path, source + "        raise ValueError from None\n")
    assert told.traceback is not None
    assert "ZeroDivisionError" not in told.traceback


ODD = {
    "a constructor that cannot be replayed": """
        class Odd(Exception):
            def __init__(self, first, *, second):
                super().__init__(f"{first} and {second}")
        def main(): raise Odd(1, second=2)
    """,
    "str raises": """
        class Odd(Exception):
            def __str__(self): raise RuntimeError("no")
            __repr__ = __str__
        def main(): raise Odd
    """,
    "str exits": """
        class Odd(Exception):
            def __str__(self): raise SystemExit(1)
        def main(): raise Odd
    """,
    "str interrupts": """
        class Odd(Exception):
            def __str__(self): raise KeyboardInterrupt
        def main(): raise Odd
    """,
    "str is no string": """
        class Odd(Exception):
            def __str__(self): return 3
        def main(): raise Odd
    """,
    "str recurses": """
        class Odd(Exception):
            def __str__(self): return str(self)
        def main(): raise Odd
    """,
    "a message of surrogates": """
        class Odd(Exception): pass
        def main(): raise Odd("\\ud800")
    """,
    "a base exception": """
        class Odd(BaseException): pass
        def main(): raise Odd
    """,
    "notes that are no list": """
        class Odd(Exception): pass
        def main():
            error = Odd()
            error.__notes__ = 3
            raise error
    """,
    "not picklable": """
        class Odd(Exception):
            def __reduce__(self): raise RuntimeError
        def main(): raise Odd(lambda: 1)
    """,
    "its own cause": """
        class Odd(Exception): pass
        def main():
            first, second = Odd(), Odd()
            first.__cause__, second.__cause__ = second, first
            raise first
    """,
}


@pytest.mark.parametrize("case", ODD)
def test_an_exception_of_an_odd_class_is_told_by_its_name(tmp_path: Path, case: str) -> None:
    told = raised(tmp_path, ODD[case])
    assert told.type == "program-error"
    assert told.exception == "Odd"
    assert told.traceback is not None
    assert "Odd" in told.traceback


@pytest.mark.parametrize(
    "source",
    [
        """
        class Odd(Exception):
            @property
            def __context__(self): raise RuntimeError
            __cause__ = __notes__ = __context__
        def main(): raise Odd
        """,
        """
        class Meta(type):
            @property
            def __name__(cls): raise RuntimeError
        class Odd(Exception, metaclass=Meta): pass
        def main(): raise Odd
        """,
    ],
)
def test_an_exception_that_cannot_be_described_is_still_an_error(
    tmp_path: Path, source: str
) -> None:
    assert raised(tmp_path, source).type == "program-error"


@pytest.mark.parametrize(
    "name", ["GeneratorExit", "KeyboardInterrupt", "StopIteration", "StopAsyncIteration"]
)
@pytest.mark.parametrize("prefix", ["", "async "])
def test_exceptions_that_mean_something_to_python_are_errors(
    tmp_path: Path, name: str, prefix: str
) -> None:
    told = raised(tmp_path, f"{prefix}def main():\n    raise {name}('x')\n")
    assert told.type == "program-error"
    expected = "RuntimeError" if prefix and name == "StopIteration" else name
    assert told.exception == expected


def test_a_cancel_of_the_programs_own_is_an_error(tmp_path: Path) -> None:
    source = "import asyncio\nasync def main():\n    asyncio.current_task().cancel()\n"
    told = raised(tmp_path, source + "    await asyncio.sleep(1)\n")
    assert told.type == "program-error"
    assert told.exception == "CancelledError"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("sys.exit(3)", 3),
        ("sys.exit()", 0),
        ("sys.exit('why')", 1),
        ("sys.exit(True)", 1),
        ("sys.exit(-1)", 255),
        ("sys.exit(2**80 + 5)", 5),
        ("sys.exit([1])", 1),
        ("exit(4)", 4),
    ],
)
@pytest.mark.parametrize("prefix", ["", "async "])
def test_an_exit_is_told_with_its_code(tmp_path: Path, call: str, code: int, prefix: str) -> None:
    told = raised(tmp_path, f"import sys\n{prefix}def main():\n    {call}\n")
    assert told.type == "program-exited"
    assert told.exit_code == code
    assert told.traceback is not None
    assert 'File "main.py", line 3, in main' in told.traceback


def test_an_exit_from_another_task_is_an_exit(tmp_path: Path) -> None:
    source = """
        import asyncio, sys
        async def leave():
            sys.exit(5)
        async def main():
            task = asyncio.create_task(leave())
            await asyncio.sleep(10)
    """
    assert raised(tmp_path, source).exit_code == 5


def test_memory_errors_are_told_as_such(tmp_path: Path) -> None:
    told = raised(tmp_path, "def main():\n    return bytearray(1 << 60)\n")
    assert told.type == "out-of-memory"
    assert told.exception == "MemoryError"


@pytest.mark.usefixtures("_no_garbage")
@pytest.mark.parametrize("depth", [1, 2])
def test_a_deep_recursion_has_a_bounded_traceback(tmp_path: Path, depth: int) -> None:
    source = {
        1: "def f(n):\n    return f(n + 1)\n",
        2: "def f(n):\n    return g(n + 1)\ndef g(n):\n    return f(n + 1)\n",
    }[depth]
    told = raised(tmp_path, source + "def main():\n    return f(0)\n")
    assert told.type == "program-error"
    assert told.exception == "RecursionError"
    assert told.traceback is not None
    assert len(told.traceback) <= 17_000
    assert "[... " in told.traceback


@pytest.mark.usefixtures("_no_garbage")
def test_a_recursion_limit_of_the_program_does_not_hinder_us(tmp_path: Path) -> None:
    limit = sys.getrecursionlimit()
    source = """
        import sys
        def main():
            for limit in range(1, 1000):
                try:
                    sys.setrecursionlimit(limit)
                except RecursionError:
                    continue
                break
            raise ValueError("with a low limit")
    """
    try:
        assert raised(tmp_path, source).exception == "ValueError"
    finally:
        sys.setrecursionlimit(limit)


def test_messages_and_tracebacks_are_bounded(tmp_path: Path) -> None:
    told = raised(tmp_path, "def main():\n    raise ValueError('x' * 10_000_000 + 'end')\n")
    assert told.message is not None
    assert told.message.endswith("end")
    assert len(msgspec.msgpack.encode(told)) < 40_000


def test_a_long_chain_is_cut(tmp_path: Path) -> None:
    source = """
        def main():
            error = None
            for n in range(100_000):
                new = ValueError(n)
                new.__cause__ = error
                error = new
            try:
                raise error
            finally:
                del new, error
    """
    program = loaded(tmp_path, source)
    told = failure(program)
    assert told.traceback is not None
    assert "ValueError: 99999\n" in told.traceback
    assert "[... earlier exceptions ...]" in told.traceback
    assert "ValueError: 99990\n" not in told.traceback


def test_the_members_of_a_group_are_told(tmp_path: Path) -> None:
    source = """
        def fail(n):
            raise ValueError(n)
        def main():
            errors = []
            for n in range(30):
                try:
                    fail(n)
                except ValueError as error:
                    errors.append(error)
            raise ExceptionGroup("many", [*errors, ExceptionGroup("inner", [KeyError("k")])])
    """
    told = raised(tmp_path, source)
    assert told.exception == "ExceptionGroup"
    assert told.traceback is not None
    assert "ValueError: 0" in told.traceback
    assert '"main.py", line 3, in fail' in told.traceback
    assert "[... 21 more ...]" in told.traceback


def test_groups_within_groups_are_bounded(tmp_path: Path) -> None:
    source = """
        def main():
            error = ValueError("core")
            for n in range(500):
                error = ExceptionGroup(str(n), [error])
            raise error
    """
    assert raised(tmp_path, source).exception == "ExceptionGroup"


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_exception_in_a_generators_clean_up_is_told(tmp_path: Path, place: str) -> None:
    source = """
        def main(place):
            if place == "before":
                raise ValueError(place)
            try:
                yield float("nan")
            finally:
                raise ValueError(place)
    """
    told = failure(loaded(tmp_path, source), place=place)
    assert (told.exception, told.message) == ("ValueError", place)


def test_a_failed_execution_does_not_hinder_the_next(tmp_path: Path) -> None:
    program = loaded(tmp_path, "def main(x):\n    return 1 // x\n")
    assert failure(program, x=0).exception == "ZeroDivisionError"
    assert answer(program, x=1) == 1
    outcome = executed(program, {"x": 0})
    assert outcome.run_seconds > 0
    assert not outcome.interrupted
