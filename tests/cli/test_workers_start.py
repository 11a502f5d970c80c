"""A start of several workers that cannot work ends at once, says why once, and leaves nothing."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.cli.command import rustygpt
from tests.cli.conftest import MakeWorkers
from tests.cli.many_workers import refuses, until_gone
from tests.server_process import free_port

pytestmark = pytest.mark.acceptance


def test_explicit_inprocess_bus_is_refused(tmp_path: Path) -> None:
    """Two workers that could not hear each other: exit code 2, both keys named."""
    ended = rustygpt("serve", "--workers", "2", cwd=tmp_path, extra={"RUSTYGPT__BUS__KIND": "inprocess"})
    assert ended.returncode == 2
    assert 'bus.kind = "inprocess" connects one process, and server.workers is 2' in ended.stderr


@pytest.mark.parametrize(("workers", "kind"), [("1", "inprocess"), ("2", "postgres")])
def test_bus_follows_the_workers(tmp_path: Path, workers: str, kind: str) -> None:
    """Without a bus in the settings it is the one that so many workers need."""
    shown = rustygpt("config", "show", "--json", cwd=tmp_path, extra={"RUSTYGPT__SERVER__WORKERS": workers})
    assert f'"kind": "{kind}"' in shown.stdout


@pytest.mark.parametrize("workers", ["0", "65", "many"])
def test_number_of_workers_is_bounded(tmp_path: Path, workers: str) -> None:
    """1 to 64."""
    assert rustygpt("serve", "--workers", workers, cwd=tmp_path).returncode == 2


def test_taken_port_is_told_once(tmp_path: Path) -> None:
    """Before any worker or database is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = rustygpt("serve", "--workers", "3", "--port", port, "--data-dir", str(tmp_path / "data"), cwd=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.count("error:") == 1
    assert f"port {port} on 127.0.0.1 is taken" in ended.stderr
    assert not (tmp_path / "data").exists()


def test_database_that_refuses_is_told_once(tmp_path: Path) -> None:
    """Three workers, one error line, exit code 3."""
    port = free_port()
    url = {"DATABASE_URL": f"postgres://nobody@127.0.0.1:{port}/nothing"}
    arguments = ("serve", "--workers", "3", "--port", "0", "--data-dir", str(tmp_path / "data"))
    ended = rustygpt(*arguments, cwd=tmp_path, extra=url)
    assert ended.returncode == 3
    assert ended.stderr.count("error:") == 1
    assert f"the database at 127.0.0.1:{port}/nothing cannot be reached" in ended.stderr
    assert "Traceback" not in ended.stderr


@asynccontextmanager
async def silent_database() -> AsyncIterator[str]:
    """A server that takes connections and says nothing: whoever starts with it waits."""
    is_over = asyncio.Event()

    async def wait(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_over.wait()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        yield f"postgres://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/nothing"
        is_over.set()


async def test_worker_that_dies_again_and_again_at_the_start_is_the_end(make_workers: MakeWorkers) -> None:
    """A worker that never gets ready, killed each time: after the third there is one error line, exit code 1, and nobody left."""
    async with silent_database() as url:
        server = make_workers(environment={"DATABASE_URL": url}, DATABASE__CONNECT_TIMEOUT_SECONDS=600)
        starting = asyncio.create_task(server.start())
        seen: set[int] = set()
        while not starting.done():
            for each in server.family_so_far():
                if each.pid not in seen:
                    seen.add(each.pid)
                    each.send_signal(signal.SIGKILL)
            await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="the server ended with 1"):
            await starting
    assert len(seen) == 3
    assert server.log.read_text().count("error:") == 1
    assert "killed by signal 9" in server.log.read_text()
    assert refuses(server.port)
    await until_gone([psutil.Process(pid) for pid in seen if psutil.pid_exists(pid)])
