"""What one execution changes in its process does not reach the next."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.forked import in_executor
from tests.support.programs import executed, loaded

from anypod.session import Session
from anypod_worker.runtime.containment import Baseline

CHANGES: dict[str, tuple[str, str]] = {
    "cwd": ("os.chdir('/')", "os.getcwd()"),
    "an environment variable added": ("os.environ['ADDED'] = '1'", "os.environ.get('ADDED')"),
    "an environment variable changed": ("os.environ['PATH'] = '/no'", "os.environ['PATH']"),
    "an environment variable removed": ("del os.environ['PATH']", "os.environ.get('PATH')"),
    "the environment cleared": ("os.environ.clear()", "sorted(os.environ)"),
    "the environment replaced": ("os.environ = {}", "os.environ.get('PATH')"),
    "the time zone": (
        "os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()",
        "[time.tzname, time.timezone, os.environ.get('TZ')]",
    ),
    "the time zone, with its variable removed": (
        "os.environ['TZ'] = 'Asia/Tokyo'; time.tzset(); del os.environ['TZ']",
        "[time.tzname, time.timezone]",
    ),
    "the locale": ("locale.setlocale(locale.LC_ALL, 'C')", "locale.setlocale(locale.LC_ALL)"),
    "umask": ("os.umask(0)", "(lambda old: (os.umask(old), old)[1])(os.umask(0o22))"),
    "sys.path": ("sys.path.append('/here')", "sys.path"),
    "sys.path replaced": ("sys.path = ['/here', *sys.path]", "sys.path"),
    "sys.argv": ("sys.argv[:] = ['x']", "sys.argv"),
    "the recursion limit": ("sys.setrecursionlimit(4321)", "sys.getrecursionlimit()"),
    "the digits of integers": ("sys.set_int_max_str_digits(0)", "sys.get_int_max_str_digits()"),
    "gc": ("gc.disable()", "gc.isenabled()"),
    "gc's threshold": ("gc.set_threshold(1)", "gc.get_threshold()"),
    "a signal handler": (
        "signal.signal(signal.SIGUSR1, lambda *_: None)",
        "repr(signal.getsignal(signal.SIGUSR1))",
    ),
    "SIGTERM ignored": (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "repr(signal.getsignal(signal.SIGTERM))",
    ),
    "the interrupt's handler": (
        "signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "getattr(signal.getsignal(signal.SIGINT), '__name__', None)",
    ),
    "the signal mask": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])",
        "sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))",
    ),
    "an alarm": ("signal.alarm(3600)", "signal.getitimer(signal.ITIMER_REAL)"),
    "another timer": (
        "signal.setitimer(signal.ITIMER_PROF, 3600)",
        "signal.getitimer(signal.ITIMER_PROF)",
    ),
    "the socket timeout": ("socket.setdefaulttimeout(1)", "socket.getdefaulttimeout()"),
    "warnings": ("warnings.simplefilter('error')", "len(warnings.filters)"),
    "how warnings are shown": (
        "warnings.showwarning = print",
        "warnings.showwarning.__name__",
    ),
    "excepthook": ("sys.excepthook = print", "sys.excepthook.__name__"),
    "the hook of threads": ("threading.excepthook = print", "threading.excepthook is print"),
    "unraisablehook": ("sys.unraisablehook = print", "sys.unraisablehook is print"),
    "a tracer": ("sys.settrace(lambda *_: None)", "sys.gettrace() is None"),
    "a tracer of threads": (
        "threading.settrace(print); threading.setprofile(print)",
        "[threading.gettrace() is None, threading.getprofile() is None]",
    ),
    "hooks of async generators": (
        "sys.set_asyncgen_hooks(print, print)",
        "[each is None for each in sys.get_asyncgen_hooks()]",
    ),
    "gc's debugging": ("gc.set_debug(gc.DEBUG_SAVEALL)", "gc.get_debug()"),
    "gc's callbacks": ("gc.callbacks.append(lambda *_: None)", "len(gc.callbacks)"),
    "the policy of event loops": (
        "asyncio.set_event_loop_policy(P())",
        "type(asyncio.get_event_loop_policy()).__module__.partition('.')[0]",
    ),
    "tracemalloc": ("tracemalloc.start(3)", "tracemalloc.is_tracing()"),
    "faulthandler": (
        "faulthandler.disable() if faulthandler.is_enabled() else faulthandler.enable()",
        "faulthandler.is_enabled()",
    ),
    "the stack of threads": (
        "threading.stack_size(2**20)",
        "(lambda old: (threading.stack_size(old), old)[1])(threading.stack_size())",
    ),
    "the prefix of bytecode": ("sys.pycache_prefix = '/here'", "sys.pycache_prefix"),
    "a finder": ("sys.meta_path.insert(0, F())", "len(sys.meta_path)"),
    "finders gone": ("del sys.meta_path[-2:]", "[str(each) for each in sys.meta_path]"),
    "finders replaced": ("sys.meta_path = None", "sys.meta_path is None"),
    "a hook of the path": ("sys.path_hooks.insert(0, lambda path: 1 / 0)", "len(sys.path_hooks)"),
    "a hook of the path, of Python's own": (
        "sys.path_hooks.insert(0, FileFinder.path_hook()); sys.path_importer_cache.clear()",
        "importlib.util.find_spec('this') is None",
    ),
    "where temporary files go": ("tempfile.tempdir = '/here'", "tempfile.gettempdir()"),
    "where temporary files go, from the environment": (
        "os.environ['TMPDIR'] = '/usr'; tempfile.tempdir = '/usr'",
        "tempfile.gettempdir()",
    ),
    "logging's level": ("logging.basicConfig(level=5)", "logging.root.level"),
    "logging's handlers": ("logging.basicConfig()", "len(logging.root.handlers)"),
    "logging off": ("logging.disable(50)", "logging.root.manager.disable"),
    "the class of loggers": (
        "logging.setLoggerClass(type('L', (logging.Logger,), {'__module__': __name__}))",
        "logging.getLoggerClass() is logging.Logger",
    ),
    "what makes records": (
        "logging.setLogRecordFactory(lambda *_: None)",
        "logging.getLogRecordFactory() is logging.LogRecord",
    ),
    "a limit": (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (50, resource.getrlimit(7)[1]))",
        "resource.getrlimit(resource.RLIMIT_NOFILE)",
    ),
    "a builtin": ("builtins.open = None", "builtins.open is None"),
    "a new builtin": ("builtins.mine = 1", "hasattr(builtins, 'mine')"),
    "the decimal context": (
        "decimal.getcontext().prec = 3",
        "decimal.getcontext().prec",
    ),
    "the start method": (
        "multiprocessing.set_start_method('spawn', force=True)",
        "multiprocessing.get_start_method(allow_none=True)",
    ),
    "sys.argv deleted": ("del sys.argv", "hasattr(sys, 'argv')"),
    "a hook deleted": ("del sys.excepthook", "hasattr(sys, 'excepthook')"),
    "stdout replaced": ("sys.stdout = None", "sys.stdout is None"),
    "stdin replaced": ("sys.stdin = None", "sys.stdin is None"),
    "stdout reconfigured": (
        "sys.stdout.reconfigure(encoding='latin-1', errors='strict')",
        "[sys.stdout.encoding, sys.stdout.errors]",
    ),
    "fd 1 does not block": ("os.set_blocking(1, False)", "os.get_blocking(1)"),
}

IMPORTS = (
    "import asyncio, builtins, decimal, faulthandler, gc, importlib.util, locale, logging,"
    " multiprocessing, os, resource, signal, socket, sys, tempfile, threading, time, tracemalloc,"
    " warnings\n"
    "from importlib.machinery import FileFinder\n"
    "class F:\n    def find_spec(self, *_):\n        return None\n"
    "class P(asyncio.DefaultEventLoopPolicy):\n    def new_event_loop(self):\n        1 / 0\n"
)


def change_and_look(directory: Path, change: str, look: str, baseline: Baseline) -> list[Any]:
    """What another program sees before, and after an execution with the change."""
    changing = loaded(directory, f"{IMPORTS}def main():\n    {change}\n    return {look}\n")
    looking = loaded(directory, f"{IMPORTS}def main():\n    return {look}\n")
    seen = []
    for program in (looking, changing, looking):
        outcome = executed(program)
        assert outcome.outputs is not None, outcome.failure
        seen.append(json.loads(outcome.outputs))
        assert baseline.restore()
    return seen


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_does_not_reach_the_next_execution(tmp_path: Path, case: str) -> None:
    change, look = CHANGES[case]
    before, changed, after = in_executor(
        lambda baseline: change_and_look(tmp_path, change, look, baseline)
    ).value
    assert after == _without_folder(before, after)
    assert changed != before


def _without_folder(before: Any, after: Any) -> Any:
    """``before``; its own folder is first on the path of each program."""
    return (
        [after[0], *before[1:]] if isinstance(before, list) and before[:1] != after[:1] else before
    )


CLOSERS = [
    "os.close(1)",
    "os.close(1); os.close(2); os.close(0)",
    "sys.stdout.close()",
    "sys.stdout.close(); sys.stderr.close(); sys.stdin.close()",
    "sys.stdout.detach()",
    "sys.stdout.buffer.close()",
    "sys.stdout = sys.__stdout__ = sys.stderr = None",
    "del sys.stdout",
    "os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
    "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='ascii'); gc.collect()",
    "sys.stdout = open('/dev/full', 'w'); print('lost')",
    "sys.stdout = io.StringIO(); print('lost')",
    "exit()",
    "os.set_blocking(1, False)",
    "print('unfinished', end=''); os.close(1)",
    "sys.stdout.reconfigure(line_buffering=False, write_through=False); print('x', end='')",
]


@pytest.mark.parametrize("closer", CLOSERS)
def test_the_next_execution_prints_whatever_was_done_to_the_streams(
    tmp_path: Path, closer: str
) -> None:
    def body(baseline: Baseline) -> None:
        source = f"import gc, io, os, sys\ndef main():\n    print('before')\n    {closer}\n"
        executed(loaded(tmp_path, source))
        assert baseline.restore()
        printing = "import os, sys\ndef main(word):\n    print(word)\n"
        printing += "    print(word, file=sys.stderr)\n    os.write(1, b'raw\\n')\n"
        printing += "    return sys.stdin.read()\n"
        program = loaded(tmp_path, printing)
        for word in ("one", "two"):
            assert executed(program, {"word": word}).outputs == b'""'
            assert baseline.restore()

    ended = in_executor(body)
    assert ended.stdout.startswith("before\n")
    assert ended.stdout.endswith("one\nraw\ntwo\nraw\n")
    assert ended.stderr.endswith("one\ntwo\n")


def test_all_that_was_printed_is_out_when_the_execution_ends(tmp_path: Path) -> None:
    source = """
        import ctypes, logging, os, sys
        def main(last):
            print("a line")
            print("surrogate \\ud800", "é")
            sys.stdout.buffer.write(b"\\xff\\n")
            ctypes.CDLL(None).puts(b"from C")
            print("unfinished", end="")
            logging.getLogger("x").warning("logged")
            print(last, end="", file=sys.stderr)
    """

    def body(_baseline: Baseline) -> tuple[str, str]:
        executed(loaded(tmp_path, source), {"last": "last"})
        found = [os.pread(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY), 10_000, 0) for fd in (1, 2)]
        return found[0].decode(errors="backslashreplace"), found[1].decode()

    stdout, stderr = in_executor(body).value
    assert stdout == "a line\nsurrogate \\ud800 é\n\\xff\nfrom C\nunfinished"
    assert stderr == "logged\nlast"


def test_closing_every_descriptor_is_noticed(tmp_path: Path) -> None:
    source = "import os\ndef main():\n    os.closerange(0, 10_000)\n"

    def body(baseline: Baseline) -> tuple[bool, bool]:
        program = loaded(tmp_path, source)
        pid = os.fork()
        if pid == 0:
            executed(program)
            os._exit(1 if baseline.restore() else 0)
        return os.waitpid(pid, 0)[1] == 0, baseline.restore()

    assert in_executor(body).value == (True, True)


def test_a_removed_working_directory_comes_back_or_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    def body(_baseline: Baseline) -> list[bool]:
        folder.mkdir()
        os.chdir(folder)
        baseline = Baseline.capture()
        source = "import os\ndef main():\n    os.chdir('/')\n    os.rmdir(FOLDER)\n"
        program = loaded(tmp_path, f"FOLDER = {str(folder)!r}\n{source}")
        executed(program)
        noticed = not baseline.restore()
        folder.mkdir()
        return [noticed, baseline.restore(), Path.cwd() == folder]

    assert in_executor(body).value == [True, True, True]


def test_a_hard_limit_that_was_lowered_is_noticed(tmp_path: Path) -> None:
    source = """
        import resource
        def main():
            resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
    """

    def body(baseline: Baseline) -> bool:
        executed(loaded(tmp_path, source))
        if os.geteuid() == 0:  # root may raise it again, so it must be back
            return not baseline.restore() or _limit_is_back()
        return not baseline.restore()

    assert in_executor(body).value is True


def _limit_is_back() -> bool:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] != 50


USING = """
import logging
def main():
    import amoved
    return amoved.FOUND + logging.getLogger("any").LOGS
"""
MEDDLING = """
import logging, sys
def main():
    del sys.meta_path[:2]
    logging.basicConfig(level=5)
"""
PER_PROCESS = {
    "nice": ("os.nice(3)", "os.nice(0)"),
    "fewer processors": (
        "os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})",
        "sorted(os.sched_getaffinity(0))",
    ),
    "a limit of processes": (
        "resource.setrlimit(resource.RLIMIT_NPROC, (90, 90))",
        "resource.getrlimit(resource.RLIMIT_NPROC)",
    ),
}


@pytest.mark.parametrize("case", PER_PROCESS)
def test_what_the_kernel_does_not_take_back_is_noticed(tmp_path: Path, case: str) -> None:
    change, look = PER_PROCESS[case]

    def body(baseline: Baseline) -> tuple[list[bytes | None], bool]:
        changing = loaded(tmp_path, f"{IMPORTS}def main():\n    {change}\n")
        looking = loaded(tmp_path, f"{IMPORTS}def main():\n    return {look}\n")
        before = executed(looking).outputs
        executed(changing)
        restored = baseline.restore()
        return [before, executed(looking).outputs], restored

    (before, after), restored = in_executor(body).value
    assert not restored or before == after


def test_a_library_that_a_program_has_denied_is_noticed(tmp_path: Path) -> None:
    """Others would be told that their workers lack it."""

    def body(baseline: Baseline) -> list[bool]:
        denying = loaded(tmp_path, "import sys\ndef main():\n    sys.modules['dspy'] = None\n")
        executed(denying)
        return [baseline.restore(), baseline.restore()]

    assert in_executor(body).value == [False, False]


@pytest.mark.parametrize("when", ["as it runs", "as it is imported"])
def test_an_audit_hook_is_noticed(tmp_path: Path, when: str) -> None:
    hook = "sys.addaudithook(lambda event, _: 1 / 0 if event == 'open' else None)\n"
    source = f"import sys\n{hook}def main(): pass\n"
    if when == "as it runs":
        source = f"import sys\ndef main():\n    {hook}"

    def body(baseline: Baseline) -> list[bool]:
        found = [baseline.is_lost()]
        executed(loaded(tmp_path, source))
        return [*found, baseline.is_lost(), not baseline.restore()]

    assert in_executor(body).value == [False, True, True]


def test_what_a_library_adds_to_imports_and_logging_stays_for_all(tmp_path: Path) -> None:
    """As ``six`` does: what its modules are imported by later is not there without its finder."""
    (tmp_path / "alibrary.py").write_text(
        "import importlib.machinery, logging, sys, types\n"
        "class Logger(logging.Logger): LOGS = 1\n"
        "logging.setLoggerClass(Logger)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'amoved':\n"
        "            return importlib.machinery.ModuleSpec(name, self)\n"
        "    def create_module(self, spec): return types.ModuleType(spec.name)\n"
        "    def exec_module(self, module): module.FOUND = 1\n"
        "sys.meta_path.append(Finder())\n"
    )

    def body(_baseline: Baseline) -> list[bytes | None]:
        sys.path.append(str(tmp_path))
        baseline = Baseline.capture()
        importing = loaded(tmp_path, "def main():\n    import alibrary\n    return 1\n")
        using = loaded(tmp_path, USING)
        meddling = loaded(tmp_path, MEDDLING)
        found = []
        for program in (importing, meddling, using):
            found.append(executed(program).outputs)
            assert baseline.restore()
        return found

    assert in_executor(body).value == [b"1", b"null", b"2"]


def test_a_finder_that_a_program_adds_as_it_is_imported_is_there_for_it_only(
    tmp_path: Path,
) -> None:
    own = """
        import importlib.machinery, sys, types
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "ofmine":
                    return importlib.machinery.ModuleSpec(name, self)
            def create_module(self, spec):
                return types.ModuleType(spec.name)
            def exec_module(self, module):
                pass
        sys.meta_path.insert(0, Finder())
        def main():
            sys.modules.pop("ofmine", None)
            import ofmine
    """
    other = "import sys\ndef main():\n    return len(sys.meta_path)\n"

    def body(baseline: Baseline) -> list[bytes | None]:
        programs = loaded(tmp_path, other), loaded(tmp_path, own)
        assert baseline.restore()
        found = []
        for program in (*programs, *programs):
            found.append(executed(program).outputs)
            assert baseline.restore()
        return found

    first, *others = in_executor(body).value
    assert others == [b"null", first, b"null"]


TIMERS = {
    "an alarm": "signal.setitimer(signal.ITIMER_REAL, 0.2)",
    "a traceback that is due": "faulthandler.dump_traceback_later(0.2, exit=True)",
}


@pytest.mark.parametrize("timer", TIMERS)
def test_a_timer_does_not_end_the_next_execution(tmp_path: Path, timer: str) -> None:
    def body(baseline: Baseline) -> bytes | None:
        source = f"import faulthandler, signal\ndef main():\n    {TIMERS[timer]}\n"
        executed(loaded(tmp_path, source))
        assert baseline.restore()
        program = loaded(tmp_path, "import time\ndef main():\n    time.sleep(0.5)\n    return 1\n")
        return executed(program).outputs

    assert in_executor(body).value == b"1"


def test_executors_have_random_numbers_of_their_own(tmp_path: Path) -> None:
    source = "import random\nimport numpy\ndef main():\n"
    source += "    return [random.random(), numpy.random.random()]\n"

    def body(_baseline: Baseline) -> Any:
        outputs = executed(loaded(tmp_path, source)).outputs
        assert outputs is not None
        return json.loads(outputs)

    first, second = in_executor(body).value, in_executor(body).value
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_a_session_keeps_its_process_as_a_notebook_does(tmp_path: Path) -> None:
    source = """
        import os, signal, sys
        def main(first):
            seen = [os.getcwd(), os.environ.get("KEPT"), sys.getrecursionlimit(), os.umask(0o22)]
            if first:
                os.chdir("/")
                os.environ["KEPT"] = "1"
                sys.setrecursionlimit(4321)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.alarm(3600)
                sys.stdout.close()
            else:
                print("heard")
            return [*seen, repr(signal.getsignal(signal.SIGTERM)), signal.alarm(0)]
    """

    def body(baseline: Baseline) -> Any:
        session = Session("s")
        program = loaded(tmp_path, source)
        seen = []
        for first in (True, False):
            outcome = executed(program, {"first": first}, session=session)
            assert outcome.outputs is not None
            seen.append(json.loads(outcome.outputs))
            assert baseline.restore_session()
        return seen[1]

    ended = in_executor(body)
    assert ended.value == ["/", "1", 4321, 0o22, "<Handlers.SIG_DFL: 0>", 0]
    assert ended.stdout == "heard\n"


def test_handlers_that_an_import_sets_are_there_in_every_execution_of_a_session(
    tmp_path: Path,
) -> None:
    source = """
        import os, signal
        HITS = []
        signal.signal(signal.SIGUSR1, lambda *_: HITS.append(1))
        def main():
            os.kill(os.getpid(), signal.SIGUSR1)
            return len(HITS)
    """

    def body(baseline: Baseline) -> list[bytes | None]:
        session, program = Session("s"), loaded(tmp_path, source)
        found = []
        for _ in range(3):
            found.append(executed(program, session=session).outputs)
            assert baseline.restore_session()
        return found

    assert in_executor(body).value == [b"1", b"2", b"3"]


def test_restoring_an_untouched_process_writes_nothing(tmp_path: Path) -> None:
    """It is on the path of every execution: what is as it was is only read."""

    def body(baseline: Baseline) -> bool:
        program = loaded(tmp_path, "def main():\n    return 1\n")
        before = [baseline.streams.stdout, baseline.streams.stderr, baseline.settings.values]
        zone = time.tzname
        executed(program)
        assert baseline.restore()
        after = [baseline.streams.stdout, baseline.streams.stderr, baseline.settings.values]
        same = all(a is b for a, b in zip(before, after, strict=True))
        return same and time.tzname is zone  # tzset would have made a new one

    assert in_executor(body).value is True
