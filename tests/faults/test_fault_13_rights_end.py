"""Fault 13: rights end in the middle of a stream, by what is done at another process: the stream ends within a second, in log order."""

import time

import httpx2

from tests.faults.conftest import MakeServer, People
from tests.faults.pair import start_pair
from tests.person import Person, StreamReader

LATEST_SECONDS = 1.0


async def test_fault_13_member_removed_elsewhere(make_server: MakeServer, people: People, dsn: str, bus: dict[str, str]) -> None:
    """Who is removed at A gets, at B, all until the removal, the removal, and nothing after it; the reconnect is a 404."""
    pair = await start_pair(make_server, people, dsn, bus)
    bob = await people.register(pair.b, "Bob")
    shared, other = [await pair.here.make_conversation(assistant_mode="off") for _ in range(2)]
    for conversation in (shared, other):
        await pair.here.add(conversation, bob)
    path = f"/api/stream/conversations/{shared}"
    async with bob.stream(path) as one, bob.stream("/api/stream") as all_of_bob:
        for reader in (one, all_of_bob):
            await reader.until_type("stream.ready")
        await pair.here.say(shared, "Bob may read this.")
        removal = await pair.here.request("DELETE", f"/api/conversations/{shared}/participants/{bob.id}")
        removed_at = time.monotonic()
        assert removal.status_code == 204
        await pair.here.say(shared, "Bob may not read this.")
        await one.until_closed()
        assert time.monotonic() - removed_at < LATEST_SECONDS
        await pair.here.say(other, "The end.")
        await all_of_bob.until(lambda r: b"The end." in r.raw)
        assert one.events[-1].payload["action"] == "removed"
        for reader in (one, all_of_bob):
            assert b"may read this" in reader.raw
            assert b"may not read" not in reader.raw
            positions = [event.position for event in reader.logged]
            assert positions == sorted(set(positions))
    assert (await bob.get(path)).status_code == 404


async def _ended_within_a_second(reader: StreamReader, since: float, code: str) -> None:
    await reader.until_closed()
    assert time.monotonic() - since < LATEST_SECONDS
    assert (reader.events[-1].type, reader.events[-1].payload["code"]) == ("error", code)


async def test_fault_13_session_revoked_elsewhere(make_server: MakeServer, people: People, dsn: str, bus: dict[str, str]) -> None:
    """Signing out at A ends the session's streams at B with a coded error, and no other session's; the reconnect is a 401."""
    pair = await start_pair(make_server, people, dsn, bus)
    bob = await people.register(pair.b, "Bob")
    async with pair.there.stream("/api/stream") as reader, bob.stream("/api/stream") as of_bob:
        for each in (reader, of_bob):
            await each.until_type("stream.ready")
        assert (await pair.here.post("/api/auth/logout")).status_code in (200, 204)
        await _ended_within_a_second(reader, time.monotonic(), "RGP.AUTH.SESSION_EXPIRED")
        assert not of_bob.is_closed
    assert (await pair.there.get("/api/stream")).status_code == 401


async def test_fault_13_api_key_revoked_elsewhere(make_server: MakeServer, people: People, dsn: str, bus: dict[str, str]) -> None:
    """Revoking a key at A ends its streams at B with a coded error, and not the owner's own; the reconnect is a 401."""
    pair = await start_pair(make_server, people, dsn, bus)
    key = (await pair.here.post("/api/keys", {"name": "A program", "scopes": ["chat"]})).json()
    program = Person(pair.b.url)
    program.client.headers["Authorization"] = f"Bearer {key['key']}"
    try:
        async with program.stream("/api/stream") as reader, pair.there.stream("/api/stream") as own:
            for each in (reader, own):
                await each.until_type("stream.ready")
            assert (await pair.here.request("DELETE", f"/api/keys/{key['id']}")).status_code == 204
            await _ended_within_a_second(reader, time.monotonic(), "RGP.AUTH.KEY_REVOKED")
            assert not own.is_closed
        assert (await program.get("/api/stream")).status_code == httpx2.codes.UNAUTHORIZED
    finally:
        await program.close()
