"""A tour in under a minute: ``make demo``.

Starts a pool of 4 workers with 2 executors each in a temporary folder, creates the programs of this
folder, runs them on real plays and flights, lets one crash beside others, kills the worker of a
session, and stops everything. Exits with 1 if anything is not as it should be.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from demo_pool import EXECUTORS, WORKERS, family, is_running, local_pool, parent_of, wait_until
from demo_show import Show, say_counts, say_delay, say_flight, say_part
from rich.console import Console

from anypod.client import Answer, AnyPodError, Chunk, Client, NoAnswer

HERE = Path(__file__).parent
HAMLET = (HERE / "data" / "hamlet.txt").read_text()
MACBETH = (HERE / "data" / "macbeth.txt").read_text()
FLIGHTS = (HERE / "data" / "flights.csv").read_text()

START_SECONDS = 30.0
STOP_SECONDS = 20.0

PROGRAMS = (
    "word_frequencies",
    "concordance",
    "speakers",
    "vocabulary",
    "flight_delays",
    "flight_search",
    "running_tally",
    "text_index",
    "misbehave",
    "worker_pid",
)


def ready(client: Client, up: subprocess.Popen[bytes]) -> bool:
    if up.poll() is not None:
        return False
    try:
        return sum(worker.ready for worker in client.workers.list()) == WORKERS
    except (AnyPodError, NoAnswer):
        return False


def create_programs(show: Show, client: Client) -> None:
    show.heading("Programs are created once")
    files = [HERE / "flight_report" / name for name in ("main.py", "delays.py", "tables.py")]
    files.append(HERE / "flight_report" / "airlines.csv")
    table = show.table("program", "revision", "what it does")
    for name in PROGRAMS:
        made = client.programs.put(name, source=(HERE / f"{name}.py").read_text())
        table.add_row("", name, made.revision[:8], (made.doc or "").splitlines()[0])
    made = client.programs.put(
        "flight_report", files={file.name: file.read_text() for file in files}
    )
    table.add_row("", "flight_report", made.revision[:8], (made.doc or "").splitlines()[0])
    show.console.print(table)


def answers(show: Show, client: Client) -> None:
    show.heading("Any worker runs them")
    table = show.table("program", "worker", "ms", "answer")

    def run(program: str, say: Callable[[Any], str], **inputs: Any) -> Any:
        answer = show.note(client.run(program, inputs))
        took = f"{answer.execution.run_seconds * 1000:.1f}"
        table.add_row("", program, answer.execution.worker, took, say(answer.outputs))
        return answer.outputs

    frequent = run("word_frequencies", say_counts, text=HAMLET, top=4, longer_than=4)
    show.check("the words of Hamlet", frequent == count_words(HAMLET, 4, 5))
    parts = run("speakers", lambda parts: say_part(parts[0]), text=MACBETH)
    show.check("the first speaker of Macbeth", parts[0]["speaker"] == "MACBETH")
    sizes = run("vocabulary", say_counts, texts={"hamlet": HAMLET, "macbeth": MACBETH})
    show.check("the vocabulary", sizes["hamlet"] == len(set(re.findall("[a-z]+", HAMLET.lower()))))
    delays = run("flight_delays", lambda all_: say_delay(all_[0]), table=FLIGHTS, origin="LGA")
    show.check("all flights of LaGuardia", sum(d["flights"] for d in delays) == count_rows(",LGA,"))
    query = {"origin": "JFK", "destination": "SFO", "day": "2013-01-03", "not_before": "17:00"}
    flights = run(
        "flight_search",
        lambda f: f"{len(f)} flights: {say_flight(f[0])}, …",
        table=FLIGHTS,
        query=query,
    )
    show.check("flights in the evening", all(f["scheduled"] >= "17:00" for f in flights))
    report = run(
        "flight_report", lambda text: text.splitlines()[2], table=FLIGHTS, day="2013-01-02"
    )
    show.check("all carriers of the day", len(report.splitlines()) == 2 + 14)
    show.console.print(table)


def count_words(text: str, top: int, at_least: int) -> dict[str, int]:
    words = re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower())
    return dict(Counter(word for word in words if len(word) >= at_least).most_common(top))


def count_rows(with_: str) -> int:
    return sum(with_ in line for line in FLIGHTS.splitlines())


def streamed(show: Show, client: Client) -> None:
    show.heading("A generator streams")
    with client.stream("concordance", {"text": HAMLET, "word": "skull"}) as stream:
        *chunks, answer = stream
    assert isinstance(answer, Answer)
    places = [chunk.data for chunk in chunks if isinstance(chunk, Chunk)]
    for place in places[:3]:
        show.line(f"{place['line']:>5}  {place['before']:>30}{place['word']}{place['after']}")
    show.line(f"… {len(places)} in all, from {show.note(answer).execution.worker}")
    show.check("every skull", len(places) == len(re.findall(r"(?i)\bskull\b", HAMLET)))


def together(show: Show, client: Client) -> None:
    scenes = re.split(r"\n(?=(?:SCENE|Scene) [IVX]+\. )", HAMLET + MACBETH)
    show.heading(f"{len(scenes)} scenes at once")

    def count(scene: str) -> Answer:
        return client.run("word_frequencies", {"text": scene, "top": 10_000, "longer_than": 0})

    began = time.monotonic()
    with ThreadPoolExecutor(16) as threads:
        found = [show.note(answer) for answer in threads.map(count, scenes)]
    took = time.monotonic() - began
    total = sum((Counter(answer.outputs) for answer in found), Counter[str]())
    by_worker = Counter(answer.execution.worker for answer in found)
    show.line(f"in {took:.2f} s, by worker: {say_counts(dict(sorted(by_worker.items())))}")
    show.line(f"most frequent in both plays: {say_counts(dict(total.most_common(4)))}")
    show.check("the sum over the scenes", total == Counter(count_words(HAMLET + MACBETH, 10**6, 1)))
    show.check("every worker had some", len(by_worker) == WORKERS)


def containment(show: Show, client: Client) -> None:
    show.heading("A program that goes wrong hurts nobody")
    before = {worker.name for worker in client.workers.list()}
    table = show.table("what it does", "worker", "its caller gets", "a neighbour", "meanwhile")
    expected = {
        "raise": "program-error",
        "exit": "program-exited",
        "kill": "program-crashed",
        "segfault": "program-crashed",
        "memory": "out-of-memory",
        "loop": "deadline-exceeded",
    }
    with ThreadPoolExecutor(2) as threads:
        for way, type_ in expected.items():
            bad = threads.submit(misbehave, client, way)
            good = threads.submit(client.run, "speakers", {"text": HAMLET, "top": 1})
            told = bad.result()
            got = told.type if told is not None else "nothing"
            other = show.note(good.result())
            part = other.outputs[0]
            if told is not None:
                says = f"{told.status} {got}: {told.problem.detail}"
                worker = told.problem.worker or ""
                table.add_row("", way, worker, says, other.execution.worker, say_part(part))
            show.check(f"{way} is told as {type_}", got == type_)
            show.check(f"the neighbour of {way}", part["speaker"] == "Ham")
    show.console.print(table)
    show.check("every worker stays", {w.name for w in client.workers.list()} == before)


def misbehave(client: Client, way: str) -> AnyPodError | None:
    try:
        client.run("misbehave", {"way": way}, timeout=1)
    except AnyPodError as error:
        return error
    return None


def session(show: Show, client: Client, up: subprocess.Popen[bytes]) -> None:
    show.heading("A session outlives its worker")
    reader = client.session("reader-1")
    found = show.note(reader.run("text_index", {"word": "skull", "text": HAMLET}))
    show.line(f"{found.execution.worker} indexes Hamlet: 'skull' in lines {found.outputs['lines']}")
    found = show.note(reader.run("text_index", {"word": "yorick"}))
    show.line(f"{found.execution.worker} still has the index: 'yorick' in {found.outputs['lines']}")
    show.check("the index is kept in memory", found.outputs["loaded"] and found.outputs["lines"])
    show.note(reader.run("running_tally", {"name": "pages", "amount": 30}))
    old = found.execution.worker

    pid = show.note(reader.run("worker_pid")).outputs
    show.check("it is a worker of ours", parent_of(pid) == up.pid)
    os.kill(pid, signal.SIGKILL)
    show.line(f"kill -9 {pid}, which is {old}")

    # A call that was on its way to the dead worker gets 502 worker-lost: it may have happened. To
    # ask for a process id twice does no harm, so the client may repeat it; to add pages would.
    began = time.monotonic()
    reader.run("worker_pid", idempotent=True)
    tally = show.note(reader.run("running_tally", {"name": "pages", "amount": 12}))
    took = time.monotonic() - began
    new = tally.execution.worker
    show.line(f"{new} goes on after {took:.2f} s: 30 + 12 = {tally.outputs['pages']:g} pages")
    show.check("the state is there again", tally.outputs == {"pages": 42})
    show.check("another worker has the session", new != old)
    found = show.note(reader.run("text_index", {"word": "ghost"}))
    show.line(
        f"what was only in memory is gone: loaded is {found.outputs['loaded']}; "
        f"asked so far: {', '.join(found.outputs['asked'])}"
    )
    show.check("memory is not state", not found.outputs["loaded"])
    show.check("state is", found.outputs["asked"] == ["skull", "yorick", "ghost"])
    reader.end()
    whole = wait_until(lambda: ready(client, up), START_SECONDS)
    show.check("there are as many workers as before", whole)


def summary(show: Show, client: Client) -> None:
    show.heading("What the pool did")
    table = show.table("worker", "ready", "answers here", "executors replaced")
    workers = {worker.name: worker for worker in client.workers.list()}
    for name in sorted({*workers, *show.by_worker}):
        worker = workers.get(name)
        table.add_row(
            "",
            name,
            "yes" if worker and worker.ready else "killed",
            str(show.by_worker[name]),
            say_counts(worker.restarts) if worker else "",
        )
    show.console.print(table)
    show.line(f"{show.by_worker.total()} answers in all")


def tour(show: Show, folder: Path) -> None:
    began = time.monotonic()
    with local_pool(folder) as (url, up):
        with Client(url, timeout=30) as client:
            if not wait_until(lambda: ready(client, up) or up.poll() is not None, START_SECONDS):
                up.kill()
            if not ready(client, up):
                show.console.print((folder / "up.log").read_text(errors="replace"), markup=False)
                show.check("the pool gets ready", holds=False)
                return
            show.heading(f"anypod up: {WORKERS} workers of {EXECUTORS} executors")
            show.line(f"all ready after {time.monotonic() - began:.2f} s at {url}")
            create_programs(show, client)
            answers(show, client)
            streamed(show, client)
            together(show, client)
            containment(show, client)
            session(show, client, up)
            summary(show, client)
        processes = family(up.pid)
        up.send_signal(signal.SIGTERM)
        try:
            code = up.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        show.check("anypod up ends with 0", code == 0)
        gone = wait_until(lambda: not any(map(is_running, processes)), 2)
        show.check("no process is left", gone)
        show.heading(f"Stopped: {len(processes)} processes, {'none' if gone else 'SOME'} left")


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 110)
    show = Show(console)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="anypod-demo-") as folder:
        try:
            tour(show, Path(folder))
        except (AnyPodError, NoAnswer) as error:
            show.check(f"no error: {error}", holds=False)
    took = time.monotonic() - began
    if show.failures:
        console.print(f"\n{len(show.failures)} things were wrong: {'; '.join(show.failures)}")
        return 1
    console.print(f"All as it should be, in {took:.1f} s.", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
