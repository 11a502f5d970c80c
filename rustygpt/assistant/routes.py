"""Stop a reply, let one go on that stopped, and ask for another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.assistant.procedures import (
    cancel_generation,
    continue_generation,
    read_continuation,
    read_regeneration,
    regenerate_message,
)
from rustygpt.assistant.wire import Continuing, Stopped
from rustygpt.auth.actor import actor_of
from rustygpt.errors import Conflict, Forbidden, Invalid
from rustygpt.http.body import RequestModel, read_body
from rustygpt.http.request import idempotency_key, path_uuid
from rustygpt.http.response import json_response
from rustygpt.ids import MessageId, Position
from rustygpt.operation import operation
from rustygpt.wire import Posted

if TYPE_CHECKING:
    from rustygpt.assistant.catalogue import Catalogue
    from rustygpt.database.call import Caller
    from rustygpt.observability.metrics import Metrics
    from rustygpt.settings import AssistantSettings
    from rustygpt.signals import Announcer


class Regenerate(RequestModel):
    """`POST /api/messages/{id}/regenerate`"""

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class AssistantRoutes:
    """`POST /api/messages/{id}/cancel`, `…/continue` and `…/regenerate`."""

    def __init__(
        self,
        database: Caller,
        announcer: Announcer,
        catalogue: Catalogue,
        metrics: Metrics,
        settings: AssistantSettings,
        *,
        max_body_bytes: int,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._catalogue = catalogue
        self._metrics = metrics
        self._settings = settings
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/messages/{message_id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/messages/{message_id}/continue", self.go_on, methods=["POST"]),
            Route("/api/messages/{message_id}/regenerate", self.regenerate, methods=["POST"]),
        ]

    @operation("cancel_reply", tag="Messages", who="actor", answers={200: Stopped}, errors=(Forbidden, Conflict))
    async def cancel(self, request: Request) -> Response:
        """Stop a reply, queued or running.

        Twice is once.
        """
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        cancelled = await cancel_generation(self._database, actor=actor.user_id, message=message)
        if cancelled.is_running or cancelled.position is not None:
            self._metrics.stream_cancels_total.inc()
        if cancelled.is_running:
            self._announcer.signal("cancel", str(message))
        if cancelled.position is not None:
            self._announcer.wake(Position(cancelled.position))
            self._announcer.signal("generation_queued")  # one fewer waits
        return json_response({"message_id": message, "status": cancelled.status})

    @operation(
        "continue_reply",
        tag="Messages",
        who="actor",
        is_idempotent=True,
        answers={200: Continuing},
        errors=(Forbidden, Conflict, Invalid),
    )
    async def go_on(self, request: Request) -> Response:
        """Let a reply go on that stopped before its end.

        It is the same message, from the next chunk on.
        """
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        key = idempotency_key(request)
        found = await read_continuation(self._database, actor=actor.user_id, message=message, key=key)
        if found.answer is not None:
            return json_response(found.answer)
        await self._catalogue.require_model(found.model)
        continued = await continue_generation(
            self._database,
            actor=actor.user_id,
            message=message,
            key=key,
            max_queued=self._settings.max_queued,
            max_queued_per_user=self._settings.max_queued_per_user,
        )
        if continued.position is not None:
            self._announcer.wake(Position(continued.position))
            self._announcer.signal("generation_queued")
        return json_response(continued.answer)

    @operation(
        "regenerate_reply",
        tag="Messages",
        who="actor",
        body=Regenerate,
        is_idempotent=True,
        answers={201: Posted},
        errors=(Forbidden, Conflict),
    )
    async def regenerate(self, request: Request) -> Response:
        """Ask for another reply beside the one there is.

        Of what a person wrote, for a reply to it.
        """
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        body = await read_body(request, Regenerate, max_bytes=self._max_body_bytes)
        key = idempotency_key(request)
        found = await read_regeneration(self._database, actor=actor.user_id, message=message, model=body.model, key=key)
        if found.answer is not None:
            return json_response(found.answer, 201)
        mention = self._catalogue.find_mention(found.content) if found.content else None
        chosen = (mention.model if mention else None) or found.model
        await self._catalogue.require_model(body.model or chosen)
        regenerated = await regenerate_message(
            self._database,
            actor=actor.user_id,
            message=message,
            model=body.model,
            chosen=chosen,
            key=key,
            max_queued=self._settings.max_queued,
            max_queued_per_user=self._settings.max_queued_per_user,
        )
        if regenerated.position is not None:
            self._announcer.wake(Position(regenerated.position))
            self._announcer.signal("generation_queued")
        return json_response(regenerated.answer, 201)
