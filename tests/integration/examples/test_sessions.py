"""The examples of sessions: what stays in memory, and what outlives the worker."""

import os
import signal
from pathlib import Path

from anypod.client import Client

EXAMPLES = Path(__file__).parents[3] / "examples"


def create(client: Client, *names: str) -> None:
    for name in names:
        client.programs.put(name, source=(EXAMPLES / f"{name}.py").read_text())


def kill_worker_of(client: Client, session: str, launcher: int) -> str:
    """kill -9 of the worker that holds the session, until another one has it; the dead one's name.

    A call on its way to the dead worker would get 502 worker-lost; this one may be repeated.
    """
    create(client, "worker_pid")
    answer = client.session(session).run("worker_pid")
    pid = int(answer.outputs)
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) == launcher, "not a worker of this pool"
    os.kill(pid, signal.SIGKILL)
    assert client.session(session).run("worker_pid", idempotent=True).outputs != pid
    return answer.execution.worker


def lines_with(text: str, word: str) -> list[int]:
    return [n for n, line in enumerate(text.split("\n"), 1) if word in line.lower()]


def test_running_tally_outlives_its_worker(client: Client, pool: tuple[str, int]) -> None:
    create(client, "running_tally")
    session = client.session("tally")
    assert session.run("running_tally", {"name": "apples", "amount": 2}).outputs == {"apples": 2}
    session.run("running_tally", {"name": "pears"})

    dead = kill_worker_of(client, "tally", pool[1])
    answer = session.run("running_tally", {"name": "apples", "amount": 40})

    assert answer.outputs == {"apples": 42, "pears": 1}
    assert answer.execution.worker != dead
    assert session.get().state == {"tally": {"apples": 42, "pears": 1}}
    session.end()


def test_running_tally_is_of_one_session(client: Client) -> None:
    create(client, "running_tally")
    one, two = client.session("one"), client.session("two")
    one.run("running_tally", {"name": "apples"})
    assert two.run("running_tally", {"name": "pears"}).outputs == {"pears": 1}
    one.end()
    two.end()


def test_text_index_is_kept_in_memory_until_the_worker_dies(
    client: Client, pool: tuple[str, int], hamlet: str
) -> None:
    create(client, "text_index")
    session = client.session("index")
    first = session.run("text_index", {"word": "skull", "text": hamlet}).outputs
    assert first == {"loaded": True, "lines": lines_with(hamlet, "skull"), "asked": ["skull"]}
    second = session.run("text_index", {"word": "yorick"}).outputs
    assert second["loaded"]
    assert second["lines"] == lines_with(hamlet, "yorick")

    kill_worker_of(client, "index", pool[1])

    third = session.run("text_index", {"word": "yorick"}).outputs
    assert third == {"loaded": False, "lines": [], "asked": ["skull", "yorick", "yorick"]}
    again = session.run("text_index", {"word": "yorick", "text": hamlet}).outputs
    assert again["lines"] == second["lines"]
    session.end()
