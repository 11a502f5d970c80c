"""Threads: their list, their messages by ordinal, and how far somebody has read."""

from typing import Final, Literal
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import Actor, actor_of
from rustygpt.database.call import Caller
from rustygpt.errors import BadRequest
from rustygpt.http.body import read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, path_uuid, query_limit, query_uuid, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import ConversationId, Position
from rustygpt.messages.models import MarkRead
from rustygpt.messages.procedures import TreePage, list_threads, mark_read, ordinal_of, read_tree
from rustygpt.messages.wire import ReadState, ThreadPage, ThreadTree
from rustygpt.operation import Parameter, operation
from rustygpt.signals import Announcer

DIRECTION: Final = Parameter("direction", Literal["forward", "backward"], "From the start (unless said) or from the end.")
AROUND: Final = Parameter("around", UUID, "A message to have in the middle; excludes `cursor`.")


class ThreadRoutes:
    """List threads, read a tree, mark it read."""

    def __init__(self, database: Caller, announcer: Announcer, cursors: PageCursors, max_body_bytes: int) -> None:
        self._database = database
        self._announcer = announcer
        self._cursors = cursors
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/conversations/{conversation_id}/threads", self.list, methods=["GET"]),
            Route("/api/threads/{root_id}/tree", self.tree, methods=["GET"]),
            Route("/api/threads/{root_id}/read", self.mark_read, methods=["POST"]),
        ]

    @operation("list_threads", tag="Messages", who="actor", query=(LIMIT, CURSOR), answers={200: ThreadPage})
    async def list(self, request: Request) -> Response:
        """List the threads of a conversation by last activity."""
        actor = actor_of(request)
        limit = query_limit(request)
        before_at, before_root = self._cursors.page(query_value(request, "cursor"), "threads", 2)
        page = await list_threads(
            self._database,
            actor=actor.user_id,
            conversation=ConversationId(path_uuid(request, "conversation_id")),
            before_at=before_at,
            before_root=before_root,
            limit=limit + 1,
        )
        more = len(page.roots) > limit
        cursor = self._cursors.encode("threads", [page.ats[limit - 1], page.roots[limit - 1]]) if more else None
        return json_response({"items": page.items[:limit], "next_cursor": cursor, "stream_cursor": page.stream_cursor})

    @operation("read_thread", tag="Messages", who="actor", query=(LIMIT, CURSOR, DIRECTION, AROUND), answers={200: ThreadTree})
    async def tree(self, request: Request) -> Response:
        """Read the messages of a thread by ordinal.

        Forward from the start, backward from the end, or around a message.
        """
        actor = actor_of(request)
        limit = query_limit(request)
        direction = query_value(request, "direction")
        if direction not in (None, "forward", "backward"):
            raise BadRequest("direction must be forward or backward.")
        cursor, around = query_value(request, "cursor"), query_uuid(request, "around")
        if cursor is not None and around is not None:
            raise BadRequest("cursor and around exclude each other.")
        root = path_uuid(request, "root_id")
        is_backward = direction == "backward"
        kind = f"tree.{'backward' if is_backward else 'forward'}.{root}"
        (bound,) = self._cursors.page(cursor, kind, 1)
        if around is not None:
            at = await ordinal_of(self._database, actor=actor.user_id, root=root, message=around)
            bound = at + 1 + limit // 2 if is_backward else max(0, at - 1 - limit // 2)
        page = await self._page(actor, request, bound, is_backward=is_backward, limit=limit + 1)
        following = self._cursors.encode(kind, [page.ordinals[limit - 1]]) if len(page.ordinals) > limit else None
        return json_response(
            {
                "root_id": root,
                "conversation_id": page.conversation_id,
                "items": page.items[:limit],
                "next_cursor": following,
                "stream_cursor": page.stream_cursor,
            }
        )

    @operation("mark_thread_read", tag="Messages", who="actor", body=MarkRead, answers={200: ReadState})
    async def mark_read(self, request: Request) -> Response:
        """Mark a thread as read up to a message; never goes back."""
        actor = actor_of(request)
        root = path_uuid(request, "root_id")
        body = await read_body(request, MarkRead, max_bytes=self._max_body_bytes)
        mark = await mark_read(self._database, actor=actor.user_id, root=root, ordinal=body.ordinal, message=body.message_id)
        if mark.position is not None:
            self._announcer.wake(Position(mark.position))
        return json_response({"root_id": mark.root_id, "unread": mark.unread, "read_ordinal": mark.read_ordinal})

    async def _page(self, actor: Actor, request: Request, bound: int | None, *, is_backward: bool, limit: int) -> TreePage:
        return await read_tree(
            self._database,
            actor=actor.user_id,
            root=path_uuid(request, "root_id"),
            after=None if is_backward else bound,
            before=bound if is_backward else None,
            newest_first=is_backward,
            limit=limit,
        )
