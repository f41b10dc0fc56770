"""No two processes of tests are told the same port."""

import socket
import subprocess
import sys
from pathlib import Path

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
MANY = "from tests.support.ports import free_port; print(*(free_port() for _ in range(100)))"


def test_another_process_gets_others() -> None:
    mine = {free_port() for _ in range(100)}
    call = [sys.executable, "-c", MANY]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert len(mine) > 50  # some may be listened to
    assert mine.isdisjoint(map(int, done.stdout.split()))


def test_what_is_listened_to_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        assert taken not in {free_port() for _ in range(200)}


def test_the_kernel_gives_none_of_them_away() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert free_port() < int(first)
