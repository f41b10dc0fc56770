"""``anypod run``: results on stdout, the rest on stderr, and an exit code that says how it went."""

import json
import os
import pty
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from tests.integration.cli.conftest import Cli
from tests.support.local import ANYPOD, PATIENCE, LocalPool, eventually

from anypod.cli import updates
from anypod.cli.sources import Source
from anypod.client import Client

pytestmark = pytest.mark.timeout(400)  # a busy machine starts pools slowly

GREET = '''
def main(name: str, times: int = 1) -> dict:
    """Greets."""
    print("greeting", name)
    return {"hello": name, "times": times}
'''
COUNT = """
def main(n: int):
    for i in range(n):
        print("step", i)
        yield {"i": i}
"""


def test_a_file_is_created_run_and_run_again(cli: Cli) -> None:
    cli.file("greet.py", GREET)
    first = cli("run", "greet.py", "name=Ada", "times=3")
    assert (first.code, first.json()) == (0, {"hello": "Ada", "times": 3})
    assert first.err == ""
    cli.file("greet.py", GREET.replace('"hello"', '"bye"'))
    assert cli("run", "greet.py", "name=Ada").json() == {"bye": "Ada", "times": 1}
    revisions = cli("programs", "revisions", "greet", "-o", "json").json()
    assert [one["latest"] for one in revisions] == [True, False]
    pinned = f"greet@{revisions[1]['revision'][:8]}"
    assert cli("run", pinned, "name=Ada").json() == {"hello": "Ada", "times": 1}


WAIT = "async def other(n: int) -> int:\n    return n + {}\n"


def test_what_a_file_does_not_say_of_a_program_stays_as_others_said_it(cli: Cli) -> None:
    said = {"concurrency": 20, "idempotent": True, "timeout_seconds": 7.5, "entrypoint": "other"}
    with Client(cli.url) as client:
        labels = {"team": "a"}
        client.programs.put("wait", source=WAIT.format(0), labels=labels, **said)  # type: ignore[arg-type]
        cli.file("wait.py", WAIT.format(1))
        assert cli("run", "wait.py", "n=1").json() == 2
        cli.file("wait.py", WAIT.format(2))
        assert cli("map", "wait.py", "-", stdin='{"n": 1}').out == "3\n"
        cli.file("wait.py", WAIT.format(3))
        job = cli("run", "wait.py", "n=1", "--async").out.strip()
        assert cli("jobs", "result", job, "--wait").json() == 4
        now = client.programs.get("wait")
        assert now.labels == labels
        assert {name: getattr(now, name) for name in said} == said | {"entrypoint": "main:other"}
        assert len(list(client.programs.revisions("wait"))) == 4
        assert cli("run", "wait.py", "n=1", "--concurrency", "3").json() == 4
        assert client.programs.get("wait").concurrency == 3
        assert client.programs.get("wait").idempotent


def test_what_a_new_file_cannot_be_run_with_is_refused_and_changes_nothing(cli: Cli) -> None:
    with Client(cli.url) as client:
        made = client.programs.put("waits", source="async def main(): pass", concurrency=9)
        cli.file("waits.py", "def main(): pass")
        refused = cli("run", "waits.py")
        assert refused.code == 3
        assert "concurrency" in refused.err
        assert client.programs.get("waits") == made
        assert cli("run", "waits.py", "--concurrency", "1").code == 0


def test_a_definition_says_all_of_a_program(cli: Cli) -> None:
    with Client(cli.url) as client:
        client.programs.put("whole", source=WAIT.format(0), entrypoint="other", concurrency=20)
        cli.file("whole.yaml", "kind: python\nidempotent: true\nsource: 'def main(): return 5'\n")
        assert cli("run", "whole.yaml").json() == 5
        now = client.programs.get("whole")
        assert (now.concurrency, now.entrypoint, now.idempotent) == (1, "main:main", True)


def test_those_who_update_a_program_at_once_all_have_their_way(cli: Cli) -> None:
    source = {"files": {"main.py": WAIT.format(0)}, "concurrency": 20, "entrypoint": "other"}
    with Client(cli.url) as client, ThreadPoolExecutor(4) as threads:
        client.programs.put("shared", **source)  # type: ignore[arg-type]
        files = [Source("shared", {"files": {"main.py": WAIT.format(n)}}) for n in range(1, 13)]
        put = list(threads.map(lambda file: updates.put(client, "shared", file), files))
        assert put == ["shared"] * 12
        assert len(list(client.programs.revisions("shared"))) == 13
        assert client.programs.get("shared").concurrency == 20


def test_text_outputs_are_printed_as_they_are(cli: Cli) -> None:
    cli.file("text.py", "def main(): return 'line 1\\nzwei ä \u2028 end'")
    assert cli("run", "text.py").out == "line 1\nzwei ä \u2028 end\n"
    assert cli("run", "text.py", "--json").json()["outputs"] == "line 1\nzwei ä \u2028 end"


@pytest.mark.parametrize("flag", ["--json", "-ojson"])
def test_the_whole_answer_is_one_line_of_json(cli: Cli, flag: str) -> None:
    cli.file("greet.py", GREET)
    done = cli("run", "greet.py", "name=Ada", flag, "--logs")
    (line,) = done.out.splitlines()
    answer = json.loads(line)
    assert answer["outputs"] == {"hello": "Ada", "times": 1}
    assert answer["execution"]["program"] == "greet"
    assert answer["execution"]["logs"]["stdout"] == "greeting Ada\n"


def test_logs_go_to_stderr(cli: Cli) -> None:
    cli.file("greet.py", GREET)
    done = cli("run", "greet.py", "name=Ada", "--logs")
    assert done.err == "greeting Ada\n"
    assert json.loads(done.out)["hello"] == "Ada"


def test_a_stream_is_printed_as_it_comes(cli: Cli) -> None:
    cli.file("count.py", COUNT)
    done = cli("run", "count.py", "n=3", "--stream", "--logs")
    assert done.out.splitlines() == ['{"i": 0}', '{"i": 1}', '{"i": 2}']
    assert done.err.splitlines() == ["step 0", "step 1", "step 2"]
    events = [
        json.loads(x)
        for x in cli("run", "count.py", "n=1", "--stream", "--json").out.split("\n")
        if x
    ]
    assert [event["event"] for event in events] == ["chunk", "result"]
    assert cli("run", "count.py", "n=2").json() == [{"i": 0}, {"i": 1}]


def test_a_session_keeps_its_globals(cli: Cli) -> None:
    cli.file("counter.py", "n = 0\ndef main():\n    global n\n    n += 1\n    return n\n")
    counts = [cli("run", "counter.py", "--session", "cli-s").json() for _ in range(2)]
    assert counts == [1, 2]
    assert cli("sessions", "get", "cli-s", "-o", "json").json()["id"] == "cli-s"
    assert cli("sessions", "delete", "cli-s").code == 0
    assert cli("run", "counter.py", "--session", "cli-s").json() == 1


def test_inputs_are_json_text_and_files(cli: Cli) -> None:
    cli.file("echo.py", "def main(**given): return given")
    cli.file("a.txt", "3\n")
    cli.file("a.json", '{"n": [1]}')
    done = cli(
        "run", "echo.py", "n=3", "s=three", 'q="3"', "t=@a.txt", "j=@a.json", "i=@-", stdin="in"
    )
    assert done.json() == {"n": 3, "s": "three", "q": "3", "t": "3\n", "j": {"n": [1]}, "i": "in"}


def test_an_async_program_can_be_given_a_concurrency(cli: Cli) -> None:
    cli.file("waits.py", "async def main(): return 'waited'")
    cli.file("computes.py", "def main(): return 'computed'")
    assert cli("run", "waits.py", "--concurrency", "8").out == "waited\n"
    assert cli("programs", "get", "waits", "-o", "json").json()["concurrency"] == 8
    refused = cli("run", "computes.py", "--concurrency", "8")
    assert refused.code != 0
    assert "invalid-program" in refused.err


def test_a_folder_is_a_program(cli: Cli) -> None:
    cli.file("tool/main.py", "from tool_parts.words import word\ndef main(): return word()")
    cli.file("tool/tool_parts/__init__.py", "")
    cli.file("tool/tool_parts/words.py", "def word(): return 'deep'")
    assert cli("run", "tool").out == "deep\n"
    assert (
        cli("run", "tool", "--id", "deep-tool", "--entrypoint", "tool_parts.words:word").out
        == "deep\n"
    )


@pytest.mark.parametrize(
    ("source", "arguments", "code", "said"),
    [
        (
            "def main(): return 1 / 0",
            [],
            1,
            ["program-error: ZeroDivisionError", "line 1, in main"],
        ),
        ("import os\ndef main(): os._exit(3)", [], 1, ["program-exited"]),
        ("def main(): return float('nan')", [], 1, ["output-not-serializable"]),
        ("def main(: pass", [], 3, ["invalid-program", "line 1"]),
        ("def main(n: int): return n", ["n=x"], 3, ["invalid-inputs", "inputs.n"]),
        ("def main(n: int): return n", [], 3, ["invalid-inputs", "inputs.n"]),
        ("import time\ndef main(): time.sleep(60)", ["--timeout", "0.5"], 5, ["deadline-exceeded"]),
    ],
)
def test_failures_have_their_exit_code_and_say_where(
    cli: Cli, source: str, arguments: list[str], code: int, said: list[str]
) -> None:
    cli.file("broken.py", source)
    for stream in ([], ["--stream"]):
        done = cli("run", "broken.py", *arguments, *stream)
        assert done.code == code, done.err
        assert done.out == ""
        assert done.err.startswith("error: ")
        for text in said:
            assert text in done.err


@pytest.mark.parametrize("flag", ["-ojson", "--json"])
def test_a_failure_is_its_problem_document_where_results_are_json(cli: Cli, flag: str) -> None:
    cli.file("inverse.py", "def main(n: int):\n    yield 'first'\n    yield 1 // n\n")
    failed = cli("run", "inverse.py", "n=0", flag)
    assert (failed.code, failed.out) == (1, "")
    (line,) = failed.err.splitlines()
    problem = json.loads(line)
    assert problem["type"] == "program-error"
    assert problem["traceback"].endswith("ZeroDivisionError: integer division or modulo by zero\n")

    streamed = cli("run", "inverse.py", "n=0", flag, "--stream")
    assert (streamed.code, json.loads(streamed.err)["type"]) == (1, "program-error")
    chunk, last = map(json.loads, streamed.out.splitlines())
    assert chunk == {"event": "chunk", "data": "first"}
    assert last == {"event": "problem", **json.loads(streamed.err)}
    refused = cli("run", "inverse.py", flag, "--stream")
    assert refused.json() == {"event": "problem", **json.loads(refused.err)}
    assert refused.json()["type"] == "invalid-inputs"


@pytest.mark.parametrize("group", ["programs", "sessions", "jobs", "workers", "pools"])
def test_what_is_not_there_is_told_as_its_problem_document_too(cli: Cli, group: str) -> None:
    missing = cli(group, "get", "j-0" if group == "jobs" else "nope", "-o", "json")
    assert (missing.code, missing.out) == (3, "")
    assert json.loads(missing.err)["type"] == f"{group.removesuffix('s')}-not-found"


def test_what_is_there_is_deleted_beside_what_is_not(cli: Cli) -> None:
    with Client(cli.url) as client:
        for name in ("first", "second"):
            client.programs.put(name, source="def main(): return 1")
            client.session(f"of-{name}").run("first")
    done = cli("programs", "delete", "first", "gone", "no id", "second", "away")
    assert done.code == 2
    first, second, gone, _, odd, away, _ = done.err.splitlines()
    assert [first, second] == ["program first is deleted", "program second is deleted"]
    assert gone.startswith("error: program-not-found")
    assert odd.startswith("error: 'no id': a program's id matches")
    assert away.startswith("error: program-not-found")
    done = cli("sessions", "delete", "gone", "of-first", "away", "of-second", "-o", "json")
    assert done.code == 3
    assert [json.loads(line)["session"] for line in done.out.splitlines()] == [
        "of-first",
        "of-second",
    ]
    assert [json.loads(line)["type"] for line in done.err.splitlines()] == ["session-not-found"] * 2
    done = cli("jobs", "delete", "j-0", "j-1")
    assert (done.code, done.err.count("job-not-found")) == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "nowhere.py"], 2, "nowhere.py cannot be read: No such file"),
        (["run", "no-such-program"], 3, "program-not-found"),
        (["run", "no such program"], 2, "a program's id matches"),
        (["run", "greet", "--id", "x"], 2, "is no file"),
        (["run", "greet", "n"], 2, "'n' is not name=value"),
        (["run", "greet", "n=1", "n=2"], 2, "given twice"),
        (["run", "greet", "n=@nowhere"], 2, "'nowhere' cannot be read"),
        (["run"], 2, "FILE"),
        (["run", "greet", "--timeout", "x"], 2, "timeout"),
        (["run", "greet", "--session", "a b"], 2, "a session's key matches"),
        (["run", "greet", "--pool", "nope"], 3, "pool-not-found"),
        (["frobnicate"], 2, "frobnicate"),
        (["programs", "get", "nope"], 3, "program-not-found"),
        (["programs", "get", "nope", "--url", "http://127.0.0.1:1"], 4, "anypod up"),
        (["programs", "list", "--url", "not an address"], 2, "is not an address"),
        (["programs", "list", "--label", "=x"], 2, "--label '=x' is not KEY=VALUE"),
        (["jobs", "list", "-l", "a=1", "-l", "a=2"], 2, "--label 'a' is given twice"),
        (["run", "greet", "--async", "-l", "a=1", "-l", "a=2"], 2, "--label 'a' is given twice"),
        (["sessions", "get", "nope"], 3, "session-not-found"),
        (["workers", "get", "w99"], 3, "worker-not-found"),
        (["pools", "get", "nope"], 3, "pool-not-found"),
        (["top", "--once", "--pool", "nope"], 3, "pool-not-found"),
        (["top", "--once", "--url", "http://127.0.0.1:1"], 4, "cannot connect"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(
    cli: Cli, arguments: list[str], code: int, said: str
) -> None:
    done = cli(*arguments)
    assert done.code == code, done.err
    assert said in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "arguments",
    ["run count.py n=2", "run count.py n=2 --stream", "map count.py in.jsonl", "jobs list", "-h"],
)
@pytest.mark.parametrize(
    ("where", "said"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_results_that_cannot_be_written_are_an_error_of_their_own(
    cli: Cli, arguments: str, where: str, said: str
) -> None:
    cli.file("count.py", COUNT)
    cli.file("in.jsonl", '{"n": 1}\n')
    done = shell(cli, f"{ANYPOD} {arguments} {where}")
    assert done.returncode == 74, done.stderr
    assert done.stderr.endswith(f"error: cannot write the results: {said}\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", ["run count.py n=9 --stream", "run count.py n=9", "-h"])
def test_a_reader_that_has_enough_is_no_failure_of_anybody(cli: Cli, arguments: str) -> None:
    cli.file("count.py", COUNT)
    done = shell(cli, f"{ANYPOD} {arguments} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (141, "")


def test_messages_that_nobody_can_read_change_nothing(cli: Cli) -> None:
    cli.file("greet.py", GREET)
    for where in ("2>/dev/full", "2>&-"):
        done = shell(cli, f"{ANYPOD} run greet.py name=Ada --logs {where}")
        assert (done.returncode, json.loads(done.stdout)["hello"]) == (0, "Ada")
        assert shell(cli, f"{ANYPOD} programs get nope {where}").returncode == 3


LOUD = """
SAID = "\\x1b[2J\\x9b31m said\\x07"
def main(n: int):
    print(SAID)
    return SAID + str(1 // n)
"""


def test_programs_cannot_speak_to_a_terminal(cli: Cli) -> None:
    cli.file("loud.py", LOUD)
    cli.file("in.jsonl", '{"n": 1}\n{"n": 0}\n')
    job = cli("run", "loud.py", "n=1", "--async").out.strip()
    assert cli("jobs", "result", job, "--wait").out == "\x1b[2J\x9b31m said\x071\n"
    for arguments in (
        "run loud.py n=1 --logs",
        "run loud.py n=1 --logs --stream",
        "map loud.py in.jsonl --logs",
        f"jobs logs {job}",
    ):
        shown = on_a_terminal(cli, arguments)
        assert "[2J\ufffd31m said\ufffd" in shown or "[2J\\u009b31m said\\u0007" in shown
        assert [one for one in ("\x1b[2J", "\x9b", "\x07") if one in shown] == []


def on_a_terminal(cli: Cli, arguments: str) -> str:
    """All that it shows, without a bar's or a spinner's own."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [ANYPOD, *arguments.split()],
        cwd=cli.directory,
        env={**os.environ, "ANYPOD_URL": cli.url, "TERM": "dumb"},
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # when nobody has the other end any more
            while piece := os.read(ours, 1 << 16):
                shown += piece
        os.close(ours)
    return shown.decode()


def test_outputs_are_always_utf_8(cli: Cli) -> None:
    cli.file("lone.py", "def main(whole: bool): return {'a': '\\ud800ä'} if whole else 'b\\ud800ä'")
    assert cli("run", "lone.py", "whole=true").out == '{\n  "a": "\\ud800ä"\n}\n'
    assert cli("run", "lone.py", "whole=false").out == "b?ä\n"
    assert cli("run", "lone.py", "whole=true", "--stream").json() == {"a": "\ud800ä"}


def shell(cli: Cli, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cli.directory,
        env={**os.environ, "ANYPOD_URL": cli.url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_an_interrupt_cancels_the_run(cli: Cli, pool: LocalPool) -> None:
    cli.file("slow.py", "import time\ndef main():\n    print('began-slow')\n    time.sleep(300)\n")
    process = subprocess.Popen(
        [ANYPOD, "run", "slow.py", "--timeout", "400", "--url", pool.url],
        cwd=cli.directory,
        stderr=subprocess.PIPE,
    )
    eventually(lambda: "began-slow" in pool.log(), "it runs")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert b"Traceback" not in err
    with pool.client() as client:
        eventually(lambda: client.pools.get("default").executors.busy == 0, "it is cancelled")
