"""A server under a little load, and a real Prometheus that scrapes it with the configuration of deploy/."""

import threading
from collections.abc import Iterator

import httpx2
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware

from rustygpt.http.middleware import RequestContextMiddleware
from rustygpt.http.problem import exception_handlers
from rustygpt.observability.health import HealthRoutes
from rustygpt.observability.metrics import Metrics
from tests.deploy import prometheus
from tests.deploy.prometheus import Prometheus, wait_for
from tests.http.sample_app import running

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="session")
def loaded_server() -> Iterator[str]:
    """The host:port of a server whose metrics move while the tests run."""
    metrics = Metrics()
    app = Starlette(
        routes=HealthRoutes({}, metrics, SecretStr(TOKEN)).routes,
        middleware=[Middleware(RequestContextMiddleware, metrics=metrics)],
        exception_handlers=exception_handlers(),
    )
    metrics.generation_ended("demo", "demo", "stop")
    metrics.generation_ended("demo", "demo", "error")
    ended = threading.Event()

    def load(url: str) -> None:
        with httpx2.Client(base_url=url) as client:
            while not ended.wait(0.1):
                client.get("/healthz")
                client.get("/readyz")
                client.get("/nowhere")

    with running(app) as url:
        thread = threading.Thread(target=load, args=(url,))
        thread.start()
        try:
            yield url.removeprefix("http://")
        finally:
            ended.set()
            thread.join(timeout=10)


@pytest.fixture(scope="session")
def scraper(loaded_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the server several times and evaluated every rule."""
    with prometheus.running(tmp_path_factory.mktemp("prometheus"), loaded_server, TOKEN) as scraper:
        # rate() needs two samples, the rules a turn after that.
        wait_for("scrapes", lambda: scraper.query('count_over_time(up{job="rustygpt"}[1m]) >= 4 and up == 1'))
        wait_for("recorded series", lambda: scraper.query('{__name__=~"job:.*_p95_15m|job:.*:p95_15m"}'))
        yield scraper
