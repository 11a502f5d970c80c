"""Fixtures of the HTTP layer: a client of the sample app, its metrics, its log."""

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from rustygpt.observability.logging import configure_logging
from rustygpt.observability.metrics import Metrics
from rustygpt.settings import LoggingSettings
from tests.http.sample_app import build_app


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of one test."""
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> Iterator[TestClient]:
    """A client of the app; an unexpected exception shows as the answer the server gives."""
    with TestClient(build_app(metrics), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A function that returns the JSON log lines written so far, debug ones too."""
    stream = io.StringIO()
    configure_logging(LoggingSettings(level="debug", format="json"), stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
