"""Snapshots taken while everything goes on: each names the position at which it is true, and is compared with the log at the end.

They are what a reader fetches after a gap, and what an asker sees while a reply is being written.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.soak.ledger import digest_of
from tests.soak.population import Account, Conversation
from tests.soak.posting import Postbox
from tests.soak.run import Run

MAX_WAITING = 2_000
FETCHERS = 3
PAGE = 200


@dataclass(frozen=True, slots=True)
class MessageState:
    """What a snapshot said of one message; *text* is a digest."""

    id: str
    text: int
    next_idx: int
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Messages at *position*: one of them, or (with *conversation_id*) the newest *PAGE* of a conversation, newest first."""

    position: int
    messages: list[MessageState]
    conversation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Chunks:
    """Stored pieces of a reply: digests of their texts, from number *first* on without a hole."""

    message_id: str
    first: int
    texts: list[int]


@dataclass(slots=True)
class Snapshots:
    """Fetches what gaps ask for, a few at a time, and keeps what it got."""

    run: Run
    postbox: Postbox
    taken: list[Snapshot] = field(default_factory=list)
    chunks: list[Chunks] = field(default_factory=list)
    _wanted: asyncio.Queue[tuple[Account, Conversation | None, dict[str, Any]]] = field(
        default_factory=lambda: asyncio.Queue(MAX_WAITING)
    )

    def want(self, account: Account, conversation: Conversation | None, gap: dict[str, Any]) -> None:
        """Ask for what a stream.gap says is to be fetched again."""
        try:
            self._wanted.put_nowait((account, conversation, gap))
        except asyncio.QueueFull:
            self.run.tally["refetch left out"] += 1

    @property
    def is_idle(self) -> bool:
        """Say whether everything asked for has been fetched, or is being fetched."""
        return self._wanted.empty()

    async def fetch(self) -> None:
        """Fetch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(FETCHERS):
                group.create_task(self._fetch_each())

    async def look_at(self, account: Account, message_id: str) -> dict[str, Any] | None:
        """Take a snapshot of one message and return it."""
        answer = await self.postbox.ask(account, "GET", f"/api/messages/{message_id}")
        if answer is None or answer.status_code != 200:
            return None
        body = dict(answer.json())
        self.taken.append(Snapshot(_position(body["stream_cursor"]), [_state(body)]))
        return body

    async def _fetch_each(self) -> None:
        while True:
            # No deadline: gaps may never come. The soak cancels this.
            account, conversation, gap = await self._wanted.get()
            if "message_id" in gap:
                await self._fetch_chunks(account, gap)
                await self.look_at(account, gap["message_id"])
            elif conversation is not None:
                await self._fetch_messages(account, conversation)
            else:
                for each in account.conversations:
                    await self._fetch_messages(account, each)

    async def _fetch_chunks(self, account: Account, gap: dict[str, Any]) -> None:
        """Fetch the pieces that a gap names, by the address that it gives."""
        address, last = gap["refetch"][0], gap["to_idx"]
        texts: list[int] = []
        cursor: str | None = ""
        while cursor is not None and len(texts) <= last - gap["from_idx"]:
            path = f"{address}&limit={PAGE}" if not cursor else f"{address.partition('?')[0]}?cursor={cursor}&limit={PAGE}"
            answer = await self.postbox.ask(account, "GET", path)
            if answer is None or answer.status_code != 200:
                self.run.tally["refetch refused"] += 1  # a guest who is out by now
                return
            body = answer.json()
            texts += [digest_of(item["content"].encode()) for item in body["items"]]
            cursor = body["next_cursor"]
        if len(texts) <= last - gap["from_idx"]:
            self.run.blame(
                "wrong snapshot",
                f"chunks of {gap['message_id']}",
                0,
                f"{len(texts)} pieces from {gap['from_idx']}, not up to {last}",
            )
        self.chunks.append(Chunks(gap["message_id"], gap["from_idx"], texts))

    async def _fetch_messages(self, account: Account, conversation: Conversation) -> None:
        answer = await self.postbox.ask(account, "GET", f"/api/conversations/{conversation.id}/messages?limit={PAGE}")
        if answer is None or answer.status_code != 200:
            self.run.tally["refetch refused"] += 1
            return
        body = answer.json()
        states = [_state(item) for item in body["items"]]
        self.taken.append(Snapshot(_position(body["stream_cursor"]), states, conversation.id))


def _position(cursor: str) -> int:
    return int(cursor.rpartition("-")[2])


def _state(message: dict[str, Any]) -> MessageState:
    return MessageState(message["id"], digest_of(message["content"].encode()), message["next_idx"], message["finish_reason"])
