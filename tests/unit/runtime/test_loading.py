"""What is accepted as a program, and what is told to the one whose program is not."""

import json
import os
import sys
from pathlib import Path

import pytest
from tests.support.forked import in_executor, interrupted_when
from tests.support.programs import answer, executed, failure, loaded, loaded_files, refused

from anypod.wire.messages import Code
from anypod_worker.runtime.loading import InvalidProgram, Programs, load


def test_a_syntax_error_is_told_with_file_line_and_message(tmp_path: Path) -> None:
    told = refused(tmp_path, "x = 1\ndef main(:\n    pass\n")
    assert told.type == "invalid-program"
    assert told.line == 2
    assert told.message == "invalid syntax"
    assert told.detail == "main.py, line 2: invalid syntax"


@pytest.mark.parametrize("imported", [True, False])
def test_a_syntax_error_in_another_file_is_told_even_if_nothing_imports_it(
    tmp_path: Path, imported: bool
) -> None:
    main = "import pkg.other\n" if imported else ""
    main += "def main():\n    pass\n"
    with pytest.raises(InvalidProgram) as raised:
        loaded_files(tmp_path, "main:main", main=main, pkg__other="a = 1\nb = (\n")
    told = raised.value.failure
    assert told.line == 2
    assert told.detail.startswith("pkg/other.py, line 2: ")


def test_a_file_that_is_not_python_is_not_compiled(tmp_path: Path) -> None:
    source = (
        "from pathlib import Path\n"
        "def main():\n    return Path(__file__).with_name('data.txt').read_text()\n"
    )
    files = {"main.py": source, "data.txt": "not ( python\r\n"}
    program = load(Code("python", files, "main:main"), "0" * 64, tmp_path)
    assert answer(program) == "not ( python\n"


@pytest.mark.parametrize("source", ["x = '\0'\n", "def main():\n    return " + "(" * 5000])
def test_a_source_that_the_compiler_refuses_in_other_ways_is_invalid(
    tmp_path: Path, source: str
) -> None:
    assert refused(tmp_path, source).type == "invalid-program"


def test_a_missing_entry_point_is_told_with_the_functions_that_exist(tmp_path: Path) -> None:
    source = "from os.path import join\nlimit = 3\ndef first(): ...\ndef second(): ...\n"
    told = refused(tmp_path, source)
    assert told.detail == "there is no 'main' in 'main'; it has: first, second"


@pytest.mark.parametrize(
    ("entrypoint", "words"),
    [
        ("main:limit", "not a function but a value of type int"),
        ("other:main", "no module 'other'"),
        ("main", "form"),
        ("main:", "form"),
        ("main:a b", "form"),
    ],
)
def test_an_entry_point_that_cannot_be_called_is_invalid(
    tmp_path: Path, entrypoint: str, words: str
) -> None:
    told = refused(tmp_path, "limit = 3\ndef main(): ...\n", entrypoint)
    assert told.type == "invalid-program"
    assert words in told.detail


def test_an_entry_point_may_be_a_method(tmp_path: Path) -> None:
    source = "class App:\n    def run(self, x):\n        return x\napp = App()\n"
    assert answer(loaded(tmp_path, source, "main:app.run"), x=[1]) == [1]


def test_a_failing_import_is_told_with_exception_line_and_own_frames(tmp_path: Path) -> None:
    source = """
        import json

        def settings():
            return json.loads("{")

        SETTINGS = settings()

        def main(): ...
    """
    told = refused(tmp_path, source)
    assert told.exception == "JSONDecodeError"
    assert told.line == 5
    assert told.traceback is not None
    assert 'File "main.py", line 7, in <module>' in told.traceback
    assert 'File "main.py", line 5, in settings' in told.traceback
    assert "json/decoder.py" not in told.traceback
    assert str(tmp_path) not in told.traceback


def test_a_module_that_does_not_exist_is_named(tmp_path: Path) -> None:
    told = refused(tmp_path, "import no_such_module\ndef main(): ...\n")
    assert told.exception == "ModuleNotFoundError"
    assert told.line == 1
    assert "no_such_module" in told.detail


@pytest.mark.parametrize("source", ["import sys\nsys.exit(3)\n", "raise SystemExit('why')\n"])
def test_an_import_that_exits_is_invalid(tmp_path: Path, source: str) -> None:
    told = refused(tmp_path, source)
    assert told.type == "invalid-program"
    assert "sys.exit" in told.detail


@pytest.mark.parametrize(
    "error", ["KeyboardInterrupt", "GeneratorExit", "MemoryError", "BaseException"]
)
def test_an_import_may_raise_anything(tmp_path: Path, error: str) -> None:
    told = refused(tmp_path, f"raise {error}\n")
    assert told.type == "invalid-program"
    assert told.exception == error


@pytest.mark.parametrize(
    "path",
    [
        "/etc/main.py",
        "../main.py",
        "a/../../main.py",
        "a/./b.py",
        "a//b.py",
        "a/",
        "",
        "nul\0.py",
        "a" * 300 + ".py",
        "a/" * 600 + "b.py",
        "main.py/inner.py",
        "lone\ud800.py",
    ],
)
def test_a_path_outside_the_program_or_impossible_is_invalid(tmp_path: Path, path: str) -> None:
    files = {"main.py": "def main(): ...\n", path: ""}
    with pytest.raises(InvalidProgram) as raised:
        load(Code("python", files, "main:main"), "0" * 64, tmp_path)
    assert raised.value.failure.type == "invalid-program"
    assert list(tmp_path.iterdir()) == []


def test_paths_that_differ_in_case_only_are_two_files(tmp_path: Path) -> None:
    program = loaded_files(
        tmp_path,
        "main:main",
        main="import a, A\ndef main():\n    return [a.x, A.x]\n",
        a="x = 1",
        A="x = 2",
    )
    assert answer(program) == [1, 2]


@pytest.mark.parametrize("path", ["json.py", "queue.py", "json/__init__.py", "pydantic.py"])
def test_a_file_that_would_hide_a_module_that_others_need_is_refused(
    tmp_path: Path, path: str
) -> None:
    files = {"main.py": "def main(): ...\n", path: ""}
    with pytest.raises(InvalidProgram) as raised:
        load(Code("python", files, "main:main"), "0" * 64, tmp_path)
    assert "rename it" in raised.value.failure.detail


def test_a_coding_line_means_what_it_says(tmp_path: Path) -> None:
    source = "# -*- coding: latin-1 -*-\ndef main():\n    return 'é'\n"
    assert answer(loaded(tmp_path, source)) == "é"
    told = refused(tmp_path, "# coding: latin-1\ndef main():\n    return '\u4e2d'\n")
    assert told.type == "invalid-program"
    assert refused(tmp_path, "# coding: nonsense\ndef main(): ...\n").line == 1


def test_an_unpaired_surrogate_in_a_source_is_told_with_its_line(tmp_path: Path) -> None:
    assert refused(tmp_path, "def main():\n    return '\ud800'\n").line == 2


def test_packages_relative_imports_and_late_imports_work(tmp_path: Path) -> None:
    program = loaded_files(
        tmp_path,
        "pkg.app:main",
        pkg__app="from .tools import twice\nfrom pkg import names\n"
        "def main(x):\n    from .late import ADDED\n    return [twice(x), names.NAME, ADDED]\n",
        pkg__tools="def twice(x):\n    return 2 * x\n",
        pkg__names="NAME = __name__\n",
        pkg__late="ADDED = 1\n",
    )
    assert answer(program, x=4) == [8, "pkg.names", 1]
    assert answer(program, x=5) == [10, "pkg.names", 1]


def test_modules_of_a_program_are_there_only_while_it_runs(tmp_path: Path) -> None:
    program = loaded(tmp_path, "import sys\ndef main():\n    return sys.path[0]\n")
    assert answer(program) == str(program.directory)
    assert "main" not in sys.modules
    assert str(program.directory) not in sys.path


def test_equal_module_names_of_two_programs_do_not_meet(tmp_path: Path) -> None:
    files = {
        "main": "import shared\ncount = 0\n"
        "def main():\n    global count\n    count += 1\n    return [shared.NAME, count]\n",
    }
    first = loaded_files(tmp_path, "main:main", **files, shared="NAME = 'first'")
    second = loaded_files(tmp_path, "main:main", **files, shared="NAME = 'second'")
    assert [answer(first), answer(second), answer(first), answer(second)] == [
        ["first", 1],
        ["second", 1],
        ["first", 2],
        ["second", 2],
    ]


def test_a_program_hides_an_installed_module_for_itself_only(tmp_path: Path) -> None:
    import tomllib as installed  # stands for any library that the zygote has loaded

    sys.modules["library_of_the_pool"] = installed
    try:
        program = loaded_files(
            tmp_path,
            "main:main",
            main="import library_of_the_pool\ndef main():\n    return library_of_the_pool.NAME\n",
            library_of_the_pool="NAME = 'own'\n",
        )
        assert answer(program) == "own"
        assert sys.modules["library_of_the_pool"] is installed
    finally:
        del sys.modules["library_of_the_pool"]


def test_a_failed_load_leaves_nothing_behind(tmp_path: Path) -> None:
    path = list(sys.path)
    refused(tmp_path, "import sys\nsys.path.append('/here')\nraise ValueError\n")
    sys.path[:] = path
    assert "main" not in sys.modules
    assert list(tmp_path.iterdir()) == []


def test_the_least_recently_used_program_goes_first(tmp_path: Path) -> None:
    programs = Programs(2)
    first, second, third = (loaded(tmp_path, "def main(): ...\n") for _ in range(3))
    programs.add(first)
    programs.add(second)
    assert programs.get(first.revision) is first
    programs.add(third)
    assert programs.get(second.revision) is None
    assert not second.directory.exists()
    assert programs.get(first.revision) is first
    assert len(programs) == 2
    assert answer(first) is None


def test_a_revision_can_come_back_after_it_went(tmp_path: Path) -> None:
    source = Code("python", {"main.py": "def main():\n    return 1 / 0\n"}, "main:main")
    programs = Programs(1)
    programs.add(load(source, "a" * 64, tmp_path))
    programs.add(loaded(tmp_path, "def main(): ...\n"))
    again = programs.add(load(source, "a" * 64, tmp_path))
    told = failure(again)
    assert told.traceback is not None
    assert "return 1 / 0" in told.traceback


def test_an_import_without_end_is_interrupted(tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def body(_baseline: object) -> tuple[str, bool]:
        source = f"open({str(ready)!r}, 'w').close()\nwhile True:\n    pass\n"
        with interrupted_when(ready), pytest.raises(InvalidProgram) as raised:
            loaded(tmp_path, source)
        return raised.value.failure.detail, raised.value.interrupted

    detail, interrupted = in_executor(body).value
    assert interrupted
    assert "did not end in time" in detail


def test_what_an_import_changes_stays_with_the_program(tmp_path: Path) -> None:
    def body(baseline: object) -> list[object]:
        with_settings = loaded(
            tmp_path,
            "import os, sys\nos.environ['MODE'] = 'fast'\nsys.setrecursionlimit(5000)\n"
            "def main():\n    return [os.environ.get('MODE'), sys.getrecursionlimit()]\n",
        )
        baseline.restore()  # type: ignore[attr-defined]
        other = loaded(tmp_path, "import os\ndef main():\n    return os.environ.get('MODE')\n")
        seen = []
        for program in (with_settings, other, with_settings, other):
            outcome = executed(program)
            assert outcome.outputs is not None
            seen.append(json.loads(outcome.outputs))
            baseline.restore()  # type: ignore[attr-defined]
        return [*seen, os.environ.get("MODE")]

    assert in_executor(body).value == [["fast", 5000], None, ["fast", 5000], None, None]
