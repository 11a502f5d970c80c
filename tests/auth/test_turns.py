"""Turns: few at once, each source in turn, nothing lost by those who give up."""

import asyncio

import pytest

from rustygpt.auth.turns import Crowded, Turns
from tests.person import DEADLINE_SECONDS


class Crowd:
    """People who take a turn each and hold it until they are let go; who had a turn is written down in order."""

    def __init__(self, places: int, most: int = 100, most_of_one: int = 100) -> None:
        self.turns = Turns(places, most=most, most_of_one=most_of_one)
        self.served: list[str] = []
        self.go = asyncio.Event()

    async def come(self, name: str) -> None:
        """A name begins with its source."""
        async with self.turns.take(name[0]):
            self.served.append(name)
            await self.go.wait()


async def test_sources_take_turns() -> None:
    """Each source has one served before any has a second, in the order in which they came."""
    crowd = Crowd(places=1)
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
        for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
            group.create_task(crowd.come(name))
        await asyncio.sleep(0)
        assert crowd.served == ["a1"]
        crowd.go.set()
    assert crowd.served == ["a1", "a2", "b1", "c1", "a3", "b2"]


async def test_bounds_are_of_each_source_and_of_all() -> None:
    """One more of a source, or of all together, is refused at once; when they have gone there is room again."""
    crowd = Crowd(places=1, most=3, most_of_one=2)
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
        for name in ("a1", "a2", "b1"):
            group.create_task(crowd.come(name))
        await asyncio.sleep(0)
        for source in ("a", "b", "c"):
            with pytest.raises(Crowded):
                await crowd.come(source)
        crowd.go.set()
    await crowd.come("a3")
    assert crowd.served[-1] == "a3"


@pytest.mark.parametrize("is_free_before", [False, True])
async def test_who_gives_up_loses_no_place(is_free_before: bool) -> None:
    """A waiting one that is cancelled leaves the queue; one whose turn comes in that very moment passes it on."""
    crowd = Crowd(places=1)
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(crowd.come("a1"))
        leaving = group.create_task(crowd.come("a2"))
        group.create_task(crowd.come("b1"))
        await asyncio.sleep(0)
        if is_free_before:
            crowd.turns._pass_on()
            leaving.cancel()
        else:
            leaving.cancel()
            crowd.turns._pass_on()
        await asyncio.wait([leaving])
        crowd.go.set()
    assert crowd.served == ["a1", "b1"]
    assert crowd.turns._free == 2, "the place that the test gave, and the one there was"
    assert not crowd.turns._waiting
    assert not crowd.turns._pending
