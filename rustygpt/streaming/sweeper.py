"""The one timer of all streams: heartbeats, stalled sends, lifetimes, ended sessions, counters.

A timer per stream would cost memory and wake-ups for each of ten thousand idle readers; one pass a second costs microseconds each.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from rustygpt.errors import DomainError
from rustygpt.streaming.coordinator import Coordinator
from rustygpt.streaming.jitter import drain_delay_seconds

if TYPE_CHECKING:
    from rustygpt.signals import SignalKind
    from rustygpt.streaming.routes import Connection

log = structlog.get_logger(__name__)

EndedCredentials = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]
"""Given ids of sessions and API keys, return those that have ended. Raises DomainError."""


DRAIN_SEND_SECONDS: Final = 1.0
"""So long after the drain a send may still be under way."""


class Sweeper:
    """Looks after every connection of the process."""

    def __init__(self, coordinator: Coordinator, ended_credentials: EndedCredentials) -> None:
        self._coordinator = coordinator
        self._ended_credentials = ended_credentials
        self._settings = coordinator.settings
        self._connections: set[Connection] = set()
        self._drain_from: float | None = None
        self._next_poll_at = 0.0

    @property
    def is_draining(self) -> bool:
        """Say whether the process is shutting down: new streams are sent away at once."""
        return self._drain_from is not None

    def add(self, connection: Connection) -> None:
        """Look after a connection until `discard`."""
        self._connections.add(connection)

    def discard(self, connection: Connection) -> None:
        """Stop looking after a connection."""
        self._connections.discard(connection)

    def begin_drain(self) -> None:
        """End every stream within sse.drain_seconds, spread evenly at random so that clients do not all come back at once."""
        if self._drain_from is None:
            self._drain_from = time.monotonic()
            for connection in self._connections:
                connection.drain_at = self._drain_from + drain_delay_seconds(self._settings.drain_seconds)

    def end_all(self) -> None:
        """End every stream now: nothing will come any more, and the server waits for them."""
        for connection in self._connections:
            connection.subscriber.end("drain")

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """End the streams of a revoked session at once; ask for all of them, a moment later, when some may have been missed."""
        if kind == "look":
            self._next_poll_at = 0.0
        elif kind == "session_revoked":
            for connection in self._connections:
                if str(connection.subscriber.credential_id) == key:
                    connection.subscriber.end("session_expired")

    async def run(self) -> None:
        """Sweep until cancelled."""
        settings = self._settings
        tick = min(1.0, settings.heartbeat_seconds / 2, settings.session_poll_seconds / 2, settings.send_timeout_seconds / 4)
        next_beat_at = time.monotonic() + settings.heartbeat_seconds
        while True:
            # Not past the next heartbeat: a cut network is found out by what is sent, and has 45 s in all.
            due_seconds = max(next_beat_at - time.monotonic(), 0.0)
            await asyncio.sleep(min(tick, due_seconds, 0.1 if self.is_draining else tick))
            now = time.monotonic()
            is_beat = now >= next_beat_at
            if is_beat:
                next_beat_at = now + settings.heartbeat_seconds
            self._look_at_all(now, is_beat=is_beat)
            self._count([connection.subscriber.look_at_lag() for connection in self._connections])
            if now >= self._next_poll_at:
                self._next_poll_at = now + settings.session_poll_seconds
                await self._poll_sessions()

    def _look_at_all(self, now: float, *, is_beat: bool) -> None:
        for connection in list(self._connections):  # here, since `run` would keep the last one until its next turn
            self._look_at(connection, now, is_beat=is_beat)

    def _look_at(self, connection: Connection, now: float, *, is_beat: bool) -> None:
        subscriber = connection.subscriber
        since = subscriber.sending_since
        if since is not None and now - since > self._settings.send_timeout_seconds:
            if connection.abort():  # else it is being cut: a heartbeat's turn can follow at once
                log.info("stream_stalled", user_id=str(subscriber.user_id), seconds=round(now - since, 1))
        elif now >= connection.session_ends_at:
            subscriber.end("session_expired")
        elif connection.drain_at is not None and now >= connection.drain_at:
            subscriber.end("drain")
            if since is not None and self._drain_from is not None and now > self._cut_at(self._drain_from):
                # It takes nothing, and would hold up the process's end until that is forced.
                connection.abort()
        elif now >= connection.lifetime_ends_at:
            subscriber.end("lifetime")
        elif is_beat:
            subscriber.beat()

    def _cut_at(self, drain_from: float) -> float:
        return drain_from + self._settings.drain_seconds + DRAIN_SEND_SECONDS

    async def _poll_sessions(self) -> None:
        sessions = {connection.subscriber.credential_id for connection in self._connections}
        if not sessions:
            return
        try:
            ended = set(await self._ended_credentials(sessions))
        except DomainError as error:
            log.warning("session_poll_failed", code=error.code)
            return
        for connection in self._connections:
            if connection.subscriber.credential_id in ended:
                connection.subscriber.end("session_expired")

    def _count(self, lags: Sequence[int]) -> None:
        metrics = self._coordinator.metrics
        metrics.sse_queue_depth.set(sum(lags))
        metrics.sse_queue_occupancy_ratio.set(max(lags, default=0) / self._settings.channel_capacity)
        for kind, count in self._coordinator.sent.items():
            metrics.sse_events_sent_total.labels(kind).inc(count)
        self._coordinator.sent.clear()
        open_streams = Counter(connection.subscriber.kind for connection in self._connections)
        for kind in ("user", "conversation"):
            metrics.sse_subscribers.labels(kind).set(open_streams[kind])
