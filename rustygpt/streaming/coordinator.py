"""The coordinator turns the log into streams, one per process.

`head`: every position up to it has been put into the rings of this process, in order, each once. Batches of a committer (ours, or
another's by the bus) extend the rings directly where they continue `head`; everything else is read from the log, once for all conversations. Work per event is
proportional to the subscribers who get it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from rustygpt.database.call import Caller
from rustygpt.errors import DomainError
from rustygpt.ids import ConversationId, Position, UserId
from rustygpt.observability.metrics import Metrics
from rustygpt.streaming.arrivals import Arrivals
from rustygpt.streaming.events import REWRITING, LoggedEvent
from rustygpt.streaming.frames import Frame, MemberChange, encode_chunk, encode_event
from rustygpt.streaming.pages import WHOLE_LOG, Page, Pages
from rustygpt.streaming.procedures import (
    Head,
    read_conversation_events,
    read_events,
    read_log,
    read_user_events,
    renew_epoch,
    stream_head,
)
from rustygpt.streaming.ring import Ring
from rustygpt.streaming.transients import Transients

if TYPE_CHECKING:
    from rustygpt.settings_streaming import SseSettings
    from rustygpt.signals import SignalKind
    from rustygpt.streaming.subscriber import Subscriber

log = structlog.get_logger(__name__)

PAGE_EVENTS: Final = 256
TAIL_EVENTS: Final = 500


class Coordinator:
    """Rings, and who follows them. Opened once; `run` keeps it at the log's end."""

    def __init__(self, database: Caller, settings: SseSettings, metrics: Metrics) -> None:
        self.database = database
        self.settings = settings
        self.metrics = metrics
        self.epoch = ""
        self.head = 0
        self.is_tailing = False
        self.sent: Counter[str] = Counter()
        self._rings: dict[UUID, Ring] = {}
        self._followers: dict[UUID, set[Subscriber]] = {}
        self._by_user: dict[UUID, set[Subscriber]] = {}
        self.transients = Transients(self._followers, self.sent)
        self._wanted = 0
        self._next_look_at = 0.0
        self._wake = asyncio.Event()
        self._pages = Pages()
        self._arrivals = Arrivals()

    async def open(self) -> None:
        """Start at the log's end. Raises Unavailable."""
        head = await stream_head(self.database)
        self.epoch, self.head, self._wanted = head.epoch, head.position, head.position

    # --- who listens -------------------------------------------------------------------------------------------------------

    def register(self, subscriber: Subscriber) -> None:
        """Make a subscriber known, before it reads anything, so that no event can pass between."""
        self._by_user.setdefault(subscriber.user_id, set()).add(subscriber)

    def unregister(self, subscriber: Subscriber) -> None:
        """Forget a subscriber, and the rings that nobody follows any more."""
        self.transients.forget(subscriber)
        for conversation_id in list(subscriber.following):
            self.unfollow(subscriber, conversation_id)
        of_user = self._by_user.get(subscriber.user_id, set())
        of_user.discard(subscriber)
        if not of_user:
            self._by_user.pop(subscriber.user_id, None)

    def follow(self, subscriber: Subscriber, conversation_id: UUID) -> None:
        """Let a subscriber be woken by a conversation's events; its ring starts at `head` where there was none."""
        if conversation_id not in self._rings:
            self._rings[conversation_id] = self._new_ring()
        self._followers.setdefault(conversation_id, set()).add(subscriber)
        subscriber.following.add(conversation_id)

    def unfollow(self, subscriber: Subscriber, conversation_id: UUID) -> None:
        """Undo `follow`."""
        subscriber.following.discard(conversation_id)
        followers = self._followers.get(conversation_id, set())
        followers.discard(subscriber)
        if not followers:
            self._followers.pop(conversation_id, None)
            self._rings.pop(conversation_id, None)

    def ring(self, conversation_id: UUID) -> Ring:
        """Return the ring of a followed conversation."""
        return self._rings[conversation_id]

    def streams_of(self, user_id: UUID) -> int:
        """Count a user's open streams on this process."""
        return len(self._by_user.get(user_id, ()))

    def subscribers(self) -> list[Subscriber]:
        """Return everybody, in no order."""
        return [subscriber for group in self._by_user.values() for subscriber in group]

    # --- what comes in -----------------------------------------------------------------------------------------------------

    def publish(self, events: Sequence[LoggedEvent]) -> None:
        """Take committed events, in position order, of whichever process. What does not continue `head` is read from the log."""
        for event in events:
            if event.position == self.head + 1:
                self._ingest(event)
            elif event.position > self.head:
                self.wake(Position(events[-1].position))
                return

    def wake(self, position: Position) -> None:
        """Hear that the log goes up to *position* at least."""
        self._wanted = max(self._wanted, position)
        if self._wanted > self.head:
            self._wake.set()

    async def reach(self, position: int) -> bool:
        """Wait until `head` is at *position*: nothing deleted or edited by then is in a ring or page any more. False when it takes too long."""
        self.wake(Position(position))
        return self.head >= position or await self._arrivals.wait(position)

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """Hear that something may have been missed."""
        if kind == "look":
            self._next_look_at = 0.0
            self._wake.set()

    async def run(self) -> None:
        """Follow the log until cancelled. Every sse.heal_seconds the log's end is asked for: a lost wake-up costs no more."""
        failures = 0
        self.is_tailing = True
        while True:
            try:
                if time.monotonic() >= self._next_look_at:
                    self._next_look_at = time.monotonic() + self.settings.heal_seconds
                    self._pages.forget_old()
                    known = self.head  # while the answer is under way this process may publish beyond it
                    await self._compare(await stream_head(self.database), known)
                await self._catch_up()
                failures = 0
                self.is_tailing = True
                await self._wait_for_wake(self._next_look_at - time.monotonic())
            except DomainError as error:
                failures += 1
                self.is_tailing = False
                self._next_look_at = 0.0
                if failures == 1:
                    log.warning("log_unreadable", code=error.code)
                await asyncio.sleep(min(0.1 * failures, 1.0))

    async def page(self, conversation_id: UUID, after: int) -> Page:
        """Read a page of one conversation's log after a position, or take it from whoever has just read it. Raises Unavailable."""

        async def read() -> Page:
            upto, conversation = self.head, ConversationId(conversation_id)
            events = await read_conversation_events(
                self.database, conversation=conversation, after=after, upto=upto, limit=PAGE_EVENTS
            )
            return self._encode_page(events, upto)

        return await self._pages.get((conversation_id, after), read)

    async def user_page(self, user_id: UUID, after: int) -> Page:
        """Read a page of what a user may see after a position, or take it from another stream of theirs. Raises Unavailable."""

        async def read() -> Page:
            upto = self.head
            events = await read_user_events(self.database, user=UserId(user_id), after=after, upto=upto, limit=PAGE_EVENTS)
            return self._encode_page(events, upto)

        return await self._pages.get((user_id, after), read)

    async def log_page(self, after: int) -> Page:
        """Read a page of the log of all conversations, or take it from whoever has just read it. Raises NotFound, Unavailable."""

        async def read() -> Page:
            upto = self.head
            return self._encode_page(await read_log(self.database, after=after, upto=upto, limit=PAGE_EVENTS), upto)

        return await self._pages.get((WHOLE_LOG, after), read)

    def _encode_page(self, events: Sequence[LoggedEvent], upto: int) -> Page:
        for kind, count in Counter(event.type for event in events).items():
            self.metrics.sse_replay_events_total.labels(kind).inc(count)
        is_full = len(events) == PAGE_EVENTS
        return Page([encode_event(event, self.epoch) for event in events], events[-1].position if is_full else upto)

    # --- inside ------------------------------------------------------------------------------------------------------------

    async def _wait_for_wake(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _compare(self, head: Head, known: int) -> None:
        epoch = head.epoch
        if epoch == self.epoch:
            if head.position >= known:
                self.wake(Position(head.position))
                return
            # A backup was restored under the server: positions that clients have will soon stand for other events.
            epoch = await renew_epoch(self.database, epoch=epoch, position=known)
        # History is another one: what clients have may be wrong, and they must hear it.
        log.warning("epoch_changed", before=self.epoch, now=epoch, head=head.position)
        self.epoch, self._wanted = epoch, head.position
        self._begin_anew(head.position)

    def _begin_anew(self, position: int) -> None:
        """Go on at *position* with empty rings, and send every reader to ask where it stands."""
        self.head = position
        self._arrivals.tell(position)
        self._pages.clear()
        for conversation_id in self._rings:
            self._rings[conversation_id] = self._new_ring()
        for subscriber in self.subscribers():
            subscriber.end("epoch_changed")

    def _new_ring(self) -> Ring:
        return Ring(self.head, max_events=self.settings.ring_events, max_bytes=self.settings.ring_bytes)

    async def _catch_up(self) -> None:
        while self.head < self._wanted:
            if not self._rings and not self._by_user:
                self.head = self._wanted
                self._pages.clear()  # nobody looks whether a text was deleted on the way
                return
            events = await read_events(self.database, after=self.head, limit=TAIL_EVENTS)
            if events and events[0].position > self.head + 1:
                # This process slept for so long that what it had not read was pruned.
                log.warning("log_pruned_unread", head=self.head, next=events[0].position)
                self._begin_anew(events[0].position - 1)
            for event in events:
                if event.position == self.head + 1:  # the committer may have been faster meanwhile
                    self._ingest(event)
            if not events:
                return

    def _ingest(self, event: LoggedEvent) -> None:
        """Put the next event into its ring and wake its readers. The only place where `head` grows by an event."""
        conversation_id, frame = event.conversation_id, None
        if conversation_id is not None and (event.type == "membership.changed" or conversation_id in self._rings):
            frame = encode_event(event, self.epoch)
            if frame.change is not None:
                self._tell_member(frame.change, conversation_id, event.position)
            if (ring := self._rings.get(conversation_id)) is not None:
                ring.append(frame)
        if event.type in REWRITING:
            self._pages.clear()
        self.head = event.position
        self._arrivals.tell(self.head)
        if frame is not None and conversation_id is not None:
            self._hand_out(frame, conversation_id)

    def _hand_out(self, frame: Frame, conversation_id: UUID) -> None:
        """Write a new frame to whoever waits for just that, and wake the others."""
        handed = 0
        chunk = encode_chunk(frame.data) if frame.is_plain else None
        for subscriber in self._followers.get(conversation_id, ()):
            if chunk is not None and subscriber.hand(frame, chunk):
                handed += 1
            else:
                subscriber.on_frame(conversation_id)
        if handed:
            self.sent[frame.type] += handed
            self.metrics.sse_publish_to_send_seconds.observe(time.monotonic() - frame.encoded_at)

    def _tell_member(self, change: MemberChange, conversation_id: UUID, position: int) -> None:
        """Let the streams of whoever came or went know, before the event itself reaches their ring."""
        if change.user_id is None:
            for subscriber in self._followers.get(conversation_id, ()):
                subscriber.on_left(conversation_id, position)
            return
        for subscriber in self._by_user.get(change.user_id, ()):
            if change.action == "added":
                subscriber.on_joined(conversation_id, position)
            elif change.action == "removed":
                subscriber.on_left(conversation_id, position)
