"""The probes: /healthz says that the process answers, /readyz whether it can work, /metrics what it has done.

/healthz never depends on anything. /readyz answers within its deadline whatever hangs, and names what is missing, not why.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import structlog
from prometheus_client.exposition import choose_encoder
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import TypedDict

from rustygpt.errors import SignInRequired
from rustygpt.observability.metrics import Metrics
from rustygpt.operation import Answer, operation

ReadinessCheck = Callable[[], Awaitable[str | None]]
"""Returns None when all is well, else what is missing, in words that anybody may read."""

CHECK_DEADLINE_SECONDS: Final = 1.5
PROBE_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Health(TypedDict):
    """The process answers."""

    status: Literal["ok"]


class Ready(TypedDict):
    """The process can work."""

    ready: Literal[True]


class NotReady(TypedDict):
    """The process cannot work now."""

    ready: Literal[False]
    missing: list[str]


class HealthRoutes:
    """`routes` holds the three routes. *metrics_token* is what a scraper must send as a bearer token; none
    or an empty one leaves /metrics open.
    """

    def __init__(
        self,
        checks: Mapping[str, ReadinessCheck],
        metrics: Metrics,
        metrics_token: SecretStr | None = None,
        *,
        check_deadline_seconds: float = CHECK_DEADLINE_SECONDS,
    ) -> None:
        self._checks = checks
        self._metrics = metrics
        self._token = metrics_token.get_secret_value().encode() if metrics_token is not None else b""
        self._deadline_seconds = check_deadline_seconds
        self.routes: list[BaseRoute] = [
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.scrape, methods=["GET"]),
        ]

    @operation("check_health", tag="Probes", who="anyone", answers={200: Health})
    async def healthz(self, request: Request) -> Response:
        """Say that the process answers.

        200 whatever happens elsewhere: a restart would not help PostgreSQL.
        """
        self._metrics.health_checks_total.labels("healthz", "ok").inc()
        return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})

    @operation(
        "check_readiness",
        tag="Probes",
        who="anyone",
        answers={200: Ready, 503: Answer(NotReady, "Something is missing.")},
    )
    async def readyz(self, request: Request) -> Response:
        """Say whether the process can work.

        200, or 503 with the names of what is missing.
        """
        missing = await self.find_missing()
        self._metrics.health_checks_total.labels("readyz", "failed" if missing else "ok").inc()
        headers = {"Cache-Control": "no-store"}
        if missing:
            return JSONResponse({"ready": False, "missing": missing}, status_code=503, headers=headers)
        return JSONResponse({"ready": True}, headers=headers)

    async def find_missing(self) -> list[str]:
        """Run all checks at once, each within its deadline, and return what is missing in the order of the checks."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._run(name, check)) for name, check in self._checks.items()]
        return [missing for task in tasks if (missing := task.result()) is not None]

    @operation("read_metrics", tag="Probes", who="scraper", answers={200: Answer(str, "Prometheus' text format.", "text/plain")})
    async def scrape(self, request: Request) -> Response:
        """Read the metrics.

        In the text format that the scraper accepts; with `metrics.token` set, for those who send it.
        """
        self._require_token(request)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # In a thread: summing up what many workers counted takes some ms for each, and streams go on meanwhile.
        text = await asyncio.to_thread(lambda: encode(self._metrics.scraped()))
        return Response(text, headers={"Content-Type": content_type})

    def _require_token(self, request: Request) -> None:
        if not self._token:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._token):
            raise SignInRequired("/metrics needs the bearer token of metrics.token.")

    async def _run(self, name: str, check: ReadinessCheck) -> str | None:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await check()
        except TimeoutError:
            return f"{name}: no answer within {self._deadline_seconds:g} s"
        except Exception as error:  # a check that is itself broken means "not ready", not a broken probe
            log.warning("readiness_check_failed", check=name, exc_info=error)
            return f"{name}: check failed"
