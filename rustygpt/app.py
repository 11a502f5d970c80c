"""The composition root: builds every object, wires routes, orders middleware; nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from rustygpt import __version__
from rustygpt.admin.audit import AuditRoutes
from rustygpt.admin.config import ConfigRoutes
from rustygpt.assistant.catalogue import Catalogue
from rustygpt.assistant.configured import build_catalogue
from rustygpt.assistant.generation import Workbench
from rustygpt.assistant.queue import QueueTeller
from rustygpt.assistant.routes import AssistantRoutes
from rustygpt.assistant.runner import Runner
from rustygpt.assistant.seats import build_seats
from rustygpt.auth.actor import actor_of
from rustygpt.auth.api_keys import ApiKeyRoutes
from rustygpt.auth.authenticate import DESCRIPTION, PREFIXES, AuthenticationMiddleware
from rustygpt.auth.oauth import OAuth, build_providers
from rustygpt.auth.oauth_routes import OAuthRoutes
from rustygpt.auth.passwords import Passwords
from rustygpt.auth.procedures import ended_credentials
from rustygpt.auth.routes import AuthRoutes
from rustygpt.auth.session_guard import SessionGuard
from rustygpt.auth.sessions import SessionCookies
from rustygpt.auth.sign_in import SignIn
from rustygpt.auth.users import UserRoutes
from rustygpt.conversations.invites import InviteRoutes
from rustygpt.conversations.members import MemberRoutes
from rustygpt.conversations.routes import ConversationRoutes
from rustygpt.database.pool import Database
from rustygpt.database.process_lock import ProcessLock
from rustygpt.http.client_address import ClientAddressMiddleware
from rustygpt.http.cors import cors_middleware, trusted_origins
from rustygpt.http.cursors import PageCursors
from rustygpt.http.middleware import RequestContextMiddleware, SecurityHeadersMiddleware
from rustygpt.http.openapi_routes import OpenApiRoutes
from rustygpt.http.problem import exception_handlers
from rustygpt.http.request_head import HEAD_KEY, HeadLimits, Refusal
from rustygpt.http.routing import merge_methods
from rustygpt.lifespan import Parts, readiness_checks, running, runtime_settings
from rustygpt.limits.middleware import RateLimitMiddleware
from rustygpt.limits.quota_routes import QuotaRoutes
from rustygpt.limits.routes import LimitRoutes
from rustygpt.limits.table import LimitTable
from rustygpt.maintenance import Maintenance
from rustygpt.messages.changes import ChangeRoutes
from rustygpt.messages.routes import FindMention, MessageRoutes
from rustygpt.messages.threads import ThreadRoutes
from rustygpt.model_shelf import CatalogueShelf
from rustygpt.models.assembly import ModelLibrary
from rustygpt.observability.health import HealthRoutes
from rustygpt.observability.metrics import Metrics
from rustygpt.openai_api.assembly import openai_routes
from rustygpt.openai_api.open_answers import OpenAnswers
from rustygpt.secret_key import load_secret_key
from rustygpt.streaming.bus.base import Bus
from rustygpt.streaming.bus.inprocess import InProcessBus
from rustygpt.streaming.bus.postgres import PostgresBus
from rustygpt.streaming.coordinator import Coordinator
from rustygpt.streaming.log import EventLog
from rustygpt.streaming.routes import StreamRoutes
from rustygpt.streaming.sweeper import Sweeper
from rustygpt.web.spa import docs_routes, spa_routes
from rustygpt.web.well_known import WellKnownRoutes, read_documents

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from starlette.types import ASGIApp

    from rustygpt.settings import Settings
    from rustygpt.settings_server import FeaturesSettings

WEB_FOLDER = Path(__file__).parent / "web" / "dist"


class Application:
    """The ASGI application and what its server must tell it."""

    def __init__(self, asgi: ASGIApp, parts: Parts) -> None:
        self.asgi = asgi
        self._parts = parts

    def begin_drain(self) -> None:
        """The process is asked to end: say so to clients now. To be called in the event loop."""
        self._parts.begin_drain()


def create_app(settings: Settings, dsn: str) -> Application:
    """Build the application for a database; nothing is opened before its lifespan starts."""
    parts = _build_parts(settings, dsn)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, HeadLimits]]:
        async with running(parts):
            yield {HEAD_KEY: _head_limits(parts)}

    starlette = Starlette(
        routes=merge_methods(_routes(parts)),
        middleware=[
            *cors_middleware(settings.server.cors),
            Middleware(SecurityHeadersMiddleware, hsts_max_age_seconds=settings.security.hsts.max_age_seconds),
            Middleware(ClientAddressMiddleware, trusted_proxies=settings.server.trusted_proxies),
            Middleware(RequestContextMiddleware, metrics=parts.metrics),
            Middleware(
                AuthenticationMiddleware,
                database=parts.database,
                sessions=_session_guard(parts),
                prefixes=(*PREFIXES, DESCRIPTION) if settings.features.api_docs == "users" else PREFIXES,
                trusted_urls=[settings.server.public_url, *trusted_origins(settings.server.cors)],
            ),
            Middleware(RateLimitMiddleware, database=parts.database, table=parts.limits, metrics=parts.metrics),
        ],
        exception_handlers=exception_handlers(),
        lifespan=lifespan,
    )
    starlette.router.redirect_slashes = False  # its redirects repeat the Host header; an address has one spelling
    return Application(starlette, parts)


def routes_of(application: Application) -> list[BaseRoute]:
    """Return every route that the application serves."""
    if not isinstance(application.asgi, Starlette):
        raise TypeError("only what create_app made has routes")
    return application.asgi.routes


def _head_limits(parts: Parts) -> HeadLimits:
    def count(reason: Refusal) -> None:
        parts.metrics.http_connections_refused_total.labels(reason).inc()

    return HeadLimits(parts.settings.server.head_timeout_seconds, count)


def _session_guard(parts: Parts) -> SessionGuard:
    settings = parts.settings
    cookies = SessionCookies(settings.security.cookie, settings.server.public_url)
    return SessionGuard(parts.database, settings.session, cookies, parts.bus, parts.metrics)


def _build_parts(settings: Settings, dsn: str) -> Parts:
    metrics = Metrics()
    database = Database(dsn, settings.database)
    catalogue = build_catalogue(settings.assistant, settings.data_dir, settings.models.folder_in(settings.data_dir))
    coordinator = Coordinator(database, settings.sse, metrics)
    bus = _build_bus(settings, dsn, database, coordinator)
    event_log = EventLog(database, settings.sse, metrics, lease_seconds=settings.assistant.lease_seconds, publish=bus.publish)
    queue = QueueTeller(database, bus)
    seats = build_seats(settings.assistant)
    bench = Workbench(database, catalogue, seats, event_log, bus, metrics, settings.assistant)

    async def find_ended(credentials: Collection[UUID]) -> list[UUID]:
        return [row.credential_id for row in await ended_credentials(database, credentials=list(credentials))]

    parts = Parts(
        settings=settings,
        dsn=dsn,
        metrics=metrics,
        database=database,
        process_lock=ProcessLock(dsn, settings.database, bus=settings.bus.kind),
        bus=bus,
        passwords=Passwords(settings.auth),
        catalogue=catalogue,
        seats=seats,
        answers=OpenAnswers(database, settings.assistant.shutdown_grace_seconds, settings.sse.session_poll_seconds),
        coordinator=coordinator,
        sweeper=Sweeper(coordinator, find_ended),
        event_log=event_log,
        limits=LimitTable(database, metrics),
        runtime=runtime_settings(settings, database),
        runner=Runner(bench, is_alone=settings.bus.kind == "inprocess", on_moved=queue.on_moved),
        queue=queue,
        library=_build_library(settings, database, catalogue, bus),
        maintenance=Maintenance(database, settings.sse.persistence, metrics),
    )
    _listen(parts)
    return parts


def _listen(parts: Parts) -> None:
    """Let those who must know hear the bus."""
    bus, coordinator = parts.bus, parts.coordinator
    bus.listen(on_wake=coordinator.wake, on_events=coordinator.publish, on_signal=coordinator.on_signal)
    bus.listen(on_transient=coordinator.transients.tell)
    bus.listen(on_signal=parts.queue.on_signal, on_transient=parts.queue.on_transient)
    coordinator.transients.restore_by(parts.queue.restore)
    bus.listen(on_signal=parts.sweeper.on_signal)
    bus.listen(on_signal=parts.answers.on_signal)
    bus.listen(on_signal=parts.runner.on_signal)
    bus.listen(on_signal=parts.limits.on_signal)
    bus.listen(on_signal=parts.runtime.on_signal)
    bus.listen(on_signal=parts.library.on_signal)


def _build_bus(settings: Settings, dsn: str, database: Database, coordinator: Coordinator) -> Bus:
    metrics = coordinator.metrics
    match settings.bus.kind:
        case "inprocess" | "auto":  # the settings have put another word for auto
            return InProcessBus()
        case "postgres":
            return PostgresBus(dsn, settings.database, database, metrics, lambda: coordinator.epoch)
        case "redis":
            from rustygpt.streaming.bus.redis import RedisBus  # 0.15 s, which those without Redis need not wait

            return RedisBus(settings.bus.url, database, metrics, lambda: coordinator.epoch)


def _routes(parts: Parts) -> list[BaseRoute]:
    settings, database, metrics, bus = parts.settings, parts.database, parts.metrics, parts.bus
    cursors = PageCursors(load_secret_key(settings.secret_key.get_secret_value(), settings.data_dir))
    max_bytes = settings.server.max_body_bytes
    find_mention = _mention_finder(parts.catalogue)
    routes = [
        *HealthRoutes(readiness_checks(parts), metrics, settings.metrics.token).routes,
        *_account_routes(parts, cursors),
        *ApiKeyRoutes(database, bus, cursors, max_bytes).routes,
        *ConversationRoutes(database, bus, cursors, parts.catalogue.require_model, max_bytes).routes,
        *MemberRoutes(database, bus, cursors, max_bytes).routes,
        *InviteRoutes(database, bus, cursors, max_bytes, public_url=settings.server.public_url).routes,
        *MessageRoutes(
            database,
            bus,
            cursors,
            find_mention,
            parts.catalogue.require_model,
            max_bytes,
            max_queued=settings.assistant.max_queued,
            max_queued_per_user=settings.assistant.max_queued_per_user,
        ).routes,
        *ThreadRoutes(database, bus, cursors, max_bytes).routes,
        *ChangeRoutes(database, bus, max_bytes).routes,
        *AssistantRoutes(database, bus, parts.catalogue, metrics, settings.assistant, max_body_bytes=max_bytes).routes,
        *parts.library.routes(cursors, max_bytes),
        *AuditRoutes(database, cursors).routes,
        *ConfigRoutes(parts.runtime, bus).routes,
        *LimitRoutes(database, bus, max_bytes).routes,
        *openai_routes(parts),
        *QuotaRoutes(database, max_bytes).routes,
        *StreamRoutes(database, parts.coordinator, parts.sweeper).routes,
        *WellKnownRoutes(read_documents(settings.well_known)).routes,
    ]
    return _with_page(routes, settings.features)


def _with_page(routes: list[BaseRoute], features: FeaturesSettings) -> list[BaseRoute]:
    """Add the page, and what describes all that is served."""
    if features.api_docs == "off":
        return [*routes, *spa_routes(WEB_FOLDER)]
    page = [*docs_routes(WEB_FOLDER), *spa_routes(WEB_FOLDER)]  # the last takes every address that is left
    require_reader = actor_of if features.api_docs == "users" else None
    return [*routes, *OpenApiRoutes([*routes, *page], version=__version__, require_reader=require_reader).routes, *page]


def _account_routes(parts: Parts, cursors: PageCursors) -> list[BaseRoute]:
    settings, database, metrics = parts.settings, parts.database, parts.metrics
    public_url, max_bytes = settings.server.public_url, settings.server.max_body_bytes
    sign_in = SignIn(database, parts.passwords, parts.runtime.live, settings.session, parts.bus, metrics)
    cookies = SessionCookies(settings.security.cookie, public_url)
    users = UserRoutes(database, sign_in, parts.bus, cursors, max_bytes)
    oauth = OAuth(database, sign_in, build_providers(settings.oauth), parts.runtime.live, metrics)
    is_manual = settings.oauth.manual_enabled
    return [
        *AuthRoutes(
            database, sign_in, cookies, cursors, parts.runtime.live, oauth_providers=oauth.names, max_body_bytes=max_bytes
        ).routes,
        *users.routes,
        *OAuthRoutes(database, oauth, cookies, public_url=public_url, is_manual_enabled=is_manual).routes,
    ]


def _build_library(settings: Settings, database: Database, catalogue: Catalogue, bus: Bus) -> ModelLibrary:
    is_alone = settings.bus.kind == "inprocess"
    return ModelLibrary(database, CatalogueShelf(catalogue), settings.models, bus, data_dir=settings.data_dir, is_alone=is_alone)


def _mention_finder(catalogue: Catalogue) -> FindMention:
    def find(content: str) -> str | None:
        mention = catalogue.find_mention(content)
        return None if mention is None else mention.model or ""

    return find
