"""A real nursery, and workers forked from it, as local mode has them.

The launcher is a process of its own here (``python -m tests.support.nursery``), so that a test can
kill it: it is the child subreaper, asks its nursery for workers, and prints a JSON line for each.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys

import msgspec
from tests.support.worker import TOKEN

from anypod.wire.config import WorkerConfig
from anypod.wire.nursery import MAX_PACKET_BYTES, Spawn, Spawned


def _prctl(option: int, value: int) -> None:
    assert ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0


def main(configs: list[WorkerConfig], preload: list[str]) -> None:
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive a test
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    told, tell = os.pipe()
    given = [theirs.fileno(), told]
    nursery = subprocess.Popen(
        [sys.executable, "-P", "-m", "anypod_worker.nursery", *map(str, given)],
        pass_fds=given,
        stdin=subprocess.DEVNULL,
    )
    theirs.close()
    os.close(told)
    os.write(tell, "\n".join(preload).encode())
    os.close(tell)
    _say(nursery=nursery.pid)
    for config in configs:
        _say(**_spawn(ours, config))
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        if command == "spawn":
            _say(**_spawn(ours, msgspec.json.decode(rest, type=WorkerConfig)))
        elif command == "close":
            ours.close()
        elif command == "wait":
            _, status = os.waitpid(int(rest), 0)
            _say(status=os.waitstatus_to_exitcode(status))


def _spawn(requests: socket.socket, config: WorkerConfig) -> dict[str, object]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        packet = msgspec.msgpack.encode(Spawn(config, TOKEN))
        socket.send_fds(requests, [packet], [listener.fileno()])
        answer = msgspec.msgpack.decode(requests.recv(MAX_PACKET_BYTES), type=Spawned)
    return {"worker": answer.worker, "pid": answer.pid, "error": answer.error, "port": port}


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=list[WorkerConfig]), sys.argv[2:])
