"""`/api/conversations…`: HTTP in, one procedure, HTTP out."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import actor_of
from rustygpt.conversations.models import CreateConversation, UpdateConversation
from rustygpt.conversations.procedures import (
    create_conversation,
    get_conversation,
    list_conversations,
    recall_conversation,
    update_conversation,
)
from rustygpt.conversations.wire import ConversationPage
from rustygpt.database.call import Caller
from rustygpt.errors import Forbidden, Invalid
from rustygpt.http.body import read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, RequireModel, idempotency_key, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import ConversationId, Position
from rustygpt.operation import operation
from rustygpt.signals import Announcer
from rustygpt.wire import Conversation


class ConversationRoutes:
    """Create, list, read, change and archive conversations."""

    def __init__(
        self,
        database: Caller,
        announcer: Announcer,
        cursors: PageCursors,
        require_model: RequireModel,
        max_body_bytes: int,
    ) -> None:
        self._database = database
        self._require_model = require_model
        self._announcer = announcer
        self._cursors = cursors
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/conversations", self.list, methods=["GET"]),
            Route("/api/conversations", self.create, methods=["POST"]),
            Route("/api/conversations/{conversation_id}", self.get, methods=["GET"]),
            Route("/api/conversations/{conversation_id}", self.update, methods=["PATCH"]),
            Route("/api/conversations/{conversation_id}", self.archive, methods=["DELETE"]),
        ]

    @operation("list_conversations", tag="Conversations", who="actor", query=(LIMIT, CURSOR), answers={200: ConversationPage})
    async def list(self, request: Request) -> Response:
        """List one's conversations, the most recently active first."""
        actor = actor_of(request)
        limit = query_limit(request)
        before_at, before_id = self._cursors.page(query_value(request, "cursor"), "conversations", 2)
        page = await list_conversations(
            self._database, actor=actor.user_id, before_at=before_at, before_id=before_id, limit=limit + 1
        )
        more = len(page.items) > limit
        cursor = self._cursors.encode("conversations", [page.ats[limit - 1], page.ids[limit - 1]]) if more else None
        return json_response({"items": page.items[:limit], "next_cursor": cursor, "stream_cursor": page.stream_cursor})

    @operation(
        "create_conversation",
        tag="Conversations",
        who="actor",
        body=CreateConversation,
        is_idempotent=True,
        answers={201: Conversation},
    )
    async def create(self, request: Request) -> Response:
        """Make a conversation; the maker is its owner."""
        actor = actor_of(request)
        body = await read_body(request, CreateConversation, max_bytes=self._max_body_bytes)
        wanted: dict[str, Any] = {
            "actor": actor.user_id,
            "title": body.title,
            "is_group": body.is_group,
            "model": body.model,
            "system_prompt": body.system_prompt,
            "assistant_mode": body.assistant_mode,
            "parameters": body.parameters.chosen(),
            "key": idempotency_key(request, body.client_id),
        }
        try:
            await self._require_model(body.model)
        except Invalid:
            # What was answered once is answered again, though the model has gone since.
            earlier = await recall_conversation(self._database, **wanted)
            if earlier.answer is None:
                raise
            return json_response(earlier.answer, 201)
        created = await create_conversation(self._database, **wanted)
        self._announce(created.position)
        return json_response(created.conversation, 201)

    @operation("get_conversation", tag="Conversations", who="actor", answers={200: Conversation})
    async def get(self, request: Request) -> Response:
        """Read one conversation."""
        actor = actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        return json_response(await get_conversation(self._database, actor=actor.user_id, conversation=conversation))

    @operation(
        "update_conversation",
        tag="Conversations",
        who="actor",
        body=UpdateConversation,
        answers={200: Conversation},
        errors=(Forbidden,),
    )
    async def update(self, request: Request) -> Response:
        """Change a conversation: what the body names.

        For its owners and admins.
        """
        actor = actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        body = await read_body(request, UpdateConversation, max_bytes=self._max_body_bytes)
        try:
            await self._require_model(body.model)
        except Invalid:  # of no interest to those who may not change anything
            found = await get_conversation(self._database, actor=actor.user_id, conversation=conversation)
            if found["role"] not in ("owner", "admin"):
                raise Forbidden from None
            raise
        changes = body.model_dump(include=body.model_fields_set)
        if "parameters" in changes:
            changes["parameters"] = body.parameters.chosen()
        changed = await update_conversation(self._database, actor=actor.user_id, conversation=conversation, changes=changes)
        self._announce(changed.position)
        return json_response(changed.conversation)

    @operation("archive_conversation", tag="Conversations", who="actor", answers={204: None}, errors=(Forbidden,))
    async def archive(self, request: Request) -> Response:
        """Archive a conversation.

        It is gone for everybody, its replies are stopped and its streams end; nothing is deleted. For its owners.
        """
        actor = actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        changed = await update_conversation(
            self._database, actor=actor.user_id, conversation=conversation, changes={"archived": True}
        )
        self._announce(changed.position)
        for message in changed.stopped:
            self._announcer.signal("cancel", str(message))
        self._announcer.signal("generation_queued")  # its own wait no more
        return Response(status_code=204)

    def _announce(self, position: int | None) -> None:
        if position is not None:
            self._announcer.wake(Position(position))
