"""The parts of the command line that need no gateway."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anypod.api.problems import TABLE, problem
from anypod.cli import exits, jobs, sources
from anypod.cli.exits import Usage
from anypod.cli.options import labels_of
from anypod.cli.tables import aligned, show_json, text
from anypod.cli.values import inputs_of
from anypod.client.errors import AnswerLost, TimedOut, UnexpectedAnswer, Unreachable, error_of
from anypod.local.settings import CannotStart


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("3", 3),
        ("-1.5e3", -1500.0),
        ("true", True),
        ("null", None),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ('{"a": {"b": 1}}', {"a": {"b": 1}}),
        ("three", "three"),
        ("", ""),
        ("a=b", "a=b"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("[draft] title", "[draft] title"),
        (str(2**80), 2**80),
        ("ä", "ä"),
    ],
)
def test_a_value_is_json_or_else_text(value: str, meant: object) -> None:
    assert inputs_of([f"name={value}"]) == {"name": meant}


@given(st.text(st.characters(exclude_characters="\0")))
def test_any_value_is_taken(value: str) -> None:
    if not value.startswith("@"):
        assert list(inputs_of([f"n={value}"])) == ["n"]


@pytest.mark.parametrize("said", ["tomorrow", "9999-12-31T23:59:59-12:00"])
def test_what_is_no_time_here_is_refused(said: str) -> None:
    with pytest.raises(Usage, match="is no time"):
        jobs.time_of(said)


@pytest.mark.parametrize("pair", ["", "name", "=3"])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(Usage, match="name=value"):
        inputs_of([pair])


def test_labels_are_pairs_of_which_each_is_given_once() -> None:
    assert labels_of(["a=1", "b=", "c=d=e"]) == {"a": "1", "b": "", "c": "d=e"}
    assert labels_of(None) == {}
    for pairs, why in ((["a"], "KEY=VALUE"), (["=x"], "KEY=VALUE"), (["a=1", "a=1"], "twice")):
        with pytest.raises(Usage, match=why):
            labels_of(pairs)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(Usage, match="is not JSON"):
        inputs_of([f"n=@{tmp_path}/a.json"])
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(Usage, match="is not text"):
        inputs_of([f"n=@{tmp_path}/a.txt"])


@pytest.mark.parametrize(
    ("name", "id_"),
    [("greet.py", "greet"), ("my tool (2).py", "my-tool-2-"), ("_x.py", "x"), ("ä1.py", "1")],
)
def test_a_program_is_named_after_its_file(tmp_path: Path, name: str, id_: str) -> None:
    (tmp_path / name).write_text("x = 1")
    found = sources.read(str(tmp_path / name))
    assert (found.id, found.given) == (id_, {"files": {"main.py": "x = 1"}})


def test_a_file_without_a_usable_name_needs_an_id(tmp_path: Path) -> None:
    (tmp_path / "ä.py").write_text("x = 1")
    with pytest.raises(Usage, match="--id"):
        sources.read(str(tmp_path / "ä.py"))


def test_a_definition_is_read_as_it_is_sent(tmp_path: Path) -> None:
    (tmp_path / "qa.yaml").write_text("kind: dspy\nsignature: q -> a\nhistoryTurns: 3\n")
    found = sources.read(str(tmp_path / "qa.yaml"))
    assert found.id == "qa"
    assert found.given == {"kind": "dspy", "signature": "q -> a", "historyTurns": 3}
    (tmp_path / "other.json").write_text('{"id": "named", "kind": "python", "source": "x"}')
    named = sources.read(str(tmp_path / "other.json"))
    assert (named.id, named.given) == ("named", {"kind": "python", "source": "x"})


@pytest.mark.parametrize(
    "text", ["", "- a", "signature: q -> a", "kind: dspy\n1: a", "kind: dspy\na b: 1"]
)
def test_a_file_that_defines_no_program_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(Usage, match="is no program"):
        sources.read(str(tmp_path / "a.yaml"))


def test_a_folder_needs_a_main(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/main.py").write_text("")
    with pytest.raises(Usage, match=r"no main\.py"):
        sources.read(str(tmp_path))


def test_a_folder_of_too_many_files_is_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("")
    for number in range(sources.MAX_FILES):
        (tmp_path / f"{number}.bin").write_bytes(b"\xff")
    with pytest.raises(Usage, match="more than 1000 files"):
        sources.read(str(tmp_path))


def test_every_problem_has_an_exit_code_by_what_it_means() -> None:
    codes = {name: exits.report(error_of(problem(name, "scripted"))) for name in TABLE}
    assert {name for name, code in codes.items() if code == exits.PROGRAM_FAILED} == {
        "program-error",
        "program-exited",
        "program-crashed",
        "out-of-memory",
        "output-not-serializable",
        "output-too-large",
        "lm-context-window",
        "model-output-unusable",
    }
    assert {name for name, code in codes.items() if code == exits.UNAVAILABLE} == {
        "lm-rate-limited",
        "lm-auth",
        "lm-refused",
        "lm-unavailable",
        "queue-full",
        "no-worker",
        "store-unavailable",
        "authentication-unavailable",
        "deadline-exceeded",
        "worker-lost",
        "internal-error",
    }
    assert set(codes.values()) == {exits.PROGRAM_FAILED, exits.UNAVAILABLE, exits.REFUSED}


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Unreachable("x"), 4),
        (AnswerLost("x"), 4),
        (UnexpectedAnswer("x"), 4),
        (TimedOut("x"), 5),
        (Usage("x"), 2),
        (CannotStart("x"), 2),
    ],
)
def test_failures_without_a_problem_have_their_codes(
    failure: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exits.report(failure) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: x\n")


def test_what_nobody_foresaw_is_no_failure_of_the_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exits.report(KeyError("x")) == exits.BUG == 70
    assert "KeyError: 'x'" in capsys.readouterr().err


def test_a_problem_is_told_with_where_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    exits.report(
        error_of(
            problem(
                "invalid-inputs",
                "two fields",
                program="greet",
                worker="w1",
                errors=[
                    {"path": "inputs.a", "message": "no"},
                    {"path": "inputs.b", "message": "so"},
                ],
            )
        )
    )
    assert capsys.readouterr().err.splitlines() == [
        "error: invalid-inputs: two fields",
        "  program greet, worker w1",
        "  inputs.a: no",
        "  inputs.b: so",
    ]


def test_what_a_model_said_is_shown_when_it_cannot_be_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "Paris!\nWhat else?"
    exits.report(error_of(problem("model-output-unusable", "no form", model_output=said)))
    assert capsys.readouterr().err.splitlines() == [
        "error: model-output-unusable: no form",
        "  the model said: Paris!",
        "  the model said: What else?",
        "  describe the outputs, give demos, or choose another LM of the pool",
    ]


def test_cells_say_what_there_is() -> None:
    now = datetime.now(UTC)
    assert text(None) == text({}) == text([]) == text("") == "-"
    assert (text(True), text(0), text(1.50)) == ("yes", "0", "1.5")
    assert text({"a": 1, "b": None}) == "a=1, b=-"
    assert text({"a": {"b": 1}}) == '{"a": {"b": 1}}'
    assert text("two\nlines") == "two lines"
    assert text(now - timedelta(hours=3)) == "3h ago"
    assert text(now + timedelta(days=3, minutes=1)) == "in 3d"


def test_what_others_wrote_cannot_speak_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert text({"k\x1b[1m": "\x1b[31mred\x07"}) == "k\ufffd[1m=\ufffd[31mred\ufffd"
    assert text({"a": ["\x9b1m", "\u202e"]}) == '{"a": ["\ufffd1m", "\ufffd"]}'
    show_json({"k": "\x9b1m \x1b"})
    assert capsys.readouterr().out == '{"k": "\\u009b1m \\u001b"}\n'
    exits.report(error_of(problem("program-error", "\x1b[2J", traceback="a\n\x07")))
    assert capsys.readouterr().err == "error: program-error: \ufffd[2J\n  a\n  \ufffd\n"


def test_columns_are_aligned_and_never_cut() -> None:
    long = "x" * 500
    assert aligned([["A", "B"], [long, "1"]])[1] == f"{long}   1"


def test_help_imports_no_http_library_and_no_models() -> None:
    script = (
        "import sys; sys.argv = ['anypod', '--help']\n"
        "from anypod.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'aiohttp', 'urllib3', 'pydantic', 'rich', 'yaml', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_anypod_exits_as_the_script_does() -> None:
    nowhere = ["jobs", "get", "j-0", "--url", "http://127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-m", "anypod", *nowhere], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (exits.UNREACHABLE, "")
