"""A bus between processes: what is told within 5 ms goes out as one message, and each process proves by its own echo that it hears.

Sending is a hint: it never blocks the writer, and a failed one is made good by telling everybody to look. Whoever connects again looks
at everything, for what was said meanwhile is lost.
"""

from __future__ import annotations

import asyncio
import secrets
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ClassVar, Final

import structlog
from typing_extensions import override

from rustygpt.errors import DomainError
from rustygpt.ids import Position
from rustygpt.observability.metrics import Metrics
from rustygpt.signals import SignalKind, Transient
from rustygpt.streaming.bus.base import Bus
from rustygpt.streaming.bus.message import MAX_SIGNALS, Message, add_transients, decode, encode, node_prefix
from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.jitter import bus_retry_seconds

log = structlog.get_logger(__name__)

FOLD_SECONDS: Final = 0.005
"""The first message goes at once, the next not before this: 200 messages a second, whatever the load."""
SEND_SECONDS: Final = 5.0
SEND_RETRY_SECONDS: Final = 0.5
PING_SECONDS: Final = 5.0
DEAF_SECONDS: Final = 15.0
"""Three pings unheard, one's own among them: the connection is dead, or is one that cannot listen."""
CLOSE_SECONDS: Final = 1.0
MAX_TRANSIENTS: Final = 512
"""States that may wait for a message with room for them; the oldest go first: whoever told them tells them again."""


class SharedBus(Bus):
    """Sends and hears through something that all processes reach. *epoch* returns the log's epoch as this process knows it."""

    max_bytes: ClassVar[int]
    """Of one message."""
    carries_deltas: ClassVar[bool]

    def __init__(self, metrics: Metrics, epoch: Callable[[], str]) -> None:
        super().__init__()
        self._metrics = metrics
        self._epoch = epoch
        self._node = secrets.token_hex(6)
        self._own_prefix = node_prefix(self._node)
        self._work = asyncio.Event()
        self._position = 0
        self._signals: dict[tuple[SignalKind, str], None] = {}
        self._transients: dict[tuple[object, ...], Transient] = {}
        self._deltas: list[LoggedEvent] = []
        self._delta_characters = 0
        self._hearing: asyncio.Timeout | None = None
        self._is_heard = False
        self._is_send_failing = False
        self._has_been_heard = False
        self._has_complained = False

    @property
    @override
    def is_connected(self) -> bool:
        return self._is_heard and not self._is_send_failing

    @override
    def wake(self, position: Position) -> None:
        super().wake(position)
        self._position = max(self._position, position)
        self._work.set()

    @override
    def signal(self, kind: SignalKind, key: str = "") -> None:
        super().signal(kind, key)
        if len(self._signals) <= MAX_SIGNALS:  # with one more than that a look is sent instead
            self._signals[kind, key] = None
        self._work.set()

    @override
    def transient(self, transient: Transient) -> None:
        super().transient(transient)
        self._transients.pop(transient.place, None)  # to the end: it is the newest
        self._transients[transient.place] = transient
        if len(self._transients) > MAX_TRANSIENTS:
            del self._transients[next(iter(self._transients))]
        self._work.set()

    @override
    def publish(self, events: Sequence[LoggedEvent]) -> None:
        super().publish(events)
        self._position = max(self._position, events[-1].position)
        if self.carries_deltas:
            self._delta_characters += sum([len(event.content or "") for event in events])
            if self._delta_characters <= self.max_bytes:
                self._deltas += events
            else:
                self._deltas.clear()
        self._work.set()

    @override
    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_sending())
            await self._keep_hearing()

    @override
    async def close(self) -> None:
        if self._position or self._signals:
            with suppress(DomainError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._flush()

    # --- what a kind does --------------------------------------------------------------------------------------------------

    @abstractmethod
    async def _send(self, body: bytes) -> None:
        """Tell everybody, this process included. Raises Unavailable."""

    @abstractmethod
    async def _hear_until_lost(self) -> None:
        """Connect, call `_arrive` from when on nothing is missed, then `_hear` with each message. Raises Unavailable."""

    def _arrive(self) -> None:
        """Messages come from now on; what was said before is lost."""
        self._stay_patient()
        super().signal("look")
        self._work.set()  # anything, so as to hear oneself

    def _hear(self, body: bytes) -> None:
        """Take one message, whoever sent it."""
        self._stay_patient()
        if not self._is_heard:
            self._is_heard = True
            log.info("bus_connected", is_again=self._has_been_heard)
            if self._has_been_heard:
                self._metrics.bus_reconnects_total.inc()
            self._has_been_heard = True
        if body.startswith(self._own_prefix):
            return
        message = decode(body)
        if message is not None:
            self._tell(message)
        elif not self._has_complained:
            self._has_complained = True
            log.warning("bus_message_malformed", size_bytes=len(body))

    # --- inside ------------------------------------------------------------------------------------------------------------

    def _tell(self, message: Message) -> None:
        if message.epoch == self._epoch():  # else positions are of another history: whoever is wrong finds out by itself
            if message.deltas:
                super().publish(message.deltas)
            if message.position:
                super().wake(Position(message.position))
        for kind, key in message.signals:
            super().signal(kind, key)
        for transient in message.transients:
            super().transient(transient)

    async def _keep_sending(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                pass
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._flush()
                self._is_send_failing = False
            except (DomainError, TimeoutError) as error:
                await self._on_send_failed(error)
            await asyncio.sleep(FOLD_SECONDS)

    async def _flush(self) -> None:
        message = Message(self._node, self._epoch(), self._position, tuple(self._signals), tuple(self._deltas))
        self._work.clear()
        self._position = 0
        self._signals.clear()
        self._deltas.clear()
        self._delta_characters = 0
        body, told = add_transients(encode(message, self.max_bytes), tuple(self._transients.values()), self.max_bytes)
        for place in tuple(self._transients)[: max(told, 1)]:  # one that fits into no message must not bar the way
            del self._transients[place]
        if self._transients:
            self._work.set()
        await self._send(body)

    async def _on_send_failed(self, error: Exception) -> None:
        if not self._is_send_failing:
            log.warning("bus_send_failing", reason=_reason(error))
        self._is_send_failing = True
        self._signals["look", ""] = None  # for whatever was in the message
        await asyncio.sleep(SEND_RETRY_SECONDS)
        self._work.set()

    async def _keep_hearing(self) -> None:
        failures = 0
        while True:
            reason = "the connection was lost"
            try:
                async with asyncio.timeout(DEAF_SECONDS) as self._hearing:
                    await self._hear_until_lost()
            except (DomainError, TimeoutError) as error:
                reason = _reason(error)
            finally:
                self._hearing = None
            failures = 0 if self._is_heard else failures + 1
            self._is_heard = False
            if failures <= 1:
                log.warning("bus_disconnected", reason=reason)
            await asyncio.sleep(bus_retry_seconds(failures))

    def _stay_patient(self) -> None:
        if self._hearing is not None and not self._hearing.expired():
            self._hearing.reschedule(asyncio.get_running_loop().time() + DEAF_SECONDS)


def _reason(error: Exception) -> str:
    if isinstance(error, DomainError):
        return error.detail
    return "nothing was heard in time"
