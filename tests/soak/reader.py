"""A reader does what a browser does: resumes with its last id, waits as it was told, goes to another process when its own is gone.

It records and judges only what it alone can see: that a stream is what it asked for, and that nothing follows its own removal.
"""

import asyncio
import time
from collections import deque
from typing import Literal

from tests.soak.fleet import HEARTBEAT_SECONDS, Fleet
from tests.soak.ledger import Ledger, Received, Record
from tests.soak.population import Account, Conversation
from tests.soak.run import Run
from tests.soak.snapshots import Snapshots
from tests.soak.wire import StreamConnection, open_stream

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 4 * HEARTBEAT_SECONDS
SETTLED_SECONDS = 3.0
"""A connection so old is no longer replaying, so what it gets tells how late it is."""

SETTLING_SECONDS = 2.0
JOURNAL = 12
"""Of its last connections a reader remembers so much, to be told when something is wrong."""

Temper = Literal["steady", "slow", "roaming"]
SLOW_BYTES_PER_SECOND = (500.0, 6_000.0)
STAY_SECONDS = (5.0, 40.0)
AWAY_SECONDS = (0.0, 15.0)
LONG_AWAY_SECONDS = (45.0, 75.0)
LONG_AWAY_SHARE = 0.2


class Reader:
    """One client. *conversation* None reads all of the account's conversations on one stream."""

    def __init__(
        self,
        number: int,
        account: Account,
        conversation: Conversation | None,
        temper: Temper,
        parts: tuple[Run, Fleet, Ledger, Snapshots],
    ) -> None:
        self.account = account
        self.conversation = conversation
        self.temper = temper
        self.record = Record()
        self.is_connected = False
        self._run, self._fleet, self._ledger, self._snapshots = parts
        self._dice = self._run.dice
        self._place = number
        self._path = f"/api/stream/conversations/{conversation.id}" if conversation else "/api/stream"
        self.name = f"reader {number} ({temper}, {account.name}, {self._path})"
        self._cursor: str | None = None
        self._retry_seconds = 1.0
        self._connected_at = 0.0
        self._asked_cursor: str | None = None
        self._is_removed = False
        self._connection: StreamConnection | None = None
        self.journal: deque[str] = deque(maxlen=JOURNAL)

    @property
    def is_measured(self) -> bool:
        """Say whether this reader is one that should be up to date a moment after each fault."""
        is_guest = self.conversation is not None and self.conversation.guest is self.account
        return self.temper == "steady" and not is_guest

    async def follow(self) -> None:
        """Read until the soak is over."""
        while True:
            seconds = await self._read_once()
            until = time.monotonic() + seconds
            while (left := until - time.monotonic()) > 0:
                # Who is away for long comes back when the soak settles.
                if not await self._run.pause(min(left, SETTLING_SECONDS)):
                    return
                if self._run.is_settling:
                    break

    def hurry(self) -> None:
        """Be slow no longer: the soak is about to end."""
        if self._connection is not None:
            self._connection.bytes_per_second = None

    def _write_down(self, what: str) -> None:
        self.journal.append(f"{self._run.seconds:.1f} s {what} at {self.record.last}")

    async def _read_once(self) -> float:
        """Connect and read until that ends; return how long to wait before the next time."""
        server = self._fleet.servers[self._place % len(self._fleet.servers)]
        rate = self._dice.uniform(*SLOW_BYTES_PER_SECOND) if self.temper == "slow" and not self._run.is_settling else None
        connection = self._connection = StreamConnection(self._take, rate)
        # What comes with the head is handed on before this task goes on.
        asked_at = self._connected_at = time.monotonic()
        self._asked_cursor, self._is_removed = self._cursor, False
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                headers = {"Cookie": self.account.headers["Cookie"], **({"Last-Event-ID": self._cursor} if self._cursor else {})}
                status = await open_stream(connection, server.port, self._path, headers)
            return await self._keep(connection, status, asked_at)
        except TimeoutError:
            return self._elsewhere("no answer")
        except OSError as error:
            return self._elsewhere(type(error).__name__)
        finally:
            self.is_connected = False
            self.record.cut()
            connection.close()

    async def _keep(self, connection: StreamConnection, status: int, asked_at: float) -> float:
        self._write_down(f"{status} from server {self._place % len(self._fleet.servers)} after {self._asked_cursor}")
        self._run.judge_answer(status, f"stream {self._path}", asked_at, connection.refusal.decode(errors="replace"))
        if status != 200:
            if status not in (404, 503) or (status == 404 and not self._may_be_out()):
                self._run.blame("unexpected answer", self.name, self.record.last, f"{status}: {connection.refusal!r}")
            self._place += 1
            return self._dice.uniform(0.5, 2.0)
        self.is_connected = True
        leaves_at = self._connected_at + self._dice.uniform(*STAY_SECONDS) if self.temper == "roaming" else float("inf")
        while not connection.ended.done():
            await asyncio.wait([connection.ended], timeout=0.5)
            now = time.monotonic()
            if self._run.is_over.is_set():
                return 0.0
            if now > leaves_at and not self._run.is_settling:
                return self._leave()
            if now - connection.heard_at > SILENCE_SECONDS:
                return self._elsewhere("silence")
        how = connection.ended.result()
        self._run.tally[f"stream {how}"] += 1
        self._write_down(how)
        self._place += how == "cut"
        return self._retry_seconds

    def _leave(self) -> float:
        self._run.tally["stream left"] += 1
        self._write_down("left")
        self._place += 1
        is_long = self._dice.random() < LONG_AWAY_SHARE
        return self._dice.uniform(*(LONG_AWAY_SECONDS if is_long else AWAY_SECONDS))

    def _elsewhere(self, reason: str) -> float:
        self._run.tally[f"stream {reason}"] += 1
        self._write_down(reason)
        self._place += 1
        return self._dice.uniform(0.1, 0.5) * self._retry_seconds

    def _may_be_out(self) -> bool:
        return self.conversation is not None and self.conversation.guest is self.account

    def _take(self, block: bytes) -> None:
        if block.startswith(b":"):
            return
        if block.startswith(b"retry: "):
            self._retry_seconds = int(block[7:]) / 1000
            return
        cursor, number = self._ledger.take(block)
        frame = self._ledger.frames[number]
        position = None
        if cursor is not None:
            position = int(cursor.rpartition("-")[2])
            if self._cursor is not None and self._cursor.partition("-")[0] != cursor.partition("-")[0]:
                self._run.blame("unexpected answer", self.name, position, f"the epoch changed: {self._cursor} then {cursor}")
            self._cursor = cursor
        if frame.type == "stream.ready":
            self._greet(frame, position)
        elif frame.is_logged or frame.type == "stream.gap":
            self._note(frame, position, number)
        else:
            self._run.tally[f"stream said {frame.type}"] += 1
            if frame.payload and frame.payload.get("code"):
                self._run.blame("unexpected answer", self.name, self.record.last, f"the stream said {frame.payload}")

    def _greet(self, frame: Received, position: int | None) -> None:
        if self.record.first is None and position is not None:
            self.record.begin(position)
        elif self._asked_cursor is None:
            self._run.blame("unexpected answer", self.name, position or 0, "greeted twice without a cursor")

    def _note(self, frame: Received, position: int | None, number: int) -> None:
        self.record.add(position, number)
        self._run.tally["deliveries"] += 1
        if frame.type == "stream.gap":
            self._run.tally[f"gap {frame.payload['reason']}"] += 1
            self._snapshots.want(self.account, self.conversation, frame.payload)
            return
        if self._is_removed:
            self._run.blame("not allowed", self.name, position or 0, f"{frame.type} after the removal; {'; '.join(self.journal)}")
        elif self.conversation is not None and frame.type == "membership.changed":
            self._is_removed = (frame.payload["user_id"], frame.payload["action"]) == (self.account.id, "removed")
        is_settled = time.monotonic() - self._connected_at > SETTLED_SECONDS
        if self._run.is_quiet and self.is_measured and is_settled and frame.idx_from == frame.idx:
            self._run.measure(time.time() - frame.at, self.name, f"{position} {frame.type}")
