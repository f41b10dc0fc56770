"""nginx before plain workers, one process of it, configured to be fast."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import processes

CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 100000000;
    upstream workers {{ {servers} keepalive 128; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://workers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, workers: list[int]) -> Iterator[tuple[str, int]]:
    """The URL and the pid of an nginx that passes requests to 127.0.0.1 at these ports in turn."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        raise FileNotFoundError("nginx is not installed; on Debian: apt-get install nginx-light")
    port = processes.free_port()
    servers = " ".join(f"server 127.0.0.1:{worker};" for worker in workers)
    file = directory / "nginx.conf"
    file.write_text(CONFIGURATION.format(directory=directory, servers=servers, port=port))
    subprocess.run([binary, "-t", "-q", "-c", str(file)], check=True, timeout=30)
    with processes.running([binary, "-c", str(file)], directory / "nginx.log") as process:
        yield f"http://127.0.0.1:{port}", process.pid
