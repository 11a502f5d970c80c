"""How the process begins and ends: its socket, its first line, signals, and what becomes of an application that fails."""

import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.cli.listener import open_listener, url_of
from tests.cli.command import REPOSITORY, environment

DEADLINE_SECONDS = 60.0
"""For machines under load; nothing waits that long when all is well."""


class Running:
    """A small server in a process of its own; its lines are read as they come."""

    def __init__(self, behaviour: str, drain_seconds: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.small_server", behaviour, str(drain_seconds)],
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.strip())

    def line(self) -> str:
        return self._lines.get(timeout=DEADLINE_SECONDS)

    def url(self) -> str:
        ready = self.line()
        found = re.fullmatch(r"RustyGPT \S+ is ready on (http://127\.0\.0\.1:\d+)", ready)
        assert found, ready
        return found[1]

    def ended(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    def errors(self) -> str:
        return self.process.stderr.read() if self.process.stderr else ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(behaviour: str = "serves", drain_seconds: float = 10) -> Running:
        started.append(Running(behaviour, drain_seconds))
        return started[-1]

    yield begin
    for running in started:
        running.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_ends_at_once_with_zero(start: Callable[..., Running], number: int) -> None:
    """One signal is enough, whatever drain_seconds says, and the exit code is 0."""
    running = start(drain_seconds=300)
    assert httpx2.get(running.url(), timeout=DEADLINE_SECONDS).text == "serving"
    running.process.send_signal(number)
    assert [running.line(), running.line(), running.line()] == ["draining", "closing", "closed"]
    assert running.ended() == ExitCode.OK
    assert "Traceback" not in running.errors()


def test_signal_reaches_streams_and_new_connections_are_still_answered(start: Callable[..., Running]) -> None:
    """While a stream drains, a probe gets an answer; when it has ended, so does the process."""
    running = start(drain_seconds=300)
    url = running.url()
    with httpx2.stream("GET", f"{url}/stream?until=killed", timeout=DEADLINE_SECONDS) as response:
        chunks = response.iter_text()
        assert next(chunks) == "begin\n"
        running.process.send_signal(signal.SIGTERM)
        assert running.line() == "draining"
        assert httpx2.get(url, timeout=DEADLINE_SECONDS).text == "draining"
    assert running.ended() == ExitCode.OK


def test_stream_ends_whole_in_the_drain(start: Callable[..., Running]) -> None:
    """A stream that obeys the drain is delivered to its last byte."""
    running = start(drain_seconds=300)
    url = running.url()
    with httpx2.stream("GET", f"{url}/stream", timeout=DEADLINE_SECONDS) as response:
        chunks = response.iter_text()
        assert next(chunks) == "begin\n"
        running.process.send_signal(signal.SIGTERM)
        assert "".join(chunks) == "end\n"
    assert running.ended() == ExitCode.OK


def test_drain_is_bounded(start: Callable[..., Running]) -> None:
    """A request that never ends is cut off after drain_seconds and the graceful timeout, and the application is still closed."""
    running = start(drain_seconds=0)
    url = running.url()
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        assert running.line() == "stuck"
        running.process.send_signal(signal.SIGTERM)
        assert [running.line(), running.line(), running.line()] == ["draining", "closing", "closed"]
    assert running.ended() == ExitCode.OK


def test_second_signal_does_not_wait(start: Callable[..., Running]) -> None:
    """Who presses Ctrl+C twice wants out, long before drain_seconds are over, with the signal's exit code."""
    running = start(drain_seconds=300)
    url = running.url()
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        assert running.line() == "stuck"
        running.process.send_signal(signal.SIGINT)
        assert running.line() == "draining"
        running.process.send_signal(signal.SIGINT)
        assert running.ended() == 128 + signal.SIGINT


def test_second_signal_ends_a_slow_shutdown(start: Callable[..., Running]) -> None:
    """Also when the application hangs while it closes."""
    running = start("lingers")
    running.url()
    running.process.send_signal(signal.SIGTERM)
    assert [running.line(), running.line()] == ["draining", "closing"]
    running.process.send_signal(signal.SIGTERM)
    assert running.ended() == 128 + signal.SIGTERM


def test_application_that_cannot_start_is_explained_in_one_line(start: Callable[..., Running]) -> None:
    """A database that refuses the connection ends the process with 3, without uvicorn's traceback."""
    running = start("refuses")
    assert running.ended() == ExitCode.DATABASE
    errors = running.errors()
    assert "error: the database at " in errors
    assert "Connection refused" in errors
    assert "Traceback" not in errors


def test_application_whose_part_dies_ends_the_process(start: Callable[..., Running]) -> None:
    """A server without its background tasks would only look alive."""
    running = start("dies")
    running.url()
    assert running.ended() == ExitCode.FAILURE
    assert "a part has died" in running.errors()


def test_port_zero_takes_a_free_one() -> None:
    """The address that is printed is the one that was taken."""
    with open_listener("localhost", 0) as listener:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d{2,5}", url_of(listener))


def test_port_is_ours_from_the_first_moment() -> None:
    """Two servers that start at the same time cannot both have it."""
    with open_listener("127.0.0.1", 0) as listener, pytest.raises(CommandError, match="is taken"):
        open_listener("127.0.0.1", listener.getsockname()[1])


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python was built without IPv6")
def test_unspecified_ipv6_address_takes_both_families() -> None:
    """`--host ::` is reached by IPv4 clients too, and shown as an address that can be opened."""
    try:
        listener = open_listener("::", 0)
    except CommandError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listener:
        assert url_of(listener).startswith("http://[::1]:")
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=DEADLINE_SECONDS).close()


def test_module_and_command_are_the_same(tmp_path: Path) -> None:
    """`python -m rustygpt` and the installed command have one entry point."""
    metadata = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert 'rustygpt = "rustygpt.cli.main:main"' in metadata
    assert "from rustygpt.cli.main import main" in (REPOSITORY / "rustygpt" / "__main__.py").read_text(encoding="utf-8")
