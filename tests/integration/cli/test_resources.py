"""Lists, views and deletion; tables for people, JSON for programs; completion; top."""

import os
import pty
import signal
import subprocess

import pytest
from tests.integration.cli.conftest import Cli
from tests.support.local import ANYPOD, PATIENCE, LocalPool, eventually

import anypod

pytestmark = pytest.mark.timeout(400)  # a busy machine starts pools slowly


@pytest.fixture
def program(cli: Cli, pool: LocalPool) -> str:
    with pool.client() as client:
        client.programs.put("listed", source="def main(n: int): return n", labels={"team": "a"})
    return "listed"


def test_programs_are_listed_shown_and_deleted(cli: Cli, program: str) -> None:
    head, *rows = cli("programs", "list").out.splitlines()
    assert head.split() == ["ID", "REVISION", "ENTRYPOINT", "STREAMS", "LABELS", "UPDATED"]
    assert any(row.startswith("listed ") and "team=a" in row for row in rows)
    assert [one["id"] for one in cli("programs", "list", "-l", "team=a", "-o", "json").json()] == [
        program
    ]
    assert cli("programs", "list", "-l", "team=b", "-o", "json").json() == []
    shown = cli("programs", "get", program)
    assert "entrypoint:" in shown.out
    assert '"type": "integer"' in shown.out
    assert cli("programs", "get", program, "--source").out == "def main(n: int): return n\n"
    assert cli("programs", "get", program, "-o", "json").json()["labels"] == {"team": "a"}
    done = cli("programs", "delete", program)
    assert (done.code, done.out, done.err) == (0, "", "program listed is deleted\n")
    assert cli("programs", "delete", program).code == 3


def test_what_is_deleted_is_said_as_json(cli: Cli, program: str, pool: LocalPool) -> None:
    done = cli("programs", "delete", program, "-o", "json")
    assert (done.json(), done.err) == ({"program": program, "deleted": True}, "")
    with pool.client() as client:
        client.session("short").programs.put("mine", source="def main(): return 1")
    done = cli("sessions", "delete", "short", "-o", "json")
    assert (done.json(), done.err) == ({"session": "short", "ended": True}, "")


def test_a_program_is_rolled_back(cli: Cli, program: str, pool: LocalPool) -> None:
    with pool.client() as client:
        first = client.programs.get(program).revision
        client.programs.put(program, source="def main(): return 2")
    rolled = cli("programs", "rollback", program, "-o", "json").json()
    assert rolled["revision"] == first
    assert cli("programs", "rollback", program, "0" * 8).code == 3


def test_what_a_session_owns_is_listed_under_it(cli: Cli, pool: LocalPool) -> None:
    with pool.client() as client:
        client.session("owner").programs.put("mine", source="def main(): return 1")
    assert [p["id"] for p in cli("programs", "list", "--session", "owner", "-ojson").json()] == [
        "mine"
    ]
    assert cli("sessions", "list").out.split()[5] == "owner"
    assert cli("sessions", "get", "owner", "-o", "json").json()["programs"] == ["mine"]
    done = cli("sessions", "delete", "owner")
    assert (done.code, done.err) == (0, "session owner is ended\n")
    assert cli("sessions", "get", "owner").code == 3


def test_workers_and_pools_are_listed_and_shown(cli: Cli) -> None:
    assert [w["name"] for w in cli("workers", "list", "-o", "json").json()] == ["w1", "w2"]
    assert cli("workers", "list").out.splitlines()[1].split()[:3] == ["w1", "yes", "2"]
    assert cli("workers", "get", "w1", "-o", "json").json()["executors"] == 2
    assert cli("pools", "list").out.splitlines()[1].split()[:3] == ["default", "2", "2"]
    shown = cli("pools", "get", "default")
    assert "total=2, ready=2" in shown.out


def test_a_frame_of_top_shows_workers_and_pool(cli: Cli) -> None:
    done = cli("top", "--once")
    assert done.code == 0
    assert "pool default   workers 2/2 ready" in done.out
    assert "w2" in done.out
    assert "\033" not in done.out
    (document,) = cli("top", "--once", "-o", "json").json()["pools"]
    assert [worker["name"] for worker in document["workerList"]] == ["w1", "w2"]


def test_top_into_a_pipe_goes_on_until_it_is_interrupted(cli: Cli) -> None:
    process = subprocess.Popen(
        [ANYPOD, "top", "--interval", "0.1", "--url", cli.url], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    seen = 0
    while seen < 3:
        seen += b"pool default" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_top_on_a_terminal_draws_and_leaves_on_interrupt(cli: Cli) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [ANYPOD, "top", "--interval", "0.1", "--url", cli.url],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=os.environ | {"TERM": "xterm-256color"},
    )
    os.close(follower)
    drawn = b""

    def look() -> bool:
        nonlocal drawn
        drawn += os.read(leader, 65536)
        return drawn.count(b"pool default") >= 2

    eventually(look, "two frames")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    os.close(leader)
    assert b"\033[?1049h" in drawn


def test_names_are_completed_from_the_gateway(cli: Cli, program: str) -> None:
    completed = cli(
        *(),
        _ANYPOD_COMPLETE="complete_bash",
        COMP_WORDS=f"anypod programs get --url {cli.url} li",
        COMP_CWORD="5",
    )
    assert program in completed.out.split()
    cli.file("lines.py", "")
    for words, found in (("run li", [program, "lines.py"]), ("top --pool de", ["default"])):
        completed = cli(
            _ANYPOD_COMPLETE="complete_bash",
            COMP_WORDS=f"anypod {words}",
            COMP_CWORD=str(words.count(" ") + 1),
        )
        assert set(found) <= set(completed.out.split()), words
    nothing = cli(
        _ANYPOD_COMPLETE="complete_bash",
        COMP_WORDS="anypod programs get --url http://127.0.0.1:1 li",
        COMP_CWORD="5",
    )
    assert (nothing.out.strip(), nothing.err) == ("", "")


def test_version_and_help_need_no_gateway(cli: Cli) -> None:
    assert cli("--version").out == f"anypod {anypod.__version__}\n"
    shown = cli("--help")
    assert shown.code == 0
    assert "Exit codes: 0 done" in shown.out
    for command in ("up", "run", "top", "programs", "sessions", "workers", "pools"):
        assert cli(command, "--help").code == 0
