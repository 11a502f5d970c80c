"""Readers that are cut and resume at random: what they got in parts must be the log, each event once."""

import asyncio
import itertools
import random

from tests.person import Event, Person

PATHS = {"user": "/api/stream", "conversation": "/api/stream/conversations/{}"}


async def read_with_cuts(person: Person, other: Person, conversation: str, seed: int) -> None:
    """Let two people talk while *person* reads both kinds of stream in parts, and check that the parts make the log (I3)."""
    rng = random.Random(seed)
    end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        readers = {kind: group.create_task(_read(person, path.format(conversation), rng, end)) for kind, path in PATHS.items()}
        await _talk((person, other), conversation, rng)
        snapshot = (await person.get(f"/api/conversations/{conversation}/messages", params={"limit": 200})).json()
        end.set_result(snapshot["stream_cursor"])
    for kind, reading in readers.items():
        events = reading.result()
        positions = [event.position for event in events]
        assert positions == sorted(set(positions)), f"{kind}: twice, or out of order"
        for before, after in itertools.pairwise(events):
            assert after.body["prev"] == before.position, f"{kind}: a hole before {after.position}"
        assert events[-1].id == snapshot["stream_cursor"]


async def _talk(people: tuple[Person, Person], conversation: str, rng: random.Random) -> None:
    """Let two people say 25 things, and wait until every reply is complete."""
    for number in range(25):
        await people[number % 2].say(conversation, f"count to {rng.randint(1, 120)}")
    async with people[0].stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        while True:
            page = (await people[0].get(f"/api/conversations/{conversation}/messages", params={"limit": 200})).json()
            if {item["status"] for item in page["items"]} == {"complete"}:
                return
            seen = len(reader.events)
            await reader.until(lambda r, seen=seen: len(r.events) > seen or r.comments[2:])


async def _read(person: Person, path: str, rng: random.Random, end: "asyncio.Future[str]") -> list[Event]:
    """Read a stream with random cuts, resuming by header or query, until the *end*, a cursor, is known and read."""
    got: list[Event] = []
    last = ""
    while True:
        is_last = end.done()
        how = {"headers": {"Last-Event-ID": last}} if rng.random() < 0.5 else {"params": {"last_event_id": last}}
        async with person.stream(path, **(how if last else {})) as reader:
            await reader.until_type("stream.ready")
            goal = rng.randint(0, 30)
            if is_last:
                await reader.until(lambda r, before=last: (r.last_id or before) == end.result())
            else:
                await reader.until(lambda r, goal=goal: len(r.logged) >= goal or end.done() or len(r.comments) > 2)
        got += reader.logged
        last = reader.last_id or last
        if is_last:
            return got
