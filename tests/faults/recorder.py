"""A reader that comes back after every cut, as browsers do, and remembers all it got: the witness of I3 and I4.

What it holds is compared with the log itself: nothing lost, nothing twice, in order, and no hole that was not announced.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import httpx2

from tests.person import Event, Person, StreamReader

RECONNECT_SECONDS = 0.05
DEADLINE_SECONDS = 180.0
"""For machines under load; nothing waits that long when all is well."""
ROWS = """
select position, prev, type from rustygpt.event_log
where position between $1 and $2 and audience_user_id is null and ($3::uuid is null or conversation_id = $3) order by position
"""


class Recorder:
    """One path, read again and again. `readers` holds one entry for each connection that was answered by 200."""

    def __init__(self, person: Person, path: str, last_id: str | None = None) -> None:
        self.person = person
        self.path = path
        self.readers: list[StreamReader] = []
        self.statuses: list[int] = []
        self.first_id = last_id
        self._changed = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        """Everything, over all connections."""
        return [event for reader in self.readers for event in reader.events]

    @property
    def logged(self) -> list[Event]:
        """The log's events, over all connections."""
        return [event for reader in self.readers for event in reader.logged]

    @property
    def last_id(self) -> str | None:
        """Where the next connection begins."""
        return next((reader.last_id for reader in reversed(self.readers) if reader.last_id), self.first_id)

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """What was announced as missing."""
        return [event.payload for event in self.events if event.type == "stream.gap"]

    @property
    def heartbeats(self) -> int:
        """Count the heartbeats of the connection that is open now."""
        return self.readers[-1].comments.count("heartbeat") if self.readers else 0

    def text_of(self, message_id: str) -> str:
        """The deltas of a message, joined over all connections."""
        return "".join(reader.text_of(message_id) for reader in self.readers)

    def done(self, *message_ids: str) -> bool:
        """Say whether each of these messages has had its last word."""
        told = {event.payload["message_id"] for event in self.logged if event.type == "message.done"}
        return set(message_ids) <= told

    async def until(self, condition: Callable[["Recorder"], Any], seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until *condition* holds. Raises TimeoutError, telling what was read."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            read = [(event.id, event.type) for event in self.events[-20:]]
            raise TimeoutError(f"not within {seconds} s; connections {self.statuses}; read {read}") from None

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            with suppress(httpx2.TransportError):  # cut, refused or silent: for a reader each is a reason to come again
                await self._read_once()
            self._changed.set()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _read_once(self) -> None:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        timeout = httpx2.Timeout(None, connect=DEADLINE_SECONDS)
        async with self.person.client.stream("GET", self.path, headers=headers, timeout=timeout) as response:
            self.statuses.append(response.status_code)
            if response.status_code != 200:
                return
            reader = StreamReader()
            self.readers.append(reader)
            try:
                async for data in response.aiter_raw():
                    reader.feed(data)
                    self._changed.set()
            finally:
                reader.close()


@asynccontextmanager
async def recording(person: Person, *paths: str, last_id: str | None = None) -> AsyncIterator[list[Recorder]]:
    """Record each path while the block runs; begins when each has been greeted."""
    recorders = [Recorder(person, path, last_id) for path in paths]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(recorder.run()) for recorder in recorders]
        try:
            for recorder in recorders:
                await recorder.until(lambda r: any(event.type == "stream.ready" for event in r.events))
            yield recorders
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def recording_one(person: Person, path: str, last_id: str | None = None) -> AsyncIterator[Recorder]:
    """Record one path while the block runs."""
    async with recording(person, path, last_id=last_id) as (recorder,):
        yield recorder


async def assert_recorded(
    recorder: Recorder, owner: "asyncpg.Connection[asyncpg.Record]", conversation: str | None = None
) -> None:
    """Compare with the log, from the first event that was read to the last: the same positions, once, in order, no hole.

    Without *conversation* the path is a user's stream, of a user who sees all conversations there are.
    """
    assert recorder.gaps == []
    await assert_events(recorder.logged, owner, conversation)


async def assert_events(got: Sequence[Event], owner: "asyncpg.Connection[asyncpg.Record]", conversation: str | None) -> None:
    """Compare events of the log that were read with the log."""
    assert got, "nothing was read"
    rows = await owner.fetch(ROWS, got[0].position, got[-1].position, conversation)
    assert_equal_log([(event.position, event.body["prev"], event.type) for event in got], [tuple(row) for row in rows])


def assert_equal_log(got: Sequence[tuple[Any, ...]], expected: Sequence[tuple[Any, ...]]) -> None:
    """Tell what differs, not all that there is."""
    lost = [row for row in expected if row not in set(got)]
    alien = [row for row in got if row not in set(expected)]
    assert (lost[:5], alien[:5]) == ([], []), f"{len(lost)} lost, {len(alien)} that the log does not have"
    assert list(got) == list(expected), "twice, or out of order"


async def assert_text(owner: "asyncpg.Connection[asyncpg.Record]", message_id: str, text: str) -> None:
    """What was read is the concatenation of the stored chunks, and the message's own text when it has ended."""
    chunks = await owner.fetch(
        "select content from rustygpt.event_log where message_id = $1 and type = 'message.delta' order by idx", message_id
    )
    assert "".join(row["content"] for row in chunks) == text
    content = await owner.fetchval(
        "select m.content from rustygpt.messages m join rustygpt.generations g on g.message_id = m.id "
        "where m.id = $1 and g.state not in ('queued', 'running')",
        message_id,
    )
    assert content in (None, text)
