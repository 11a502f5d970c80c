"""`/api/conversations/{id}/participants`: who belongs to a conversation, and as what."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import actor_of
from rustygpt.conversations.models import AddParticipant, UpdateParticipant
from rustygpt.conversations.procedures import (
    add_participant,
    list_participants,
    remove_participant,
    update_participant,
)
from rustygpt.conversations.wire import Member, MemberPage
from rustygpt.database.call import Caller
from rustygpt.errors import Conflict, Forbidden
from rustygpt.http.body import read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, idempotency_key, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import ConversationId, Position
from rustygpt.operation import operation
from rustygpt.signals import Announcer

_ALL = "/api/conversations/{conversation_id}/participants"
_ONE = _ALL + "/{user_id}"


class MemberRoutes:
    """List, add, change and remove members."""

    def __init__(self, database: Caller, announcer: Announcer, cursors: PageCursors, max_body_bytes: int) -> None:
        self._database = database
        self._announcer = announcer
        self._cursors = cursors
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route(_ALL, self.list, methods=["GET"]),
            Route(_ALL, self.add, methods=["POST"]),
            Route(_ONE, self.update, methods=["PATCH"]),
            Route(_ONE, self.remove, methods=["DELETE"]),
        ]

    @operation("list_members", tag="Members", who="actor", query=(LIMIT, CURSOR), answers={200: MemberPage})
    async def list(self, request: Request) -> Response:
        """List the members of a conversation by the time of joining."""
        actor = actor_of(request)
        limit = query_limit(request)
        after_at, after_id = self._cursors.page(query_value(request, "cursor"), "participants", 2)
        rows = await list_participants(
            self._database,
            actor=actor.user_id,
            conversation=ConversationId(path_uuid(request, "conversation_id")),
            after_at=after_at,
            after_id=after_id,
            limit=limit + 1,
        )
        last = rows[limit - 1] if len(rows) > limit else None
        cursor = self._cursors.encode("participants", [last.joined_at, last.user_id]) if last else None
        return json_response({"items": [row.participant for row in rows[:limit]], "next_cursor": cursor})

    @operation(
        "add_member",
        tag="Members",
        who="actor",
        body=AddParticipant,
        is_idempotent=True,
        answers={201: Member},
        errors=(Forbidden,),
    )
    async def add(self, request: Request) -> Response:
        """Bring somebody into a conversation, by id or e-mail address.

        For its owners and admins.
        """
        actor = actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        body = await read_body(request, AddParticipant, max_bytes=self._max_body_bytes)
        added = await add_participant(
            self._database,
            actor=actor.user_id,
            conversation=conversation,
            user=body.user_id,
            email=body.email,
            role=body.role,
            key=idempotency_key(request, body.client_id),
        )
        if added.position is not None:
            self._announcer.wake(Position(added.position))
        return json_response(added.participant, 201)

    @operation(
        "update_member", tag="Members", who="actor", body=UpdateParticipant, answers={200: Member}, errors=(Forbidden, Conflict)
    )
    async def update(self, request: Request) -> Response:
        """Give a member another role."""
        actor = actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        user = path_uuid(request, "user_id")
        body = await read_body(request, UpdateParticipant, max_bytes=self._max_body_bytes)
        changed = await update_participant(
            self._database, actor=actor.user_id, conversation=conversation, user=user, role=body.role
        )
        if changed.position is not None:
            self._announcer.wake(Position(changed.position))
        return json_response(changed.participant)

    @operation("remove_member", tag="Members", who="actor", answers={204: None}, errors=(Forbidden, Conflict))
    async def remove(self, request: Request) -> Response:
        """Take a member out of a conversation, or leave it.

        The last owner stays: 409.
        """
        actor = actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        user = path_uuid(request, "user_id")
        position = await remove_participant(self._database, actor=actor.user_id, conversation=conversation, user=user)
        self._announcer.wake(Position(position))
        return Response(status_code=204)
