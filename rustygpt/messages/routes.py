"""Messages: post, answer, read. HTTP in, one procedure, HTTP out; a page of messages carries the stream's position of its snapshot."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import actor_of
from rustygpt.database.call import Caller
from rustygpt.errors import BadRequest, Forbidden, Invalid
from rustygpt.http.body import read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, RequireModel, idempotency_key, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import ConversationId, MessageId, Position
from rustygpt.messages.models import PostMessage, PostReply, PostRoot
from rustygpt.messages.procedures import get_message, list_chunks, list_messages, post_message, recall_post
from rustygpt.messages.wire import ChunkPage, MessagePage, SingleMessage
from rustygpt.operation import Parameter, operation
from rustygpt.signals import Announcer
from rustygpt.wire import Posted

FindMention = Callable[[str], str | None]
"""How a text addresses the assistant: None not at all, "" by its general name, else the id of a model."""

FIRST_CHUNK: Final = Parameter(
    "from", Annotated[int, Field(ge=0, le=999_999_999)], "The number of the first chunk; excludes `cursor`."
)


class MessageRoutes:
    """Post and read messages. *max_queued* of all and *max_queued_per_user*: replies that may wait for a model."""

    def __init__(
        self,
        database: Caller,
        announcer: Announcer,
        cursors: PageCursors,
        find_mention: FindMention,
        require_model: RequireModel,
        max_body_bytes: int,
        *,
        max_queued: int,
        max_queued_per_user: int,
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._cursors = cursors
        self._find_mention = find_mention
        self._require_model = require_model
        self._max_body_bytes = max_body_bytes
        self._bounds: dict[str, Any] = {"max_queued": max_queued, "max_queued_per_user": max_queued_per_user}

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/conversations/{conversation_id}/messages", self.list, methods=["GET"]),
            Route("/api/conversations/{conversation_id}/messages", self.post, methods=["POST"]),
            Route("/api/threads/{conversation_id}/root", self.post_root, methods=["POST"]),
            Route("/api/messages/{message_id}", self.get, methods=["GET"]),
            Route("/api/messages/{message_id}/reply", self.reply, methods=["POST"]),
            Route("/api/messages/{message_id}/chunks", self.chunks, methods=["GET"]),
        ]

    @operation(
        "post_message",
        tag="Messages",
        who="actor",
        body=PostMessage,
        is_idempotent=True,
        answers={201: Posted},
        errors=(Forbidden,),
    )
    async def post(self, request: Request) -> Response:
        """Post into a conversation: a new thread, or an answer to `parent_id`."""
        actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        body = await read_body(request, PostMessage, max_bytes=self._max_body_bytes)
        parent = MessageId(body.parent_id) if body.parent_id else None
        return await self._post(request, conversation, parent, body)

    @operation(
        "start_thread", tag="Messages", who="actor", body=PostRoot, is_idempotent=True, answers={201: Posted}, errors=(Forbidden,)
    )
    async def post_root(self, request: Request) -> Response:
        """Start a thread in a conversation."""
        actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        return await self._post(request, conversation, None, await read_body(request, PostRoot, max_bytes=self._max_body_bytes))

    @operation(
        "reply_to_message",
        tag="Messages",
        who="actor",
        body=PostReply,
        is_idempotent=True,
        answers={201: Posted},
        errors=(Forbidden,),
    )
    async def reply(self, request: Request) -> Response:
        """Answer a message, in its thread."""
        actor_of(request)
        parent = MessageId(path_uuid(request, "message_id"))
        return await self._post(request, None, parent, await read_body(request, PostReply, max_bytes=self._max_body_bytes))

    @operation("list_messages", tag="Messages", who="actor", query=(LIMIT, CURSOR), answers={200: MessagePage})
    async def list(self, request: Request) -> Response:
        """List the messages of a conversation, newest first."""
        actor = actor_of(request)
        limit = query_limit(request)
        (before,) = self._cursors.page(query_value(request, "cursor"), "messages", 1)
        page = await list_messages(
            self._database,
            actor=actor.user_id,
            conversation=ConversationId(path_uuid(request, "conversation_id")),
            before=before,
            limit=limit + 1,
        )
        cursor = self._cursors.encode("messages", [page.seqs[limit - 1]]) if len(page.seqs) > limit else None
        return json_response({"items": page.items[:limit], "next_cursor": cursor, "stream_cursor": page.stream_cursor})

    @operation("get_message", tag="Messages", who="actor", answers={200: SingleMessage})
    async def get(self, request: Request) -> Response:
        """Read one message."""
        actor = actor_of(request)
        message = MessageId(path_uuid(request, "message_id"))
        found = await get_message(self._database, actor=actor.user_id, message=message)
        return json_response({**found.message, "stream_cursor": found.stream_cursor})

    @operation("list_chunks", tag="Messages", who="actor", query=(LIMIT, FIRST_CHUNK, CURSOR), answers={200: ChunkPage})
    async def chunks(self, request: Request) -> Response:
        """List the stored pieces of a reply, from `from` or `cursor` on."""
        actor = actor_of(request)
        limit = query_limit(request)
        first, cursor = query_value(request, "from"), query_value(request, "cursor")
        if first is not None and cursor is not None:
            raise BadRequest("from and cursor exclude each other.")
        start = next((given for given in (first, cursor) if given is not None), "0")
        if not start.isascii() or not start.isdecimal() or len(start) > 9:
            raise BadRequest("from must be the number of a chunk.")
        rows = await list_chunks(
            self._database,
            actor=actor.user_id,
            message=MessageId(path_uuid(request, "message_id")),
            start=int(start),
            limit=limit + 1,
        )
        following = str(rows[limit].idx) if len(rows) > limit else None
        return json_response({"items": rows[:limit], "next_cursor": following})

    async def _post(
        self, request: Request, conversation: ConversationId | None, parent: MessageId | None, body: PostReply
    ) -> Response:
        post: dict[str, Any] = {
            "actor": actor_of(request).user_id,
            "conversation": conversation,
            "parent": parent,
            "content": body.content,
            "model": body.model,
            "key": idempotency_key(request, body.client_id),
        }
        try:
            await self._require_model(body.model)
        except Invalid:
            # The gate comes first, and what was answered once is answered again, though the model has gone since.
            earlier = await recall_post(self._database, **post)
            if earlier.answer is None:
                raise
            return json_response(earlier.answer, 201)
        posted = await post_message(self._database, mention=self._find_mention(body.content), **post, **self._bounds)
        if posted.position is not None:
            self._announcer.wake(Position(posted.position))
        if posted.is_queued:
            self._announcer.signal("generation_queued")
        return json_response(posted.answer, 201)
