"""``python -m anypod_worker.nursery FD PRELOAD``: local mode's fork server for workers.

It has imported what supervisors and executors need, and modules that many workers preload, but
nothing of any pool. It forks a worker for each packet on its socket (``anypod.wire.nursery``). It
never reads a packet: the worker does so itself, after its zygote has been forked, so that the
link's secret is in the supervisor alone.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback

import msgspec

from anypod.wire import nursery as wire
from anypod_worker import boot, environment, executor, kernel, processes, supervisor, zygote

_TAKEN = b"1"
_PRELOADED = (executor, supervisor)


def main(socket_fd: int, preload_fd: int) -> int:
    launcher = os.getppid()
    kernel.die_with_parent(signal.SIGKILL)
    kernel.name_process("anypod-nursery")
    requests = socket.socket(fileno=socket_fd)
    os.setsid()
    _preload(preload_fd)
    gc.collect()
    gc.freeze()
    while os.getppid() == launcher and _wait(requests):
        _fork_worker(requests, launcher)
    return 0


def _preload(told: int) -> None:
    """What cannot be done here, a worker's zygote finds so too, and says why."""
    with os.fdopen(told) as lines:
        modules = lines.read().split()
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    with contextlib.suppress(Exception):
        zygote.warm()


def _wait(requests: socket.socket) -> bool:
    """Until there is a packet; False when the other end is closed."""
    poller = select.poll()
    poller.register(requests, select.POLLIN | select.POLLHUP)
    events = poller.poll()[0][1]
    return bool(events & select.POLLIN) and bool(
        requests.recv(1, socket.MSG_PEEK | socket.MSG_TRUNC)
    )


def _fork_worker(requests: socket.socket, launcher: int) -> None:
    """Returns when the worker has taken the packet, or has died before."""
    taken, take = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(taken)
        if os.fork():
            os._exit(0)
        _be_worker(requests, launcher, take)
    os.close(take)
    os.waitpid(middle, 0)
    if os.read(taken, 1) != _TAKEN:
        requests.recv(1)  # the rest of the packet is dropped, the secret with it
        requests.send(_encode(wire.Spawned(worker="", error="the worker died at its start")))
    os.close(taken)


_encode = msgspec.msgpack.Encoder().encode


def _be_worker(requests: socket.socket, launcher: int, take: int) -> None:
    def learn() -> boot.Told:
        processes.wait_for_parent(launcher)
        packet, descriptors, _, _ = socket.recv_fds(
            requests, wire.MAX_PACKET_BYTES, 1, socket.MSG_CMSG_CLOEXEC
        )
        os.write(take, _TAKEN)
        os.close(take)
        spawn = msgspec.msgpack.decode(packet, type=wire.Spawn)
        environment.enter(spawn.config.env)
        requests.send(_encode(wire.Spawned(worker=spawn.config.worker, pid=os.getpid())))
        requests.close()
        listener = socket.socket(fileno=descriptors[0]) if descriptors else None
        return boot.Told(spawn.config, spawn.token.encode(), spawn.lm_keys, listener, launcher)

    code = 1
    try:
        os.setsid()
        code = boot.run(learn, inherited=[requests.fileno(), take])
    except SystemExit as stop:
        sys.stderr.write(f"{stop.code}\n")
    except BaseException:  # noqa: BLE001 - a forked process must not run its parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
