"""The zygote: imports the pool's ``preload`` once, then forks executors on request.

It runs no loop and no thread, so that its forks are whole. It forks twice: the middle process tells
the supervisor the executor's pid and ends, whereupon the executor becomes the supervisor's child.
A worker's first zygote is forked from its supervisor; one that replaces a dead one is a new
interpreter (``python -m anypod_worker.zygote FD``), for the supervisor knows the link's secret by
then.
"""

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence

import msgspec

from anypod.wire.config import Lm, WorkerConfig
from anypod_worker import environment, kernel

MAX_PACKET_BYTES = 128 * 1024


class Configure(msgspec.Struct, frozen=True, tag="configure"):
    """The first packet to a zygote."""

    config: WorkerConfig
    supervisor: int
    """Its pid: an executor waits until that is its parent."""


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """Make an executor; carries its socket, its stdout and its stderr."""

    number: int
    directory: str


class Preloaded(msgspec.Struct, frozen=True, tag="preloaded"):
    seconds: float
    warnings: list[str]


class PreloadFailed(msgspec.Struct, frozen=True, tag="preload-failed"):
    module: str
    error: str
    """The last line of the exception."""


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    number: int
    pid: int


class ForkFailed(msgspec.Struct, frozen=True, tag="fork-failed"):
    number: int
    error: str


ToZygote = Configure | Fork
FromZygote = Preloaded | PreloadFailed | Forked | ForkFailed

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ToZygote).decode


def main(control: socket.socket) -> None:
    """Serve one supervisor until its end of the socket closes; never returns to the caller."""
    code = 1
    try:
        _serve(control)
        code = 0
    except BaseException:  # noqa: BLE001 - the process ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(control: socket.socket) -> None:
    kernel.die_with_parent(signal.SIGKILL)
    kernel.name_process("anypod-zygote")
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    first = control.recv(MAX_PACKET_BYTES)
    if not first:
        return
    configure = _decode(first)
    assert isinstance(configure, Configure)
    environment.enter(environment.declared(configure.config))
    kernel.hide_memory()
    if _preload(control, configure.config):
        _fork_on_request(control, configure)


def _preload(control: socket.socket, config: WorkerConfig) -> bool:
    began = time.monotonic()
    importlib.import_module("anypod_worker.executor")
    for module in config.preload:
        try:
            importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001 - an import may raise SystemExit too
            traceback.print_exc()
            control.send(encode(PreloadFailed(module=module, error=_last_line(error))))
            return False
    warnings = _warmed(config.lms) if config.lms else []
    gc.collect()
    gc.freeze()
    control.send(encode(Preloaded(time.monotonic() - began, [*warnings, *_fork_hazards()])))
    return True


def _last_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _warmed(lms: Sequence[Lm]) -> list[str]:
    """It only saves time: a version of DSPy that is not known is used as it is."""
    try:
        warm(lms)
    except Exception as error:  # noqa: BLE001 - whatever is otherwise there
        traceback.print_exc()
        return [f"DSPy is not warm, and an executor's first run slower: {_last_line(error)}"]
    return []


def warm(lms: Sequence[Lm] = ()) -> None:
    """Do what the first use of DSPy does, and of these LMs, if it is imported."""
    if "dspy" in sys.modules:
        module = importlib.import_module("anypod_worker.kinds.dspy.warm")
        module.up()
        module.know(lms)


def _fork_hazards() -> list[str]:
    threads = [thread.name for thread in threading.enumerate() if thread.ident != _main_ident()]
    return [f"preload left a thread running, which no executor will have: {t}" for t in threads]


def _main_ident() -> int | None:
    return threading.main_thread().ident


def _fork_on_request(control: socket.socket, configure: Configure) -> None:
    while True:
        packet, descriptors, _, _ = socket.recv_fds(
            control, MAX_PACKET_BYTES, 3, socket.MSG_CMSG_CLOEXEC
        )
        if not packet:
            return
        request = _decode(packet)
        assert isinstance(request, Fork)
        try:
            _fork_twice(control, configure, request, descriptors)
        except OSError as error:
            control.send(encode(ForkFailed(request.number, str(error))))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _fork_twice(
    control: socket.socket, configure: Configure, request: Fork, descriptors: list[int]
) -> None:
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    try:
        pid = os.fork()
        if pid == 0:
            _be_executor(control, configure, request, descriptors)
        control.send(encode(Forked(request.number, pid)))
    except BaseException as error:  # noqa: BLE001 - a forked process must not run its parent's code
        with contextlib.suppress(OSError):
            control.send(encode(ForkFailed(request.number, str(error))))
    finally:
        os._exit(0)


def _be_executor(
    control: socket.socket, configure: Configure, request: Fork, descriptors: list[int]
) -> None:
    from anypod_worker.confinement import Start
    from anypod_worker.executor import main as be_executor

    control.close()
    end, out, err = descriptors
    be_executor(
        Start(
            config=configure.config,
            supervisor=configure.supervisor,
            directory=request.directory,
            end=end,
            stdout=out,
            stderr=err,
        )
    )


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
