"""``anypod map``: a line for each item; an interrupted run goes on where it was."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.integration.cli.conftest import Cli
from tests.support.local import ANYPOD, PATIENCE, LocalPool, eventually

pytestmark = pytest.mark.timeout(400)  # a busy machine starts pools slowly

EXAMPLES = Path(__file__).parents[3] / "examples"
SQUARE = "def main(n: int) -> int:\n    return n * n\n"
NOTE = """
import time
def main(n: int, file: str, seconds: float = 0.05) -> str:
    with open(file, "a") as log:
        log.write(f"begun {n}\\n")
    time.sleep(seconds)
    with open(file, "a") as log:
        log.write(f"done {n}\\n")
    return f"item {n}"
"""
SLOW = """
def main(n: int, file: str) -> int:
    with open(file, "a") as log:
        log.write(f"{n}\\n")
    while n == 0 and not os.path.exists(GO):
        time.sleep(0.01)
    return n
"""


def test_each_line_has_its_line(cli: Cli) -> None:
    cli.file("square.py", SQUARE)
    cli.file("in.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(50)))
    done = cli("map", "square.py", "in.jsonl")
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"{n * n}\n" for n in range(50))
    assert cli("map", "square", "in.jsonl", "--concurrency", "2", "--no-key").out == done.out


def test_a_table_is_given_as_the_program_wants_it(cli: Cli) -> None:
    source = "def main(n: int, up: bool, name: str, x: float | None = 1.5): return [n, up, name, x]"
    cli.file("typed.py", source)
    cli.file("in.csv", 'n,up,name,x\n1,true,7,\n2,no,"a, b",2\n')
    done = cli("map", "typed.py", "in.csv")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        [1, True, "7", None],
        [2, False, "a, b", 2.0],
    ]
    piped = cli("map", "typed", "-", "--format", "csv", stdin="n,up,name\n3,yes,c\n")
    assert json.loads(piped.out) == [3, True, "c", 1.5]


def test_outputs_of_any_kind_stay_in_their_line(cli: Cli) -> None:
    cli.file("echo.py", "def main(x): return x")
    given = ["text\nof two lines", {"a": [1, None]}, "ä\u2028", None, 2**70]
    done = cli("map", "echo.py", "-", stdin="".join(json.dumps({"x": x}) + "\n" for x in given))
    assert [json.loads(line) for line in done.out.split("\n") if line] == given


def test_items_that_fail_are_told_and_the_others_go_on(cli: Cli) -> None:
    cli.file("inverse.py", "def main(n: int): return 60 // n")
    done = cli("map", "inverse.py", "-", stdin='{"n": 1}\n\n{"n": 0}\nnope\n{"n": 4}\n')
    assert done.out == "60\nnull\nnull\n15\n"
    assert done.code == 1
    told = done.err.splitlines()
    assert told[0].startswith("line 3: program-error: ZeroDivisionError")
    assert told[1].startswith("line 4: bad-request: the line is no item")
    assert told[2].startswith("error: 2 of 4 items failed")
    assert "Traceback" not in done.err


def test_what_failed_says_how_by_its_exit_code(cli: Cli) -> None:
    cli.file("wait.py", "import time\ndef main(n: float): time.sleep(n)")
    assert cli("map", "wait.py", "-", stdin='{"n": "x"}\n').code == 3
    assert cli("map", "wait.py", "-", "--timeout", "0.3", stdin='{"n": 60}\n').code == 5


def test_many_failures_are_not_all_told(cli: Cli) -> None:
    cli.file("square.py", SQUARE)
    done = cli("map", "square.py", "-", stdin="{}\n" * 30)
    assert done.out == "null\n" * 30
    assert len(done.err.splitlines()) == 20 + 2


def test_what_items_print_is_told_beside_their_outputs(cli: Cli) -> None:
    cli.file("loud.py", "def main(n: int):\n    print('is', n)\n    return 6 // n\n")
    quiet = cli("map", "loud.py", "-", stdin='{"n": 2}\n')
    assert (quiet.out, quiet.err) == ("3\n", "")
    done = cli("map", "loud.py", "-", "--logs", stdin='{"n": 2}\n\n{"n": 0}\n')
    assert done.out == "3\nnull\n"
    told = done.err.splitlines()
    assert told[:2] == ["line 1: is 2", "line 3: is 0"]
    assert told[2].startswith("line 3: program-error: ZeroDivisionError")
    whole = cli("map", "loud.py", "-", "--logs", "-ojson", stdin='{"n": 2}\n')
    assert (whole.err, json.loads(whole.out)["execution"]["logs"]["stdout"]) == ("", "is 2\n")


@pytest.mark.parametrize("flag", ["-ojson", "--unordered"])
def test_all_that_is_known_is_printed_as_json(cli: Cli, flag: str) -> None:
    cli.file("square.py", SQUARE)
    done = cli("map", "square.py", "-", flag, stdin='{"n": 3}\n{"n": "x"}\n')
    items = {item["index"]: item for item in map(json.loads, done.out.splitlines())}
    assert items[0]["outputs"] == 9
    assert items[0]["execution"]["program"] == "square"
    assert items[1]["problem"]["type"] == "invalid-inputs"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (["square.py", "nowhere.csv"], "", 2, "nowhere.csv cannot be read: No such file"),
        (["nowhere.py", "-"], "", 2, "nowhere.py cannot be read"),
        (["none", "-"], "{}", 3, "program-not-found"),
        (["square.py", "-", "--format", "csv"], "n,n\n1,2\n", 2, "names differ"),
        (["square.py", "-", "--key", "a b\n"], "{}", 2, "Idempotency-Key"),
        (["square.py", "-", "--key", "a", "--no-key"], "{}", 2, "--key and --no-key"),
        (["square.py", "-", "--url", "http://127.0.0.1:1"], "{}", 4, "anypod up"),
    ],
)
def test_what_cannot_be_done_is_said(
    cli: Cli, arguments: list[str], stdin: str, code: int, said: str
) -> None:
    cli.file("square.py", SQUARE)
    done = cli("map", *arguments, stdin=stdin)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("arguments", [["none", "-"], ["square.py", "-", "--format", "csv"]])
def test_a_batch_of_which_nothing_ran_tells_no_key(cli: Cli, arguments: list[str]) -> None:
    cli.file("square.py", SQUARE)
    done = cli("map", *arguments, stdin="n\n1,2\n")
    assert done.code in {2, 3}
    assert "broke off" not in done.err


def test_a_key_is_told_as_a_shell_takes_it(cli: Cli) -> None:
    cli.file("square.py", SQUARE)
    failed = cli("map", "square.py", "-", "--key", "a b", stdin="{}")
    assert "with --key 'a b' only" in failed.err
    broken = cli("map", "square.py", "-", "--key", "$a", "--format", "csv", stdin="n\n1\n2,3\n")
    assert "command --key '$a':" in broken.err


def test_a_table_that_breaks_off_tells_the_key_of_what_was_sent(cli: Cli) -> None:
    log = cli.directory / "log"
    cli.file("note.py", NOTE)
    rows = [f"{n},{log}\n" for n in range(30)]
    cli.file("in.csv", "".join(["n,file\n", *rows, "30,a,b,c\n"]))
    broken = cli("map", "note.py", "in.csv")
    assert broken.code == 2
    assert "row 31 has 4 cells, and the head 2" in broken.err
    key = re.search(r"--key (\w+):", broken.err)
    assert key is not None, broken.err
    cli.file("in.csv", "".join(["n,file\n", *rows]))
    whole = cli("map", "note.py", "in.csv", "--key", key[1])
    assert (whole.code, len(whole.out.splitlines())) == (0, 30)
    assert log.read_text().count("begun") == 30


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_key_is_told_before_the_first_answer_too(cli: Cli, number: signal.Signals) -> None:
    log, go = cli.directory / "log", cli.directory / "go"
    cli.file("slow.py", f"import os, time\nGO = {str(go)!r}\n{SLOW}")
    cli.file("in.jsonl", "".join(f'{{"n": {n}, "file": "{log}"}}\n' for n in range(20)))
    process = subprocess.Popen(
        [ANYPOD, "map", "slow.py", "in.jsonl", "--url", cli.url],
        cwd=cli.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: log.exists() and log.read_text().count("\n") >= 10, "it runs")
    process.send_signal(number)
    if number != signal.SIGINT:
        process.send_signal(number)  # as timeout does
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (128 + number, ""), err
    assert "it broke off before the first answer" in err
    key = re.search(r"--key (\w+):", err)
    assert key is not None, err
    go.touch()
    whole = cli("map", "slow.py", "in.jsonl", "--key", key[1])
    assert whole.out == "".join(f"{n}\n" for n in range(20))
    assert sorted(map(int, log.read_text().split())) == list(range(20))  # each once


def interrupted(cli: Cli, *arguments: str, output: str, lines: int) -> str:
    """The key that it says to go on with, once that many lines were there."""
    out = cli.directory / output
    with out.open("wb") as file:
        process = subprocess.Popen(
            [ANYPOD, "map", *arguments, "--url", cli.url],
            cwd=cli.directory,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: out.read_bytes().count(b"\n") >= lines, "some lines are there")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    found = re.search(r"--key (\w+)", err)
    assert found is not None, err
    return found[1]


def test_an_interrupted_run_goes_on_where_it_was(cli: Cli) -> None:
    log = cli.directory / "log"
    cli.file("note.py", NOTE)
    cli.file("in.jsonl", "".join(f'{{"n": {n}, "file": "{log}"}}\n' for n in range(100)))
    key = interrupted(cli, "note.py", "in.jsonl", output="out.jsonl", lines=10)
    whole = cli("map", "note.py", "in.jsonl", "--key", key)
    assert whole.code == 0
    assert whole.out == "".join(f'"item {n}"\n' for n in range(100))
    for word in ("begun", "done"):
        told = [line for line in log.read_text().splitlines() if line.startswith(word)]
        assert sorted(told) == sorted(f"{word} {n}" for n in range(100))


def test_what_was_interrupted_stops(cli: Cli, pool: LocalPool) -> None:
    log = cli.directory / "log"
    cli.file("note.py", NOTE)
    inputs = [{"n": n, "file": str(log), "seconds": 0.05 if n < 5 else 300} for n in range(100)]
    cli.file("in.jsonl", "".join(json.dumps(one) + "\n" for one in inputs))
    arguments = ("note.py", "in.jsonl", "--no-key", "--timeout", "400")
    process = subprocess.Popen(
        [ANYPOD, "map", *arguments, "--url", cli.url],
        cwd=cli.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    eventually(lambda: log.exists() and log.read_text().count("begun") > 5, "it runs")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"--key" not in err
    with pool.client() as client:
        eventually(lambda: client.pools.get("default").executors.busy == 0, "all is cancelled")


def test_a_reader_of_stdin_that_waits_can_be_interrupted(cli: Cli) -> None:
    cli.file("square.py", SQUARE)
    process = subprocess.Popen(
        [ANYPOD, "map", "square.py", "-", "--url", cli.url],
        cwd=cli.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b'{"n": 3}\n')
    process.stdin.flush()
    assert process.stdout.readline() == b"9\n"  # answered while more may come
    process.send_signal(signal.SIGINT)
    code = process.wait(PATIENCE)
    process.stdin.close()
    process.stdout.close()
    assert code == 130


def test_a_reader_that_does_not_read_can_be_left(cli: Cli) -> None:
    cli.file("text.py", "def main(n: int): return 'x' * 1000")
    cli.file("in.jsonl", '{"n": 1}\n' * 300)
    with subprocess.Popen(
        [ANYPOD, "map", "text.py", "in.jsonl", "--no-key", "--url", cli.url],
        cwd=cli.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        eventually(lambda: unread(process.stdout) > 50_000, "the pipe is full")
        for _ in range(20):  # the first breaks off the batch, the next what it still writes
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
                break
        assert process.wait(PATIENCE) == 130
        err = process.stderr.read()
    assert "it broke off after" in err
    assert "Traceback" not in err


def unread(pipe: Any) -> int:
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"1234"))[0]


def executions(pool: LocalPool) -> int:
    """That have ended, ever."""
    with urlopen(f"{pool.url}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    found = re.search(r'^anypod_run_seconds_count\{pool="default"\} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def test_five_thousand_rows_interrupted_and_resumed_are_as_if_they_had_not_been(
    cli: Cli, pool: LocalPool
) -> None:
    program = "flight_recovery.py"
    shutil.copy(EXAMPLES / program, cli.directory / program)
    table = (EXAMPLES / "data" / "flights.csv").read_text().splitlines(keepends=True)
    cli.file("flights.csv", "".join(table[:5001]))
    uninterrupted = cli("map", program, "flights.csv", "--no-key")
    assert uninterrupted.code == 0
    assert len(uninterrupted.out.splitlines()) == 5000

    before = executions(pool)
    key = interrupted(cli, program, "flights.csv", output="out.jsonl", lines=500)
    shell = f"{ANYPOD} map {program} flights.csv --key {key} --url {cli.url} > out.jsonl"
    subprocess.run(["bash", "-c", shell], cwd=cli.directory, timeout=300, check=True)
    assert (cli.directory / "out.jsonl").read_bytes() == uninterrupted.out.encode()
    assert executions(pool) - before == 5000  # each once


def test_a_terminal_shows_how_far_it_is(cli: Cli) -> None:
    cli.file("inverse.py", "def main(n: int): return 60 // n")
    cli.file("in.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(40)))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [ANYPOD, "map", "inverse.py", "in.jsonl", "--url", cli.url],
        cwd=cli.directory,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(theirs)
    shown = b""
    while piece := _read(ours):
        shown += piece
    os.close(ours)
    assert process.wait(PATIENCE) == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "line 1: program-error: ZeroDivisionError" in text
    assert "40/40" in text
    assert "1 failed" in text
    assert "/s" in text


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # nobody has the other end any more
        return b""
