"""How things stand: typing, presence, places in the queue. State, not history.

Nothing here is in the log or has an `id`. Of what a reader has not been sent yet only the last of each place is kept, and no more than
MAX_PENDING; who may not see the conversation any more gets none. Whoever has just connected is told anew, all of them by one reading.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog

from rustygpt.errors import DomainError
from rustygpt.streaming.frames import TransientFrame, encode_transient

if TYPE_CHECKING:
    from rustygpt.signals import Transient
    from rustygpt.streaming.subscriber import Subscriber

log = structlog.get_logger(__name__)

MAX_PENDING: Final = 64
"""States kept for one slow reader; the oldest go first."""
RESTORE_SECONDS: Final = 1.0
"""However many connect, how things stand is read no more often than this."""

Restorer = Callable[[Collection[UUID]], Awaitable[Sequence["Transient"]]]
"""Given conversations, return how things stand in them, perhaps in others too. Raises DomainError."""


class PendingTransients:
    """What one reader has still to be told."""

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames: dict[tuple[object, ...], TransientFrame] = {}

    def put(self, frame: TransientFrame) -> None:
        """Keep the last of each place."""
        self._frames.pop(frame.place, None)
        self._frames[frame.place] = frame
        if len(self._frames) > MAX_PENDING:
            del self._frames[next(iter(self._frames))]

    def take(self) -> list[TransientFrame]:
        """Return all, in the order in which they came, and keep none."""
        frames = list(self._frames.values())
        self._frames.clear()
        return frames

    def __bool__(self) -> bool:
        return bool(self._frames)


class Transients:
    """Hands state to the readers of this process. *followers* is the coordinator's own, *sent* counts by type."""

    def __init__(self, followers: Mapping[UUID, Iterable[Subscriber]], sent: Counter[str]) -> None:
        self._followers = followers
        self._sent = sent
        self._newcomers: set[Subscriber] = set()
        self._has_newcomers = asyncio.Event()
        self._restorers: list[Restorer] = []

    def restore_by(self, restorer: Restorer) -> None:
        """Ask *restorer* too when somebody connects. To be called while the application is built."""
        self._restorers.append(restorer)

    def tell(self, transient: Transient) -> None:
        """Tell the conversation's readers; never waits."""
        self._hand_out([transient], None)

    def greet(self, subscriber: Subscriber) -> None:
        """A stream has begun: tell it how things stand, soon."""
        self._newcomers.add(subscriber)
        self._has_newcomers.set()

    def forget(self, subscriber: Subscriber) -> None:
        """A stream has ended."""
        self._newcomers.discard(subscriber)

    async def run(self) -> None:
        """Tell newcomers how things stand, until cancelled."""
        while True:
            # Nothing is missed however long this waits.
            await self._has_newcomers.wait()
            self._has_newcomers.clear()
            began = time.monotonic()
            await self._greet_newcomers()  # a call of its own: whoever leaves meanwhile must not be kept by a variable here
            await asyncio.sleep(max(0.0, began + RESTORE_SECONDS - time.monotonic()))

    async def _greet_newcomers(self) -> None:
        newcomers, self._newcomers = self._newcomers, set()
        try:
            await self._restore(newcomers)
        except DomainError as error:
            log.info("state_not_restored", code=error.code, streams=len(newcomers))
            for subscriber in newcomers:
                if subscriber.end_reason is None:
                    self.greet(subscriber)

    async def _restore(self, newcomers: Collection[Subscriber]) -> None:
        conversations = {conversation_id for subscriber in newcomers for conversation_id in subscriber.following}
        if not conversations:
            return
        for restorer in self._restorers:
            self._hand_out(await restorer(conversations), newcomers)

    def _hand_out(self, transients: Sequence[Transient], among: Collection[Subscriber] | None) -> None:
        for transient in transients:
            frame: TransientFrame | None = None
            for subscriber in self._followers.get(transient.conversation_id, ()):
                if transient.audience_user_id not in (None, subscriber.user_id) or (
                    among is not None and subscriber not in among
                ):
                    continue
                if frame is None:
                    frame = encode_transient(transient)
                if subscriber.tell(frame):
                    self._sent[frame.type] += 1
