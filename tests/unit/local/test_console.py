"""What people see: on a terminal with a status line, elsewhere plain, or as JSON."""

import io
import json

from anypod.local.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def live(**environment: str) -> tuple[Console, Terminal]:
    terminal = Terminal()
    return Console("text", terminal, {"TERM": "xterm", **environment}), terminal


def test_a_file_gets_no_colour_and_no_status() -> None:
    file = io.StringIO()
    console = Console("text", file, {"TERM": "xterm"})
    console.status("starting")
    console.turn()
    console.say("w1 died", "error")
    assert not console.is_live
    assert file.getvalue().endswith(" w1 died\n")
    assert "\033" not in file.getvalue()


def test_a_terminal_has_its_status_below_what_is_said() -> None:
    console, terminal = live()
    console.status("0 of 2")
    console.say("hello")
    said, status = terminal.getvalue().rsplit("\n", 1)
    assert said.endswith("hello")
    assert status.endswith("0 of 2")
    console.status("")
    assert terminal.getvalue().endswith("\r\033[K")


def test_no_color_is_respected() -> None:
    console, terminal = live(NO_COLOR="1")
    console.say("bad", "error")
    assert "\033[31m" not in terminal.getvalue()
    console, terminal = live()
    console.say("bad", "error")
    assert "\033[31m" in terminal.getvalue()


def test_json_is_one_object_per_line_without_lines_for_people() -> None:
    file = Terminal()
    console = Console("json", file, {"TERM": "xterm"})
    console.status("starting")
    console.say("w1 died", "error", worker="w1")
    console.show("for people")
    (line,) = file.getvalue().splitlines()
    record = json.loads(line)
    assert (record["message"], record["level"], record["worker"]) == ("w1 died", "error", "w1")


def foreign(console: Console, **record: object) -> None:
    console.foreign(json.dumps(record).encode())


def test_what_programs_print_is_shown_with_its_execution() -> None:
    console, terminal = live()
    foreign(console, level="info", message="hi", worker="w1", execution="x-1", stream="stdout")
    assert "w1 x-1 |" in terminal.getvalue()
    assert terminal.getvalue().strip().endswith("hi")


def test_what_others_say_cannot_speak_to_the_terminal() -> None:
    console, terminal = live(NO_COLOR="1")
    foreign(console, level="info", message="\x1b[2Jhi\x07", worker="w1", stream="stdout")
    foreign(console, level="error", message="\x1b]0;x", worker="w1", traceback="a\n\x9b1m")
    console.foreign(b"raw \x1b[31m\tred")
    shown = terminal.getvalue().replace("\r\x1b[K", "")
    assert [one for one in shown if not one.isprintable() and one not in "\n\t"] == []
    assert "\ufffd[2Jhi\ufffd\n" in shown
    assert "raw \ufffd[31m\tred\n" in shown


def test_a_request_is_shown_unless_it_only_looked() -> None:
    console, terminal = live(NO_COLOR="1")
    foreign(console, method="GET", path="/v1/pools", status=200, ms=1.0)
    foreign(console, method="GET", path="/readyz", status=503, ms=1.0)
    assert terminal.getvalue() == ""
    foreign(console, method="GET", path="/v1/pools", status=500, ms=1.0)
    foreign(console, method="POST", path="/run", status=200, ms=1.26, worker="w1")
    foreign(console, method="POST", path="/map", status=200, ms=5, pool="p", items=7, failed=2)
    foreign(console, method="POST", path="/map", status=200, ms=5, items=7)
    shown = terminal.getvalue().split("\n")[:4]
    assert shown[0].endswith("GET /v1/pools 500 1.0 ms")
    assert shown[1].endswith("POST /run 200 w1 1.3 ms")
    assert shown[2].endswith("POST /map 200 p items=7 failed=2 5.0 ms")
    assert shown[3].endswith("POST /map 200 items=7 failed=0 5.0 ms")


def test_what_every_worker_says_is_shown_once_until_all_is_well() -> None:
    console, terminal = live()
    for worker in ("w1", "w2"):
        foreign(console, level="error", message="preload failed", worker=worker, attempt=1)
        console.foreign(b"Traceback (most recent call last):")
    foreign(console, level="info", message="listening", worker="w1")
    assert terminal.getvalue().count("preload failed attempt=1") == 1
    assert terminal.getvalue().count("Traceback") == 1
    assert "listening" not in terminal.getvalue()
    console.all_is_well()
    foreign(console, level="error", message="preload failed", worker="w1")
    assert terminal.getvalue().count("preload failed") == 2


def test_odd_lines_do_no_harm() -> None:
    console, terminal = live()
    for line in (b"", b"[1]", b"3", b"\xff\xfe", b'{"level": 3}', b'{"method": null}', b"null"):
        console.foreign(line)
    assert "\ufffd" in terminal.getvalue()


def test_a_reader_that_has_gone_does_not_stop_the_pool() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    Console("text", Gone(), {}).say("anybody there?")
