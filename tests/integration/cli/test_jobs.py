"""Jobs from the command line."""

import pytest
from tests.integration.cli.conftest import Cli

SLOW = """
import time
def main(seconds: float = 0) -> str:
    time.sleep(seconds)
    return "done"
"""
BAD = "def main():\n    print('before')\n    raise ValueError('no')\n"

pytestmark = pytest.mark.timeout(400)  # a busy machine starts pools slowly


def test_a_run_that_is_not_waited_for_is_followed_and_read(cli: Cli) -> None:
    submitted = cli("run", cli.file("slow.py", SLOW), "--async", "-l", "team=a", "--priority", "2")
    job = submitted.out.strip()
    assert (submitted.code, submitted.out) == (0, f"{job}\n")
    watched = cli("jobs", "watch", job)
    assert (watched.code, watched.out.splitlines()) == (0, ["queued", "running", "succeeded"])
    assert cli("jobs", "result", job).out == "done\n"
    assert cli("jobs", "result", job, "-o", "json").json()["outputs"] == "done"
    (listed,) = cli("jobs", "list", "-l", "team=a", "-o", "json").json()
    assert (listed["id"], listed["priority"]) == (job, 2)
    head, row = cli("jobs", "list", "-l", "team=a").out.splitlines()
    assert head.split() == ["ID", "PROGRAM", "STATE", "ATTEMPTS", "PROGRESS", "CREATED", "ENDED"]
    assert row.split()[:4] == [job, "slow", "succeeded", "1"]
    assert "state:" in cli("jobs", "get", job).out
    assert cli("jobs", "delete", job).err == f"job {job} is deleted\n"
    assert cli("jobs", "get", job).code == 3


def test_a_job_is_cancelled(cli: Cli) -> None:
    job = cli("run", cli.file("slow.py", SLOW), "seconds=600", "--async").out.strip()
    assert "job-not-finished" in cli("jobs", "result", job).err
    assert cli("jobs", "cancel", job).code == 0
    assert cli("jobs", "watch", job).code == 3
    later = cli("run", "slow", "--async", "--not-before", "2990-01-01").out.strip()
    assert cli("jobs", "cancel", later).err == f"job {later} is cancelled\n"
    assert cli("jobs", "cancel", later, "-o", "json").json()["state"] == "cancelled"
    deleted = cli("jobs", "delete", later, "-o", "json")
    assert (deleted.json(), deleted.err) == ({"job": later, "deleted": True}, "")


def test_a_failed_job_fails_the_command(cli: Cli) -> None:
    job = cli("run", cli.file("bad.py", BAD), "--async").out.strip()
    watched = cli("jobs", "watch", job)
    assert (watched.code, watched.out.splitlines()[-1]) == (1, "failed   program-error")
    result = cli("jobs", "result", job, "--wait")
    assert result.code == 1
    assert "ValueError" in result.err
    assert cli("jobs", "logs", job).out == "before\n"
    assert cli("jobs", "logs", job, "-o", "json").json()["stdout"] == "before\n"


def test_a_job_that_is_not_waited_for_is_shown_whole_as_json(cli: Cli) -> None:
    job = cli("run", cli.file("slow.py", SLOW), "--async", "-o", "json").json()
    assert (job["program"], cli("jobs", "get", job["id"]).code) == ("slow", 0)


@pytest.mark.parametrize(
    "options",
    [
        ["--priority", "1"],
        ["--async", "--stream"],
        ["--async", "--not-before", "tomorrow"],
        ["--async", "--label", "x"],
    ],
)
def test_options_that_make_no_sense_are_refused(cli: Cli, options: list[str]) -> None:
    assert cli("run", "slow", *options).code == 2


def test_what_a_job_says_of_its_progress_cannot_speak_to_a_terminal(cli: Cli) -> None:
    source = """
import time
from anypod import progress
def main():
    for done in range(10):
        progress(done, 10, "\\x9b2J at\\x07\\nit")
        time.sleep(0.2)
"""
    job = cli("run", cli.file("tells.py", source), "--async").out.strip()
    watched = cli("jobs", "watch", job).out.splitlines()
    told = [line for line in watched if line.startswith("progress")]
    assert told
    assert all(line.endswith("/10 \ufffd2J at\ufffd it") for line in told)
    assert "it" not in watched
