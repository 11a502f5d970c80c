"""One fault after the other, with a calm between, and how long it takes each time until nobody notices it any more.

Recovered means: every server has said that it is ready, and every steady reader has since been seen connected with all that was in the
log by then. (Not all at one moment: streams end of old age all the time.)
"""

import time
from dataclasses import dataclass, field

import httpx2

from tests.soak.faults import Faults
from tests.soak.fleet import Fleet
from tests.soak.postgres import Postgres
from tests.soak.reader import Reader
from tests.soak.run import Run

RECOVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was injected, when (seconds into the soak), and how many seconds its recovery took; None if it did not come."""

    kind: str
    at: float
    recovery_seconds: float | None


@dataclass(slots=True)
class Chaos:
    """Injects faults while the soak lasts."""

    run: Run
    fleet: Fleet
    postgres: Postgres
    faults: Faults
    readers: list[Reader]
    client: httpx2.AsyncClient
    injected: list[Injected] = field(default_factory=list)
    under_way: str = "calm"

    async def begin(self) -> None:
        """Wait until everybody is connected."""
        if await self.recovery(time.monotonic()) is None:
            raise RuntimeError("the readers did not all connect")

    async def inject(self, kinds: list[str], calm_seconds: float, until: float) -> None:
        """Inject faults of *kinds* at random until the monotonic time *until*; of equal chances, the first round each once."""
        deck: list[str] = []
        while time.monotonic() < until:
            self.run.is_quiet, self.under_way = True, "calm"
            if not await self.run.pause(self.run.dice.uniform(0.5, 1.5) * calm_seconds) or time.monotonic() >= until:
                break
            if not deck:
                deck = self.run.dice.sample(kinds, len(kinds))
            await self.inject_one(deck.pop())
        self.run.is_quiet = False

    async def inject_one(self, kind: str) -> None:
        """Inject one fault and wait for the recovery."""
        self.run.is_quiet, self.under_way = False, kind
        at = self.run.seconds
        since = await self.faults.kinds[kind]()
        seconds = await self.recovery(since)
        self.injected.append(Injected(kind, at, seconds))
        if seconds is None:
            late = [reader.name for reader in self.readers if reader.is_measured and not reader.is_connected]
            self.run.blame("not recovered", kind, 0, f"at {at:.1f} s, not within {RECOVERY_SECONDS} s; not connected: {late[:5]}")

    async def recovery(self, since: float) -> float | None:
        """Wait for the recovery; return how long after *since* it came."""
        give_up_at = time.monotonic() + RECOVERY_SECONDS
        while not await self.fleet.all_ready(self.client):
            if time.monotonic() > give_up_at or not await self.run.pause(0.2):
                return None
        wanted = await self._wanted()
        while wanted := [(reader, at) for reader, at in wanted if not reader.is_connected or reader.record.last < at]:
            if time.monotonic() > give_up_at or not await self.run.pause(0.1):
                return None
        return time.monotonic() - since

    async def _wanted(self) -> list[tuple[Reader, int]]:
        """Return up to which position each steady reader must come."""
        async with self.postgres.owner() as owner:
            heads = {str(row["stream_id"]): row["position"] for row in await owner.fetch("select * from rustygpt.stream_heads")}
        wanted = []
        for reader in self.readers:
            if reader.is_measured:
                followed = [reader.conversation] if reader.conversation else reader.account.conversations
                wanted.append((reader, max((heads.get(each.id, 0) for each in followed), default=0)))
        return [(reader, position if position > (reader.record.first or 0) else 0) for reader, position in wanted]
