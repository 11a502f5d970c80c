"""One soak from start to end: everything that it starts it ends, however it ends; every wait has a deadline."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.soak.chaos import Chaos
from tests.soak.coverage import Coverage
from tests.soak.faults import Faults
from tests.soak.fleet import LEASE_SECONDS, Fleet
from tests.soak.history import History, read_history
from tests.soak.ledger import Ledger
from tests.soak.population import Population, populate
from tests.soak.postgres import Postgres
from tests.soak.posting import Postbox
from tests.soak.reader import Reader, Temper
from tests.soak.run import Run
from tests.soak.snapshots import Snapshots
from tests.soak.summary import Findings
from tests.soak.texts import judge_texts
from tests.soak.valkey import Valkey
from tests.soak.verdict import judge_readers
from tests.soak.writers import Writers

PROGRESS_SECONDS = 5.0
SETTLE_SECONDS = 120.0
CLOSE_SECONDS = 10.0
STABLE_SECONDS = 1.0
CLIENTS_PER_ASKER = 30
CLIENTS_PER_TALKER = 40
TEMPERS: list[Temper] = ["steady", "steady", "steady", "slow", "steady", "steady", "steady", "steady", "roaming", "steady"]

_OPEN = "select count(*) from rustygpt.generations where state in ('queued', 'running')"
_LAST_WORDS = """
select coalesce(max(extract(epoch from d.created_at - l.created_at)), 0)::float8 from rustygpt.event_log d
join rustygpt.generations g on g.message_id = d.message_id and g.state = 'interrupted'
cross join lateral (
  select max(e.created_at) as created_at from rustygpt.event_log e where e.message_id = d.message_id and e.type = 'message.delta'
) l
where d.type = 'message.done'
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. *faults* are drawn from at random; with *is_once* each is injected once, in the given order."""

    minutes: float
    clients: int
    servers: int
    workers: int
    seed: int
    bus: str
    tokens_per_second: float
    calm_seconds: float
    faults: list[str]
    is_once: bool

    def shown(self) -> dict[str, Any]:
        return {
            "clients": self.clients,
            "servers": self.servers,
            "workers": self.workers,
            "bus": self.bus,
            "tokens_per_second": self.tokens_per_second,
        }


@dataclass(slots=True)
class Soak:
    """The parts of one soak."""

    options: Options
    run: Run
    folder: Path
    postgres: Postgres
    fleet: Fleet
    client: httpx2.AsyncClient
    valkey: Valkey | None
    ledger: Ledger = field(default_factory=Ledger)
    readers: list[Reader] = field(default_factory=list)

    async def soak(self) -> Findings:
        """Start everything, let it run, break it, and compare. Raises when it cannot even begin."""
        try:
            if self.valkey is not None:
                await self.valkey.start()
            await self.fleet.start_all()
            population = await populate(self.run, self.fleet.servers[0].url, self.options.clients)
            postbox = Postbox(self.run, self.fleet, self.client)
            snapshots = Snapshots(self.run, postbox)
            self._seat(population, snapshots)
            faults = Faults(self.run, self.fleet, self.postgres, self.valkey)
            chaos = Chaos(self.run, self.fleet, self.postgres, faults, self.readers, self.client)
            self.run.began_at = time.monotonic()
            async with asyncio.TaskGroup() as group:
                background = [group.create_task(reader.follow()) for reader in self.readers]
                background += [group.create_task(snapshots.fetch()), group.create_task(self._tell(chaos))]
                writers = group.create_task(Writers(self.run, population, postbox, snapshots).write(*self._hands()))
                await self._break(chaos)
                await self._settle(writers, snapshots)
                for task in background:
                    task.cancel()
            return await self._judge(postbox, snapshots, chaos)
        finally:
            await self.fleet.kill_all()
            if self.valkey is not None:
                await self.valkey.kill()

    def _seat(self, population: Population, snapshots: Snapshots) -> None:
        """Give every client an account: half read everything of it, half one conversation."""
        for number in range(self.options.clients):
            account = population.accounts[number % len(population.accounts)]
            places = [*account.visits, *account.conversations]
            conversation = places[number // 2 % len(places)] if number % 2 and places else None
            parts = (self.run, self.fleet, self.ledger, snapshots)
            self.readers.append(Reader(number, account, conversation, TEMPERS[number % len(TEMPERS)], parts))

    def _hands(self) -> tuple[int, int]:
        return max(1, self.options.clients // CLIENTS_PER_ASKER), max(1, self.options.clients // CLIENTS_PER_TALKER)

    async def _break(self, chaos: Chaos) -> None:
        await chaos.begin()
        ends_at = time.monotonic() + self.options.minutes * 60
        if self.options.is_once:
            for kind in self.options.faults:
                self.run.is_quiet, chaos.under_way = True, "calm"
                await self.run.pause(self.options.calm_seconds)
                await chaos.inject_one(kind)
        else:
            await chaos.inject(self.options.faults, self.options.calm_seconds, ends_at)
        chaos.under_way = "settling"

    async def _settle(self, writers: "asyncio.Task[None]", snapshots: Snapshots) -> None:
        """Begin nothing more, let everything end, and wait until every reader has what it must have."""
        self.run.is_settling, self.run.is_quiet = True, False
        for reader in self.readers:
            reader.hurry()
        wanted: list[tuple[Reader, int]] = []
        with _unless_late(self.run, "the replies"):
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.wait([writers])
                async with self.postgres.owner() as owner:
                    while await owner.fetchval(_OPEN):
                        await self.run.pause(0.2)
                    wanted = [
                        (reader, _last(reader, history)) for history in [await read_history(owner)] for reader in self.readers
                    ]
        with _unless_late(self.run, "the readers"):
            async with asyncio.timeout(SETTLE_SECONDS):
                while not snapshots.is_idle or any(reader.record.last < position for reader, position in wanted):
                    for reader in self.readers:
                        reader.hurry()
                    await self.run.pause(0.2)
        self.run.is_over.set()

    async def _judge(self, postbox: Postbox, snapshots: Snapshots, chaos: Chaos) -> Findings:
        seconds = self.run.seconds
        await self._close()
        async with self.postgres.owner() as owner:
            history = await read_history(owner)
            last_word_seconds = float(await owner.fetchval(_LAST_WORDS))
        self.run.tally["discarded"] = sum(reader.record.discarded for reader in self.readers)
        verdict = judge_readers(self.run, self.readers, Coverage(history, self.ledger))
        texts = judge_texts(self.run, history, postbox.posts, snapshots.taken, snapshots.chunks)
        trouble = self.fleet.trouble()
        shown = self.options.shown()
        return Findings(
            shown, seconds, history.head, verdict, texts, chaos.injected, last_word_seconds, self.fleet.servers, trouble
        )

    async def _close(self) -> None:
        """Weigh the servers once they hold no more than they will keep, then stop them in peace."""
        await self.client.aclose()
        deadline = time.monotonic() + CLOSE_SECONDS
        before: list[int] = []
        while (now := self._descriptors()) != before and time.monotonic() < deadline:
            before = now
            await asyncio.sleep(STABLE_SECONDS)
        async with asyncio.TaskGroup() as group:
            for server in self.fleet.servers:
                group.create_task(self.fleet.stop(server))

    def _descriptors(self) -> list[int]:
        """Weigh all servers and return how many descriptors each has."""
        for server in self.fleet.servers:
            server.weigh()
        return [server.ended.descriptors if server.ended else 0 for server in self.fleet.servers]

    async def _tell(self, chaos: Chaos) -> None:
        """Say every few seconds how it goes."""
        while True:
            for server in self.fleet.servers:
                server.weigh()
            connected = sum(reader.is_connected for reader in self.readers)
            head = max((reader.record.last for reader in self.readers), default=0)
            say(
                f"{self.run.seconds:6.1f} s  {chaos.under_way:25}  {connected}/{len(self.readers)} connected  event {head:,}"
                f"  {self.run.tally['deliveries']:,} frames  {len(chaos.injected)} faults  {self.run.violation_counts.total()} violations"
                f"  load {os.getloadavg()[0]:.1f}"
            )
            await self.run.pause(PROGRESS_SECONDS)


def _last(reader: Reader, history: History) -> int:
    """Return the last position that a reader must come to."""
    conversation_id = reader.conversation.id if reader.conversation else None
    return max(history.rights(reader.account.id, conversation_id, reader.record.first or 0), default=0)


@contextlib.contextmanager
def _unless_late(run: Run, what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        run.blame(
            "not recovered",
            what,
            0,
            f"not done {SETTLE_SECONDS:g} s after the last fault; an open reply's lease is {LEASE_SECONDS} s",
        )


def say(line: str) -> None:
    """Tell how it goes, on standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
