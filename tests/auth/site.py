"""A site of accounts alone: the real routes, middleware and database, and browsers that visit it without a socket."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import actor_of, find_actor
from rustygpt.auth.authenticate import AuthenticationMiddleware
from rustygpt.auth.passwords import Passwords
from rustygpt.auth.routes import AuthRoutes
from rustygpt.auth.session_guard import SessionGuard
from rustygpt.auth.sessions import SessionCookies
from rustygpt.auth.sign_in import SignIn
from rustygpt.database.pool import Database
from rustygpt.http.cursors import PageCursors
from rustygpt.http.middleware import RequestContextMiddleware
from rustygpt.http.problem import exception_handlers
from rustygpt.http.response import json_response
from rustygpt.ids import Position
from rustygpt.observability.metrics import Metrics
from rustygpt.settings import AuthSettings, SessionSettings, Settings
from rustygpt.settings_server import CookieSettings
from rustygpt.signals import SignalKind
from tests.person import DEADLINE_SECONDS

FAST_ARGON2 = {"argon2_time_cost": 1, "argon2_memory_kib": 8, "argon2_parallelism": 1}
ADMIN = {"email": "Ada@Example.com", "password": "correct horse", "display_name": "Ada"}
ORIGIN = "http://rustygpt.test"


@dataclass
class RecordingAnnouncer:
    """The far end of the bus, which tests may read."""

    signals: list[tuple[SignalKind, str]] = field(default_factory=list)

    def wake(self, position: Position) -> None:
        """Nothing here listens to the log."""

    def signal(self, kind: SignalKind, key: str = "") -> None:
        self.signals.append((kind, key))


class Browser:
    """One cookie jar. Sends the CSRF header as the dashboard does, unless told otherwise."""

    def __init__(self, app: Starlette, origin: str, user_agent: str) -> None:
        self.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url=origin, headers={"User-Agent": user_agent}
        )

    @property
    def token(self) -> str | None:
        return self.http.cookies.get("SESSION_ID")

    @property
    def csrf(self) -> str | None:
        return self.http.cookies.get("CSRF-TOKEN")

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.http.get(path, **options)

    async def send(
        self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None, csrf: bool = True
    ) -> httpx2.Response:
        all_headers = dict(headers or {})
        if csrf and self.csrf:
            all_headers.setdefault("X-CSRF-TOKEN", self.csrf)
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.http.request(method, path, json=body, headers=all_headers)

    async def post(self, path: str, body: object = None, **options: Any) -> httpx2.Response:
        return await self.send("POST", path, body, **options)

    async def log_in(self, email: str = "ada@example.com", password: str = "correct horse") -> httpx2.Response:
        return await self.post("/api/auth/login", {"email": email, "password": password})


class Site:
    """Everything a process has for accounts, built as the composition root would."""

    def __init__(
        self,
        database: Database,
        auth: Mapping[str, Any] | None = None,
        session: SessionSettings | None = None,
        cookie: CookieSettings | None = None,
        public_url: str = "",
    ) -> None:
        self.auth = AuthSettings(**{**FAST_ARGON2, **(auth or {})})
        self.session = session or SessionSettings()
        self.announcer = RecordingAnnouncer()
        self.metrics = Metrics()
        self.passwords = Passwords(self.auth)
        live = Settings(auth=self.auth)
        sign_in = SignIn(database, self.passwords, live, self.session, self.announcer, self.metrics)
        cookies = SessionCookies(cookie or CookieSettings(), public_url)
        routes = AuthRoutes(database, sign_in, cookies, PageCursors(b"a secret of tests"), live)
        self.app = Starlette(
            routes=[
                *routes.routes,
                Route("/api/stream", _whoami),
                Route("/api/anyone", _anyone, methods=["GET", "POST"]),
                Route("/page", _anyone),
            ],
            middleware=[
                Middleware(RequestContextMiddleware, metrics=self.metrics),
                Middleware(
                    AuthenticationMiddleware,
                    database=database,
                    sessions=SessionGuard(database, self.session, cookies, self.announcer, self.metrics),
                    trusted_urls=[public_url],
                ),
            ],
            exception_handlers=exception_handlers(),
        )
        self._browsers: list[Browser] = []

    def browser(self, origin: str = ORIGIN, user_agent: str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0") -> Browser:
        browser = Browser(self.app, origin, user_agent)
        self._browsers.append(browser)
        return browser

    async def close(self) -> None:
        for browser in self._browsers:
            await browser.http.aclose()
        self.passwords.close()

    def count(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(metric, labels) or 0.0


async def _whoami(request: Request) -> Response:
    return json_response({"user_id": actor_of(request).user_id})


async def _anyone(request: Request) -> Response:
    actor = find_actor(request)
    return json_response({"name": actor.display_name if actor else None})
