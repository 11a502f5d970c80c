"""Tells everybody whose question waits for a model which place it has.

Every process notices when the queue may have moved, but all together they tell it once a second at the most, by one reading of the whole
queue, and only what has changed since somebody told it last. Places are state: whoever connects is told them anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from rustygpt.assistant.procedures import Queue, read_queue
from rustygpt.errors import DomainError
from rustygpt.signals import Transient

if TYPE_CHECKING:
    from rustygpt.database.call import Caller
    from rustygpt.signals import Announcer, SignalKind

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 0.05
"""A question that is asked at once has no place: so long a runner has to claim it."""


class QueueTeller:
    """Looks at the queue when it may have moved, and announces the places that are new."""

    def __init__(self, database: Caller, announcer: Announcer) -> None:
        self._database = database
        self._announcer = announcer
        self._told: dict[str, Any] = {}
        self._has_moved = asyncio.Event()

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """Hear that something was queued; tell everything anew when messages may have been lost."""
        if kind == "look":
            self._told.clear()
        if kind in ("look", "generation_queued"):
            self._has_moved.set()

    def on_transient(self, transient: Transient) -> None:
        """Hear what was told, by whichever process."""
        if transient.type == "generation.queued":
            self._told[transient.key] = transient.payload.get("position")

    def on_moved(self) -> None:
        """A runner of this process has taken something out of the queue, or has ended something that counted for its order."""
        self._has_moved.set()

    async def run(self) -> None:
        """Tell places until cancelled."""
        while True:
            # Nothing is missed however long this waits.
            await self._has_moved.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._has_moved.clear()
            try:
                queue = await read_queue(self._database, every_seconds=EVERY_SECONDS)
            except DomainError as error:
                log.info("queue_not_told", code=error.code)
                wait_seconds = EVERY_SECONDS
            else:
                wait_seconds = queue.wait_seconds
                self._tell(queue)
            if wait_seconds > 0:
                await asyncio.sleep(wait_seconds)
                self._has_moved.set()

    async def restore(self, conversations: Collection[UUID]) -> list[Transient]:
        """Return the places of what waits in *conversations*. Raises Unavailable."""
        places = _places(await read_queue(self._database, every_seconds=None))
        return [place for place in places if place.conversation_id in conversations]

    def _tell(self, queue: Queue) -> None:
        if queue.wait_seconds > 0:
            return
        places = _places(queue)
        told, self._told = self._told, {}
        for place in places:
            if told.get(place.key) == place.payload["position"]:
                self._told[place.key] = told[place.key]
            else:
                self._announcer.transient(place)


def _places(queue: Queue) -> list[Transient]:
    waiting = zip(queue.messages, queue.conversations, queue.estimates, strict=True)
    return [
        Transient(
            conversation,
            None,
            "generation.queued",
            str(message),
            {"message_id": str(message), "position": position, "estimated_seconds": estimate},
        )
        for position, (message, conversation, estimate) in enumerate(waiting, 1)
    ]
