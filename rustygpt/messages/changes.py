"""Edit, delete, restore. A change is told to everybody in the order in which it was made, and nothing is lost by it: see change.sql."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import actor_of
from rustygpt.database.call import Caller
from rustygpt.errors import Conflict, Forbidden
from rustygpt.http.body import read_body
from rustygpt.http.request import path_uuid
from rustygpt.http.response import json_response
from rustygpt.ids import MessageId, Position
from rustygpt.messages.models import EditMessage
from rustygpt.messages.procedures import Changed, delete_message, edit_message, restore_message
from rustygpt.messages.wire import Deleted, Edited, Restored
from rustygpt.operation import operation
from rustygpt.signals import Announcer


class ChangeRoutes:
    """Change what was said."""

    def __init__(self, database: Caller, announcer: Announcer, max_body_bytes: int) -> None:
        self._database = database
        self._announcer = announcer
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/messages/{message_id}/edit", self.edit, methods=["POST"]),
            Route("/api/messages/{message_id}/delete", self.delete, methods=["POST"]),
            Route("/api/messages/{message_id}/restore", self.restore, methods=["POST"]),
        ]

    @operation("edit_message", tag="Messages", who="actor", body=EditMessage, answers={200: Edited}, errors=(Forbidden, Conflict))
    async def edit(self, request: Request) -> Response:
        """Replace the text of one's own message."""
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        body = await read_body(request, EditMessage, max_bytes=self._max_body_bytes)
        return self._told(await edit_message(self._database, actor=actor.user_id, message=message, content=body.content))

    @operation("delete_message", tag="Messages", who="actor", answers={200: Deleted}, errors=(Forbidden, Conflict))
    async def delete(self, request: Request) -> Response:
        """Take a message back.

        One's own, or as an owner or admin of the conversation anybody's. Twice is once.
        """
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        return self._told(await delete_message(self._database, actor=actor.user_id, message=message))

    @operation("restore_message", tag="Messages", who="actor", answers={200: Restored}, errors=(Forbidden,))
    async def restore(self, request: Request) -> Response:
        """Bring a deleted message back.

        For who deleted it, and for owners and admins of the conversation. Twice is once.
        """
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        return self._told(await restore_message(self._database, actor=actor.user_id, message=message))

    def _told(self, changed: Changed) -> Response:
        if changed.position is not None:
            self._announcer.wake(Position(changed.position))
        return json_response(changed.answer)
