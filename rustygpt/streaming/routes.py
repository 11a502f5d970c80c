"""The stream routes: raw ASGI, so that a frame goes from the ring to the socket without a copy or a wrapper.

A stream registers before it reads anything; what may fail (session, membership, cursor, cap) fails before the answer starts. EventSource
gives up for good on any 4xx, 5xx and 204, so overload and drain are a 200 with a `retry:` that ends.
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.routing import Route

from rustygpt.auth.actor import Actor, KeyActor, actor_of
from rustygpt.database.call import Caller
from rustygpt.errors import KeyRevoked, Limit, NotFound, RateLimited
from rustygpt.http.middleware import ACTOR_KEY
from rustygpt.http.problem import REQUEST_ID_KEY
from rustygpt.http.request import path_uuid
from rustygpt.ids import ConversationId
from rustygpt.operation import operation
from rustygpt.streaming.conversation_subscriber import ConversationSubscriber
from rustygpt.streaming.cursor import LAST_EVENT_ID, START, Cursor, Start, requested_start
from rustygpt.streaming.frames import encode_control, encode_retry
from rustygpt.streaming.jitter import lifetime_seconds, overload_reconnect_ms, reconnect_ms
from rustygpt.streaming.procedures import OpenedStream, open_conversation_stream, open_user_stream
from rustygpt.streaming.sockets import find_peer
from rustygpt.streaming.subscriber import Subscriber
from rustygpt.streaming.user_subscriber import UserSubscriber
from rustygpt.streaming.wire import STREAM

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from rustygpt.streaming.coordinator import Coordinator
    from rustygpt.streaming.sweeper import Sweeper

HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
RETRY_SECONDS: Final = 5
"""When somebody with too many streams may ask again; nobody knows when one of theirs ends."""
SCOPE_AFTER_START: Final = ("type", "method", "path", "route", ACTOR_KEY, REQUEST_ID_KEY)
"""What the server and the middleware read once the answer has begun."""


class StreamRoutes:
    """`/api/stream…`."""

    def __init__(self, database: Caller, coordinator: Coordinator, sweeper: Sweeper) -> None:
        self._database = database
        self._coordinator = coordinator
        self._sweeper = sweeper

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/stream", _Endpoint(self._own_stream), methods=["GET"]),
            Route("/api/stream/conversations/{conversation_id}", _Endpoint(self._conversation_stream), methods=["GET"]),
            Route("/api/stream/{user_id}", _Endpoint(self._stream_of_user), methods=["GET"]),
        ]

    # The next two are no coroutines of their own: one would lie under each of ten thousand idle streams.
    @operation("stream_own_events", tag="Streams", who="actor", query=START, headers=LAST_EVENT_ID, answers={200: STREAM})
    def _own_stream(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Stream what happens in one's conversations and to oneself."""
        return self._user_stream(scope, receive, send)

    @operation("stream_user_events", tag="Streams", who="actor", query=START, headers=LAST_EVENT_ID, answers={200: STREAM})
    def _stream_of_user(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Stream what happens in a user's conversations; only for one's own id."""
        return self._user_stream(scope, receive, send)

    async def _user_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        actor = actor_of(scope)
        if "user_id" in scope["path_params"] and path_uuid(Request(scope), "user_id") != actor.user_id:
            raise NotFound
        await self._serve(scope, receive, send, actor, None)

    @operation("stream_conversation", tag="Streams", who="actor", query=START, headers=LAST_EVENT_ID, answers={200: STREAM})
    async def _conversation_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream what happens in a conversation."""
        actor = actor_of(scope)
        await self._serve(scope, receive, send, actor, path_uuid(Request(scope), "conversation_id"))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, actor: Actor, conversation_id: UUID | None) -> None:
        start = requested_start(scope)
        if self._sweeper.is_draining:
            await _send_away(send)
            return
        if self._coordinator.streams_of(actor.user_id) >= (most := self._coordinator.settings.max_streams_per_user):
            limit = Limit("streams", most, 0, RETRY_SECONDS)
            raise RateLimited("You have too many streams open; close one.", limit=limit, retry_after_seconds=RETRY_SECONDS)
        subscriber: UserSubscriber | ConversationSubscriber = (
            UserSubscriber(self._coordinator, actor.user_id, actor.credential_id)
            if conversation_id is None
            else ConversationSubscriber(self._coordinator, actor.user_id, actor.credential_id, conversation_id)
        )
        if isinstance(actor, KeyActor):
            subscriber.refusal = KeyRevoked
        try:
            opened = await self._open(subscriber, actor, start)
            subscriber.cursor = opened.start
            subscriber.peer = find_peer(scope)
            if scope["method"] == "HEAD":
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                await send({"type": "http.response.body", "body": b""})
                return
            if opened.start < opened.head and not await self._coordinator.reach(opened.head):
                await _send_away(send)  # what this process has in memory may still hold a text that was deleted
                return
            connection = Connection(subscriber, actor, self._coordinator, self._sweeper)
            connection.prepare(start, opened)
            del start, opened  # an idle stream would keep them, and with them the ids of all of a user's conversations
            await connection.serve(receive, send)
        finally:
            self._coordinator.unregister(subscriber)

    async def _open(self, subscriber: Subscriber, actor: Actor, start: Start) -> OpenedStream:
        """Ask the database where to start. Raises NotFound, Unavailable."""
        cursor = start.cursor
        place: dict[str, Any] = {
            "epoch": cursor.epoch if cursor else None,
            "after": cursor.position if cursor else None,
            "since": start.since,
            "max_backlog": self._coordinator.settings.persistence.max_events_per_user,
        }
        if isinstance(subscriber, UserSubscriber):
            opened = await open_user_stream(self._database, actor=actor.user_id, **place)
            subscriber.enter(opened.conversations, opened.head, is_settled=opened.is_settled)
            return opened
        assert isinstance(subscriber, ConversationSubscriber)  # noqa: S101 - the only other kind
        conversation_id = ConversationId(subscriber.conversation_id)
        return await open_conversation_stream(self._database, actor=actor.user_id, conversation=conversation_id, **place)


class Connection:
    """One open response and its subscriber, as the sweeper sees them. Times are monotonic."""

    def __init__(self, subscriber: Subscriber, actor: Actor, coordinator: Coordinator, sweeper: Sweeper) -> None:
        now = time.monotonic()
        self.subscriber = subscriber
        self.drain_at: float | None = None
        self.lifetime_ends_at = now + lifetime_seconds(coordinator.settings.max_lifetime_seconds)
        ends_at = actor.absolute_expires_at
        self.session_ends_at = math.inf if ends_at is None else now + (ends_at - datetime.now(UTC)).total_seconds()
        self._coordinator = coordinator
        self._sweeper = sweeper
        self._limit: asyncio.Timeout | None = None
        self._greeting = b""

    def abort(self) -> bool:
        """Give up a send that does not end. False when that was done before, or there is nothing to give up."""
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.reschedule(asyncio.get_running_loop().time())
        return limit is not None

    def prepare(self, start: Start, opened: OpenedStream) -> None:
        """Say where the stream starts, for its greeting."""
        self._greeting = self._encode_greeting(start, opened)

    async def serve(self, receive: Receive, send: Send) -> None:
        """Send the stream until it ends or the client is gone."""
        self._sweeper.add(self)
        peer = self.subscriber.peer
        try:
            if peer is None:
                await self._stream_and_listen(receive, send)
            else:
                peer.watch(self._on_lost)
                await self._stream(send)
        finally:
            if peer is not None:
                peer.unwatch()
            self._sweeper.discard(self)

    async def _stream(self, send: Send) -> None:
        async def send_bytes(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        limit = self._limit = asyncio.timeout(None)
        try:
            async with limit:
                await self._begin(send)
                await self.subscriber.run(send_bytes)
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            if not limit.expired():
                raise
            # Returning without the last body makes a server close the connection; the client resumes after its last id.
            if self.subscriber.peer is not None:
                self.subscriber.peer.cut()
        finally:
            self._limit = None

    async def _begin(self, send: Send) -> None:
        """Send the head and the greeting, and let go what only the beginning needed."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": self._greeting, "more_body": True})
        self._greeting = b""
        if self.subscriber.peer is not None:
            self.subscriber.peer.forget_request(keep=SCOPE_AFTER_START)

    async def _stream_and_listen(self, receive: Receive, send: Send) -> None:
        """The same under a server that tells of a client's leaving only to who listens: with a task more."""
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(self._until_disconnect(receive))
            try:
                await self._stream(send)
            finally:
                listener.cancel()

    async def _until_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._on_lost()

    def _on_lost(self) -> None:
        self.subscriber.end("disconnected")

    def _encode_greeting(self, start: Start, opened: OpenedStream) -> bytes:
        metrics, settings = self._coordinator.metrics, self._coordinator.settings
        place = Cursor(opened.epoch, opened.start)
        is_live = start.cursor is None and start.since is None
        outcome = "gap" if opened.gap_reason else "live" if is_live else "log" if opened.start < opened.head else "ring"
        metrics.sse_resume_total.labels(outcome).inc()
        ready = {
            "resumed": not is_live and opened.gap_reason is None,
            "cursor": str(place),
            "heartbeat_seconds": settings.heartbeat_seconds,
        }
        parts = [
            encode_retry(reconnect_ms()),
            b": connected\n\n",
            # Who came without a cursor gets one at once: a cut before the first event must not lose what comes meanwhile.
            encode_control("stream.ready", ready, cursor=None if start.cursor else place),
        ]
        self._coordinator.sent["stream.ready"] += 1
        if opened.gap_reason is not None:
            metrics.sse_gap_total.labels(opened.gap_reason).inc()
            self._coordinator.sent["stream.gap"] += 1
            parts.append(encode_control("stream.gap", self._gap(start, opened), cursor=place))
        return b"".join(parts)

    def _gap(self, start: Start, opened: OpenedStream) -> dict[str, Any]:
        refetch = ["/api/conversations"]
        if isinstance(self.subscriber, ConversationSubscriber):
            here = f"/api/conversations/{self.subscriber.conversation_id}"
            refetch = [here, f"{here}/messages", f"{here}/participants"]
        origin = start.cursor or Cursor(opened.epoch, opened.gap_from or 0)
        return {
            "reason": opened.gap_reason,
            "from": str(origin),
            "to": str(Cursor(opened.epoch, opened.start)),
            "refetch": refetch,
        }


class _Endpoint:
    """A raw ASGI endpoint; Starlette would wrap a plain function in its Request and Response."""

    def __init__(self, app: ASGIApp) -> None:
        self.__wrapped__ = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.__wrapped__(scope, receive, send)


async def _send_away(send: Send) -> None:
    """Answer a client that should come back later, or to another process."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": encode_retry(overload_reconnect_ms())})
