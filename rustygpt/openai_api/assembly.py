"""The routes of /v1 out of the parts that the application has anyway."""

from typing import Protocol

from starlette.routing import BaseRoute

from rustygpt.assistant.catalogue import Catalogue
from rustygpt.assistant.seats import Seats
from rustygpt.database.pool import Database
from rustygpt.observability.metrics import Metrics
from rustygpt.openai_api.completion import Desk
from rustygpt.openai_api.open_answers import OpenAnswers
from rustygpt.openai_api.routes import OpenAIRoutes
from rustygpt.openai_api.stored import Threads
from rustygpt.settings import Settings
from rustygpt.signals import Announcer
from rustygpt.streaming.coordinator import Coordinator


class Parts(Protocol):
    """What of the application /v1 uses."""

    @property
    def settings(self) -> Settings: ...
    @property
    def database(self) -> Database: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def seats(self) -> Seats: ...
    @property
    def answers(self) -> OpenAnswers: ...
    @property
    def coordinator(self) -> Coordinator: ...
    @property
    def bus(self) -> Announcer: ...


def openai_routes(parts: Parts) -> list[BaseRoute]:
    """Return the routes, to be mounted at the top."""
    settings, database = parts.settings, parts.database
    desk = Desk(database, parts.seats, parts.metrics, settings.assistant)
    threads = Threads(database, parts.coordinator, parts.bus, settings.assistant)
    max_bytes = settings.server.max_body_bytes
    return [*OpenAIRoutes(desk, parts.catalogue, parts.answers, threads, settings.sse, max_bytes).routes]
