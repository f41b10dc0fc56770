"""Every example runs on its real data through HTTP, and its answer is computed here another way."""

import csv
import io
import re
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.support.anypod_up import anypod_up

from anypod.client import AnyPodError, Client, InvalidInputs

EXAMPLES = Path(__file__).parents[3] / "examples"


def source(name: str) -> str:
    return (EXAMPLES / f"{name}.py").read_text()


def run(client: Client, name: str, **inputs: Any) -> Any:
    client.programs.put(name, source=source(name))
    return client.run(name, inputs).outputs


def words_of(text: str) -> list[str]:
    """Without regular expressions, which the examples use."""
    letters = "".join(c if c.isalpha() or c == "'" else " " for c in text.lower())
    return [word.strip("'") for word in letters.split() if word.strip("'")]


def table(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text))


def test_word_frequencies(client: Client, hamlet: str) -> None:
    counts = Counter(word for word in words_of(hamlet) if len(word) > 4)
    found = run(client, "word_frequencies", text=hamlet, top=50, longer_than=4)

    assert sorted(found.values(), reverse=True) == [n for _, n in counts.most_common(50)]
    assert all(counts[word] == count for word, count in found.items())


def test_concordance_streams_every_place(client: Client, hamlet: str) -> None:
    client.programs.put("concordance", source=source("concordance"))
    with client.stream("concordance", {"text": hamlet, "word": "ghost"}) as stream:
        places = list(stream.chunks())

    expected = [
        number
        for number, line in enumerate(hamlet.split("\n"), start=1)
        for word in words_of(line)
        if word == "ghost" or word == "ghost's"
    ]
    assert [place["line"] for place in places] == expected
    lines = hamlet.split("\n")
    for place in places:
        part = place["before"] + place["word"] + place["after"]
        assert part in lines[place["line"] - 1]


def test_concordance_answers_with_a_list_when_it_is_not_streamed(
    client: Client, macbeth: str
) -> None:
    places = run(client, "concordance", text=macbeth, word="dagger", width=5)
    assert len(places) == Counter(words_of(macbeth))["dagger"]
    assert all(len(place["before"]) <= 5 for place in places)


def speeches(text: str) -> Counter[str]:
    """Speeches by speaker: a name and a point alone on a line, after an empty line."""
    lines = text.split("\n")
    return Counter(
        line.removesuffix(".")
        for before, line, after in zip(lines, lines[1:], lines[2:], strict=False)
        if not before and after and re.fullmatch(r"[A-Z][A-Za-z. ]*\.", line)
    )


def test_speakers(client: Client, macbeth: str) -> None:
    counts = speeches(macbeth)
    parts = run(client, "speakers", text=macbeth, top=10)

    assert len(parts) == 10
    assert {part["speaker"]: part["speeches"] for part in parts} == {
        part["speaker"]: counts[part["speaker"]] for part in parts
    }
    words = [part["words"] for part in parts]
    assert words == sorted(words, reverse=True)
    assert parts[0]["speaker"] == "MACBETH"
    assert all(part["longest"] <= part["words"] for part in parts)


def test_vocabulary(client: Client, hamlet: str, macbeth: str) -> None:
    expected = {
        title: len({part for word in words_of(text) for part in word.split("'") if part})
        for title, text in {"hamlet": hamlet, "macbeth": macbeth}.items()
    }
    assert run(client, "vocabulary", texts={"hamlet": hamlet, "macbeth": macbeth}) == expected


def test_flight_delays(client: Client, flights: str) -> None:
    found = run(client, "flight_delays", table=flights, origin="JFK")

    frame = table(flights).query("origin == 'JFK'")
    groups = frame.groupby("carrier")["departure_delay"]
    by_carrier = {one["carrier"]: one for one in found}
    assert set(by_carrier) == set(frame["carrier"])
    for carrier, delays in groups:
        one = by_carrier[str(carrier)]
        assert one["flights"] == len(delays)
        assert one["cancelled"] == int(delays.isna().sum())
        assert one["median_minutes"] == delays.median()
        assert one["worst_minutes"] == delays.max()
    medians = [one["median_minutes"] for one in found]
    assert medians == sorted(medians)


QUERY = {"origin": "EWR", "destination": "ORD", "day": "2013-01-04", "not_before": "12:30"}


def test_flight_recovery_of_every_row(client: Client, flights: str) -> None:
    client.programs.put("flight_recovery", source=source("flight_recovery"))
    rows = list(csv.DictReader(io.StringIO(flights)))[:300]
    rows = [{name: cell or None for name, cell in row.items()} for row in rows]
    found = [item.outputs for item in client.map("flight_recovery", rows)]

    frame = table(flights).head(300)
    recovered = frame["departure_delay"] - frame["arrival_delay"]
    assert [one["recovered"] for one in found] == [
        None if pd.isna(minutes) else minutes for minutes in recovered
    ]
    assert Counter(one["verdict"] for one in found)["did not arrive as planned"] == sum(
        recovered.isna()
    )


def test_flight_search(client: Client, flights: str) -> None:
    found = run(client, "flight_search", table=flights, query={**QUERY, "limit": 100})

    frame = table(flights)
    expected = frame[
        (frame["origin"] == "EWR")
        & (frame["destination"] == "ORD")
        & (frame["date"] == "2013-01-04")
        & (frame["scheduled"] >= "12:30")
    ].sort_values("scheduled", kind="stable")
    assert [one["flight"] for one in found] == expected["flight"].tolist()
    assert [one["scheduled"] for one in found] == [f"{t}:00" for t in expected["scheduled"]]


def test_flight_search_refuses_what_does_not_fit(client: Client, flights: str) -> None:
    with pytest.raises(InvalidInputs) as refused:
        run(client, "flight_search", table=flights, query={**QUERY, "origin": "LHR", "limit": 0})
    errors = refused.value.problem.errors
    assert errors is not None
    assert {one["path"] for one in errors} == {"inputs.query.origin", "inputs.query.limit"}


def test_flight_search_says_what_it_takes(client: Client) -> None:
    document = client.programs.put("flight_search", source=source("flight_search"))
    schema = document.inputs_schema
    assert schema is not None
    assert schema["required"] == ["table", "query"]
    assert "EWR" in str(schema)


def test_flight_report_of_several_files(client: Client, flights: str) -> None:
    folder = EXAMPLES / "flight_report"
    files = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    assert set(files) == {"main.py", "delays.py", "tables.py", "airlines.csv"}
    client.programs.put("flight_report", files=files)
    report = client.run("flight_report", {"table": flights, "day": "2013-01-05"}).outputs

    with (folder / "airlines.csv").open(newline="") as file:
        names = {row["carrier"]: row["name"] for row in csv.DictReader(file)}
    frame = table(flights).query("date == '2013-01-05'")
    expected = {
        names[str(carrier)]: (
            str(len(group)),
            str(int(group["departure_delay"].isna().sum())),
            f"{statistics.fmean(group['departure_delay'].dropna()):.1f}",
        )
        for carrier, group in frame.groupby("carrier")
    }
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines()]
    assert {name: tuple(others) for name, *others in rows[2:]} == expected


def test_busiest_routes_with_pandas_preloaded(tmp_path: Path, flights: str) -> None:
    rows = list(csv.DictReader(io.StringIO(flights)))
    counts = Counter((row["origin"], row["destination"]) for row in rows)
    carriers: dict[tuple[str, str], set[str]] = {}
    punctual: Counter[tuple[str, str]] = Counter()
    for row in rows:
        route = (row["origin"], row["destination"])
        carriers.setdefault(route, set()).add(row["carrier"])
        punctual[route] += bool(row["departure_delay"]) and int(row["departure_delay"]) <= 15

    arguments = ("--workers", "1", "--executors", "1", "--preload", "pandas")
    with anypod_up(tmp_path, *arguments, workers=1) as (url, _), Client(url) as client:
        found = run(client, "busiest_routes", table=flights, top=8)

    assert [one["flights"] for one in found] == [n for _, n in counts.most_common(8)]
    for one in found:
        route = (one["origin"], one["destination"])
        assert one["flights"] == counts[route]
        assert one["carriers"] == len(carriers[route])
        assert one["punctual"] == pytest.approx(punctual[route] / counts[route], abs=0.0006)


@pytest.mark.parametrize(
    ("way", "type_"),
    [
        ("raise", "program-error"),
        ("exit", "program-exited"),
        ("kill", "program-crashed"),
        ("segfault", "program-crashed"),
        ("loop", "deadline-exceeded"),
        ("memory", "out-of-memory"),
    ],
)
def test_misbehave_is_told_to_its_caller_only(client: Client, way: str, type_: str) -> None:
    before = {worker.name for worker in client.workers.list()}
    client.programs.put("misbehave", source=source("misbehave"))
    client.programs.put("vocabulary", source=source("vocabulary"))

    with pytest.raises(AnyPodError) as failed:
        client.run("misbehave", {"way": way}, timeout=1)

    assert failed.value.type == type_
    assert client.run("vocabulary", {"texts": {"one": "a b a"}}).outputs == {"one": 2}
    assert {worker.name for worker in client.workers.list()} == before
    assert all(worker.ready for worker in client.workers.list())


NO_PROGRAMS = ("demo", "small_model")
"""They start something, and their own tests are elsewhere."""
PROGRAMS = {path.stem for path in EXAMPLES.glob("*.py") if not path.stem.startswith(NO_PROGRAMS)}
FOLDERS = {path.parent.name for path in EXAMPLES.glob("*/main.py")}


def test_no_example_is_left_out() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {name for name in PROGRAMS | FOLDERS if f'"{name}"' not in tests} == set()
