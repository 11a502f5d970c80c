"""Places at a provider: never more than there are, fair by person, bounded in who waits, and none lost to whoever gives up."""

import asyncio
from uuid import UUID, uuid4

import pytest

from rustygpt.assistant.seats import Seats
from rustygpt.errors import RateLimited, Unavailable

ADA, BOB = uuid4(), uuid4()


class Hall:
    """People who take a place and keep it until they are told to go."""

    def __init__(self, seats: Seats, group: asyncio.TaskGroup) -> None:
        self.seated: list[str] = []
        self._seats = seats
        self._group = group
        self._gone: dict[str, asyncio.Event] = {}

    async def send(self, name: str, user: UUID, provider: str = "p") -> asyncio.Task[None]:
        """Let *user* ask for a place, under *name*."""
        self._gone[name] = asyncio.Event()
        task = self._group.create_task(self._sit(name, user, provider))
        await settle()
        return task

    async def dismiss(self, name: str) -> None:
        """Let one go."""
        self._gone[name].set()
        await settle()

    async def close(self) -> None:
        """Let everybody go."""
        for gone in self._gone.values():
            gone.set()

    async def _sit(self, name: str, user: UUID, provider: str) -> None:
        async with self._seats.taken(provider, user):
            self.seated.append(name)
            await self._gone[name].wait()
            self.seated.remove(name)


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(10):
        await asyncio.sleep(0)


def seats(places: int, **options: int) -> Seats:
    """Some places, and room for ten to wait, five of a person."""
    return Seats(places, by_provider=options, max_waiting=10, max_waiting_per_user=5)


async def test_no_more_than_the_places() -> None:
    """Who comes when all are taken waits; each provider has places of its own, some their own number."""
    async with asyncio.TaskGroup() as group:
        hall = Hall(seats(1, wide=2), group)
        for name, provider in (("a", "p"), ("b", "p"), ("c", "wide"), ("d", "wide"), ("e", "wide")):
            await hall.send(name, ADA, provider)
        assert hall.seated == ["a", "c", "d"]
        await hall.dismiss("a")
        assert hall.seated == ["c", "d", "b"]
        await hall.close()


async def test_place_goes_to_whoever_has_fewest() -> None:
    """One person's many requests do not keep another's single one waiting."""
    async with asyncio.TaskGroup() as group:
        hall = Hall(seats(2), group)
        for number in range(4):
            await hall.send(f"ada {number}", ADA)
        await hall.send("bob", BOB)
        await hall.dismiss("ada 0")
        assert hall.seated == ["ada 1", "bob"]
        await hall.dismiss("ada 1")
        assert hall.seated == ["bob", "ada 2"]
        await hall.close()


async def test_whoever_gives_up_takes_no_place() -> None:
    """Cancelled while waiting, or in the very moment in which the place comes: the next one gets it."""
    async with asyncio.TaskGroup() as group:
        hall = Hall(seats(1), group)
        await hall.send("a", ADA)
        waiting = await hall.send("b", ADA)
        late = await hall.send("c", ADA)
        await hall.send("d", ADA)
        waiting.cancel()
        await settle()
        hall._gone["a"].set()
        await asyncio.sleep(0)
        late.cancel()
        await settle()
        assert hall.seated == ["d"]
        await hall.close()


async def test_waiting_is_bounded() -> None:
    """Too many of one person are told 429, too many of all 503, each with when to come again."""
    async with asyncio.TaskGroup() as group:
        hall = Hall(bounded := Seats(1, max_waiting=3, max_waiting_per_user=2), group)
        await hall.send("a", ADA)
        for name in ("b", "c"):
            bounded.require_room("p", ADA)
            await hall.send(name, ADA)
        with pytest.raises(RateLimited) as limited:
            bounded.require_room("p", ADA)
        bounded.require_room("p", BOB)
        await hall.send("d", BOB)
        with pytest.raises(Unavailable) as full:
            bounded.require_room("p", BOB)
        assert limited.value.retry_after_seconds
        assert full.value.retry_after_seconds
        await hall.close()
