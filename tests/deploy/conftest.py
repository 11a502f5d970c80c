"""A real server process under a little load, and a real Prometheus that scrapes it with the configuration of deploy/.

Both live as long as the module that uses them: what befalls them is told by a test that has to do with it.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import prometheus
from tests.deploy.load import Load
from tests.deploy.prometheus import Prometheus, wait_for
from tests.server_process import ServerProcess

TOKEN = "a-token-of-the-tests"
ENVIRONMENT = {
    "METRICS_TOKEN": TOKEN,
    "RUSTYGPT__ASSISTANT__DEMO__TOKENS_PER_SECOND": "200",
    "RUSTYGPT__ASSISTANT__SHUTDOWN_GRACE_SECONDS": "1",
    "RUSTYGPT__SSE__DRAIN_SECONDS": "1",
}
STOP_SECONDS = 240.0
"""A round of load and the server's end, each with deadlines of their own that are shorter together."""


class LoadedServer:
    """`rustygpt serve` and its load, in an event loop of their own, so that they last for many tests."""

    def __init__(self, data_dir: Path) -> None:
        self._process = ServerProcess(data_dir, environment=ENVIRONMENT)
        self._load = Load(self._process.url)
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self.error: BaseException | None = None

    @property
    def is_well(self) -> bool:
        """Raise what the load met; else True."""
        self._check()
        return True

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._process.port}"

    def start(self) -> None:
        """Start, and wait for the first full round of load."""
        self._thread.start()
        wait_for("a round of load", lambda: self._load.rounds or self.error)
        self._check()

    def stop(self) -> None:
        """End the load and the server. Raises what the load met."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(timeout=STOP_SECONDS)
        self._check()
        assert not self._thread.is_alive(), f"the load did not end within {STOP_SECONDS:g} s"
        self._loop.close()

    async def _run(self) -> None:
        try:
            await self._process.start()
            try:
                await self._load.run(self._ended)
            finally:
                await self._process.stop()
        except Exception as error:  # noqa: BLE001  # whatever it is, the tests' own thread must raise it
            self.error = error

    def _check(self) -> None:
        if self.error is not None:
            raise AssertionError(f"the load failed: {self.error!r}") from self.error


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedServer]:
    """A server whose metrics move while the tests run."""
    server = LoadedServer(tmp_path_factory.mktemp("server") / "data")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def loaded_server(server: LoadedServer) -> str:
    """Its host:port."""
    return server.address


@pytest.fixture(scope="module")
def scraper(server: LoadedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the server several times and evaluated every rule."""
    scrapes, recorded = 'count_over_time(up{job="rustygpt"}[1m]) >= 4 and up == 1', '{__name__=~"job:.*:p95_15m"}'
    with prometheus.running(tmp_path_factory.mktemp("prometheus"), server.address, TOKEN) as scraper:
        # rate() needs two samples, the rules a turn after that.
        wait_for("scrapes", lambda: server.is_well and scraper.query(scrapes))
        wait_for("recorded series", lambda: server.is_well and scraper.query(recorded))
        yield scraper
