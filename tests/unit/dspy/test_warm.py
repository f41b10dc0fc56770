"""What warms DSPy is over before anything is forked, and asks nobody."""

import json
import subprocess
import sys

WARMS = """
import json, os, socket, sys, threading
import dspy
from anypod_worker.kinds.dspy import connections, warm

def no(*_):
    raise AssertionError("it asks somebody")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = no
before = len(os.listdir("/proc/self/fd"))
warm.up()
print(json.dumps({
    "files": len(os.listdir("/proc/self/fd")) - before,
    "threads": threading.active_count() - 1,
    "connections": len(connections.idle),
    "environment": os.environ.get("LITELLM_LOCAL_MODEL_COST_MAP"),
}))
"""


def test_nothing_of_it_lasts() -> None:
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", WARMS],
        env=proxies,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    left = {"files": 0, "threads": 0, "connections": 0, "environment": None}
    assert json.loads(ended.stdout) == left
