"""Programs that misbehave, one for each way on the worker's containment list, and what callers of
each must be told. tests/integration/worker/test_containment.py has more of them, one at a time.
"""

from dataclasses import dataclass

HARMLESS = "ok"
"""What the platform tells of it: an answer."""


@dataclass(frozen=True)
class Killer:
    source: str
    told: frozenset[str]
    """A problem's type, or ``HARMLESS``."""
    seconds: float = 60.0
    """It ends by itself before, on a machine however busy; or not at all."""


def killer(source: str, *told: str, seconds: float = 60.0) -> Killer:
    return Killer(source, frozenset(told), seconds)


CHEAP = {
    "raise": killer("def main():\n    raise ValueError('no')\n", "program-error"),
    "exit": killer("import sys\ndef main():\n    sys.exit(3)\n", "program-exited"),
    "_exit": killer("import os\ndef main():\n    os._exit(4)\n", "program-exited"),
    "abort": killer("import os\ndef main():\n    os.abort()\n", "program-crashed"),
    "segfault": killer("import ctypes\ndef main():\n    ctypes.string_at(0)\n", "program-crashed"),
    "kill the parent": killer(
        "import os\ndef main():\n    os.kill(os.getppid(), 9)\n", "program-error"
    ),
    "allocate": killer("def main():\n    return len(bytearray(10 * 2**30))\n", "out-of-memory"),
    "close fd 1": killer("import os\ndef main():\n    os.close(1)\n", HARMLESS),
    "recurse": killer("def main():\n    return main()\n", "program-error"),
    "thread": killer(
        "import threading, time\ndef main():\n"
        "    threading.Thread(target=time.sleep, args=(99,)).start()\n",
        HARMLESS,
    ),
    "cwd, environment, handlers": killer(
        "import os, signal\ndef main():\n"
        "    os.chdir('/')\n"
        "    os.environ.clear()\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        "        signal.signal(number, signal.SIG_IGN)\n",
        HARMLESS,
    ),
}
COSTLY = {
    "print": killer(
        "def main():\n    for _ in range(1000):\n        print('x' * 100_000)\n", HARMLESS
    ),
    "result": killer("def main():\n    return 'x' * 100_000_000\n", "output-too-large"),
    "fork bomb": killer(
        "import os\ndef main():\n    while True:\n        os.fork()\n", "program-crashed"
    ),
    "loop": killer(
        "import signal\ndef main():\n"
        "    for number in (signal.SIGINT, signal.SIGTERM):\n"
        "        signal.signal(number, signal.SIG_IGN)\n"
        "    while True:\n        pass\n",
        "deadline-exceeded",
        seconds=0.3,
    ),
}
"""Each takes a second of a processor."""

ALL = CHEAP | COSTLY
SIGNAL_OTHERS = {"kill the parent"}
"""They kill their worker where the kernel does not confine signals: see docs/threat-model.md."""
