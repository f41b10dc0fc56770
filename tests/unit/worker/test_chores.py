"""Work on files is done in its order, and holds up no end."""

import subprocess
import sys
from functools import partial

from anypod_worker.chores import Chores


def test_all_is_done_in_its_order_whatever_fails() -> None:
    done: list[int] = []
    chores = Chores()
    for number in range(3):
        chores.add(partial(lambda number: done.append(10 // number), number))
    assert chores.finish(30)
    assert done == [10, 5]


def test_what_does_not_end_is_left_and_the_process_ends() -> None:
    source = (
        "import time\nfrom anypod_worker.chores import Chores\nchores = Chores()\n"
        "chores.add(lambda: time.sleep(600))\nprint(chores.finish(0.1))"
    )
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"False\n", b"")
