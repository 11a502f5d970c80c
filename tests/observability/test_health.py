"""The probes: constant, honest, in time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.applications import Starlette

from rustygpt.errors import SignInRequired
from rustygpt.observability.health import HealthRoutes
from rustygpt.observability.metrics import Metrics
from tests.person import DEADLINE_SECONDS

Check = Callable[[], Awaitable[str | None]]


async def fine() -> str | None:
    return None


async def unmigrated() -> str | None:
    return "schema: migrations/0002_more.sql"


async def hanging() -> str | None:
    await asyncio.Event().wait()
    return None


async def broken() -> str | None:
    raise RuntimeError("password of the database is hunter2")


async def get(
    path: str, checks: dict[str, Check], headers: dict[str, str] | None = None, token: str = "", check_seconds: float = 60
) -> tuple[httpx2.Response, Metrics]:
    metrics = Metrics()
    health = HealthRoutes(checks, metrics, SecretStr(token), check_deadline_seconds=check_seconds)

    async def refuse(_request: Any, error: Any) -> Any:
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(error.code, status_code=error.status)

    app = Starlette(routes=health.routes, exception_handlers={SignInRequired: refuse})
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        return await client.get(path, headers=headers), metrics


def checks_counted(metrics: Metrics, probe: str, result: str) -> float | None:
    return metrics.registry.get_sample_value("health_checks_total", {"probe": probe, "result": result})


async def test_healthz_depends_on_nothing() -> None:
    """/healthz is 200 though every check fails or hangs."""
    response, metrics = await get("/healthz", {"a": hanging, "b": broken})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert checks_counted(metrics, "healthz", "ok") == 1


async def test_readyz_is_ready_when_nothing_is_missing() -> None:
    """/readyz is 200 when all checks pass."""
    response, metrics = await get("/readyz", {"a": fine, "b": fine})
    assert (response.status_code, response.json()) == (200, {"ready": True})
    assert checks_counted(metrics, "readyz", "ok") == 1


async def test_readyz_names_everything_that_is_missing_in_time() -> None:
    """/readyz is 503, in the order of the checks, within the deadline though one hangs; a failure's reason is not told."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        checks = {"a": fine, "log": hanging, "schema": unmigrated, "pool": broken}
        response, metrics = await get("/readyz", checks, check_seconds=1)
    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "missing": ["log: no answer within 1 s", "schema: migrations/0002_more.sql", "pool: check failed"],
    }
    assert "hunter2" not in response.text
    assert checks_counted(metrics, "readyz", "failed") == 1


async def test_metrics_parse_as_text_and_openmetrics() -> None:
    """/metrics answers in the format that the scraper accepts, and what it answers parses."""
    response, _ = await get("/metrics", {})
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(response.text)}
    assert {"http_requests", "sse_subscribers", "process_open_fds"} <= names
    openmetrics, _ = await get("/metrics", {}, {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer wrong", 401),
        ("Basic t0ken", 401),
        ("Bearer t0ken", 200),
        ("bearer t0ken", 200),
        ("t0ken", 401),
    ],
)
async def test_metrics_need_the_token_when_there_is_one(authorization: str | None, status: int) -> None:
    """With a token configured, /metrics is 401 RGP.AUTH.REQUIRED for everybody else."""
    headers = {"Authorization": authorization} if authorization is not None else {}
    response, _ = await get("/metrics", {}, headers, token="t0ken")
    assert response.status_code == status
    assert status == 200 or response.text == "RGP.AUTH.REQUIRED"
