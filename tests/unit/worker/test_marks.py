"""What a dead executor was at can be read, whatever a program has put in the file's place."""

import os
from pathlib import Path

from anypod_worker import marks
from anypod_worker.marks import Marks
from anypod_worker.runtime.steps import MARK_BYTES


def test_the_last_mark_is_read_without_the_one_who_wrote_it(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        Marks(tmp_path).write(b"x-1".ljust(MARK_BYTES, b"\0"))
        os._exit(0)
    os.waitpid(child, 0)
    assert marks.last(tmp_path) == "x-1"


def test_no_mark_is_nobodys(tmp_path: Path) -> None:
    assert marks.last(tmp_path) == ""
    Marks(tmp_path)
    assert marks.last(tmp_path) == ""


def test_what_a_program_puts_there_is_not_waited_for_or_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x-2")
    Marks(tmp_path)
    (file,) = [path for path in tmp_path.iterdir() if path.name != "elsewhere"]
    file.unlink()
    os.mkfifo(file)
    assert marks.last(tmp_path) == ""
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert marks.last(tmp_path) == ""
    file.unlink()
    file.mkdir()
    assert marks.last(tmp_path) == ""
    file.rmdir()
    file.write_bytes(b"\xff" * 1_000_000)
    assert len(marks.last(tmp_path)) == MARK_BYTES
