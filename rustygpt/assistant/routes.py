"""Stop a reply, and which models there are."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.assistant.catalogue import Catalogue
from rustygpt.assistant.procedures import cancel_generation
from rustygpt.auth.actor import actor_of
from rustygpt.database.call import Caller
from rustygpt.http.request import path_uuid
from rustygpt.http.response import json_response
from rustygpt.ids import MessageId, Position
from rustygpt.observability.metrics import Metrics
from rustygpt.signals import Announcer


class AssistantRoutes:
    """`POST /api/messages/{id}/cancel` and `GET /api/models`."""

    def __init__(self, database: Caller, announcer: Announcer, catalogue: Catalogue, metrics: Metrics) -> None:
        self._database = database
        self._announcer = announcer
        self._catalogue = catalogue
        self._metrics = metrics

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/messages/{message_id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/models", self.models, methods=["GET"]),
        ]

    async def cancel(self, request: Request) -> Response:
        """Stop a reply, queued or running, on any process. Twice is once."""
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        cancelled = await cancel_generation(self._database, actor=actor.user_id, message=message)
        if cancelled.is_running or cancelled.position is not None:
            self._metrics.stream_cancels_total.inc()
        if cancelled.is_running:
            self._announcer.signal("cancel", str(message))
        if cancelled.position is not None:
            self._announcer.wake(Position(cancelled.position))
        return json_response({"message_id": message, "status": cancelled.status})

    async def models(self, request: Request) -> Response:
        """Answer what can be run now, the default, and in a sentence why it is that and how to change it."""
        actor_of(request)
        models = await self._catalogue.models()
        detection = self._catalogue.detection()
        items = [
            {
                "id": model.id,
                "provider": model.provider,
                "context_tokens": model.context_tokens,
                "is_default": (model.provider, model.id) == (detection.default_provider, detection.default_model),
            }
            for model in models
        ]
        return json_response({"items": items, "default_model": detection.default_model, "notice": detection.sentence})
