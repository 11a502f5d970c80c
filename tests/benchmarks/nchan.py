"""The other comparison: nginx with its module nchan, written in C, one worker process; messages come by its publisher endpoint.

Like the bare Starlette server it has no log, no rights, and nothing to resume from but a short buffer. It is measured where it is
installed (Debian and Ubuntu: nginx and libnginx-mod-nchan), with a configuration and a port of its own.
"""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.benchmarks.processes import START_SECONDS, Served, running

GREETING = ": hi\n\n"
"""What nchan sends first."""
WORKER_CONNECTIONS = 16_384
CONFIG = """\
load_module {module};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location = /publish {{ nchan_publisher; nchan_channel_id bench; nchan_message_buffer_length 128; }}
    location = /stream {{ nchan_subscriber eventsource; nchan_channel_id bench; nchan_subscriber_first_message newest; }}
  }}
}}
"""


def find_missing() -> str | None:
    """Say what is not installed; None when nothing is missing."""
    if _nginx() is None:
        return "nginx is not installed"
    if not _module().is_file():
        return "nginx is installed without nchan"
    return None


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Run nginx with one worker on a free port; what is measured is the worker."""
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(module=_module(), folder=folder, connections=WORKER_CONNECTIONS, port=port))
    with running([str(_nginx()), "-c", str(config), "-p", str(folder)]) as process:
        yield Served(_worker(process.pid, folder / "nginx.log"), port)


def _worker(master: int, log: Path) -> int:
    """Return the id of the worker, once it is there."""
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at:
        try:
            if workers := psutil.Process(master).children():
                return int(workers[0].pid)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    raise RuntimeError(f"nginx did not start: {log.read_text() if log.exists() else 'it left no log'}")


def _nginx() -> str | None:
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def _module() -> Path:
    said = subprocess.run([str(_nginx()), "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
    found = re.search(r"--modules-path=(\S+)", said)
    return Path(found[1] if found else "modules") / "ngx_nchan_module.so"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
