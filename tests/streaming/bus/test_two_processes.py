"""What happens at one process is seen at the other: by the bus, for the healing is switched off here."""

import asyncio

import asyncpg

from tests.assistant.exchange import ask, read, stop, until_done
from tests.person import Person
from tests.scripted_openai import ScriptedOpenAI
from tests.streaming.bus.pair import Pair, assert_unbroken
from tests.streaming.gated_database import GatedDatabase


async def test_reply_made_at_one_process_is_read_at_the_other(pair: Pair, upstream: ScriptedOpenAI) -> None:
    """A post and its reply at A reach readers at B, whole, in order, once, as the same bytes that A's readers get."""
    conversation = await pair.ada.make_conversation()
    path = f"/api/stream/conversations/{conversation}"
    async with (
        pair.ada.stream(path) as at_a,
        pair.ada_at_b.stream(path) as at_b,
        pair.ada_at_b.stream("/api/stream") as all_at_b,
    ):
        for reader in (at_a, at_b, all_at_b):
            await reader.until_type("stream.ready")
        reply = await ask(pair.ada, conversation, "Hello?")
        call = await upstream.next_call()
        for word in ("Once", " upon", " a", " time", " \u2028\N{PILE OF POO}"):
            await call.say(word)
            await at_b.until(lambda r, word=word: r.text_of(reply).endswith(word))
        await call.finish()
        for reader in (at_a, at_b, all_at_b):
            await until_done(reader, reply)
        assert at_b.text_of(reply) == "Once upon a time \u2028\N{PILE OF POO}"
        assert_unbroken(at_b.logged)
        for reader in (at_b, all_at_b):
            assert [event.id for event in reader.logged] == [event.id for event in at_a.logged]
        frames = [bytes(reader.raw).partition(b"\nid: ")[2].replace(b": heartbeat\n\n", b"") for reader in (at_a, at_b)]
        assert frames[0] == frames[1]


async def test_posts_at_both_processes_are_one_order(pair: Pair) -> None:
    """Readers at A and at B see what is posted at both, at the same time, in one and the same order."""
    conversation = await pair.ada.make_conversation(assistant_mode="off")
    path = f"/api/stream/conversations/{conversation}"
    async with pair.ada.stream(path) as at_a, pair.ada_at_b.stream(path) as at_b:
        for reader in (at_a, at_b):
            await reader.until_type("stream.ready")
        here, there = pair.ada, pair.ada_at_b
        await asyncio.gather(*(who.say(conversation, f"{n}") for n in range(20) for who in (here, there)))
        for reader in (at_a, at_b):
            await reader.until(lambda r: sum(event.type == "message.created" for event in r.events) == 40)
        await at_b.until(lambda r: r.last_id == at_a.last_id)
        assert_unbroken(at_a.logged)
        assert [event.body for event in at_a.logged] == [event.body for event in at_b.logged]


async def test_stop_at_one_process_stops_the_reply_of_the_other(pair: Pair, upstream: ScriptedOpenAI) -> None:
    """Stop, pressed at B, closes A's connection to the provider at once, though the model says nothing; the last word is one."""
    conversation = await pair.ada.make_conversation()
    async with pair.ada_at_b.stream(f"/api/stream/conversations/{conversation}") as reader:
        reply = await ask(pair.ada, conversation, "Hello?")
        call = await upstream.next_call()
        await call.say("Once")
        await reader.until(lambda r: r.text_of(reply) == "Once")
        await asyncio.gather(stop(pair.ada_at_b, reply), stop(pair.ada_at_b, reply), stop(pair.ada, reply))
        await call.until_gone()
        ((_, done),) = await until_done(reader, reply)
        assert done["finish_reason"] == "cancelled"
    assert (await read(pair.ada_at_b, reply))["content"] == "Once"


async def test_logout_at_one_process_ends_the_streams_of_the_other(pair: Pair) -> None:
    """Signing out at A ends the session's streams at B, long before B would ask of itself; the reconnect there is a 401."""
    async with pair.ada_at_b.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        assert (await pair.ada.post("/api/auth/logout")).status_code in (200, 204)
        await reader.until_closed()
        assert reader.events[-1].payload["code"] == "RGP.AUTH.SESSION_EXPIRED"
    assert (await pair.ada_at_b.get("/api/stream")).status_code == 401


async def test_removal_at_one_process_ends_the_stream_of_the_other(pair: Pair) -> None:
    """Who is removed at A gets, at B, all until the removal, the removal, and nothing after it, without B asking of itself."""
    async with Person(pair.b.url) as bob:
        await bob.register("Bob")
        conversation = await pair.ada.make_conversation(assistant_mode="off")
        await pair.ada.add(conversation, bob)
        async with bob.stream(f"/api/stream/conversations/{conversation}") as reader, bob.stream("/api/stream") as all_of_bob:
            for each in (reader, all_of_bob):
                await each.until_type("stream.ready")
            await pair.ada.say(conversation, "Bob may read this.")
            answer = await pair.ada.request("DELETE", f"/api/conversations/{conversation}/participants/{bob.id}")
            assert answer.status_code == 204
            await pair.ada.say(conversation, "Bob may not read this.")
            await reader.until_closed()
            assert reader.events[-1].payload["action"] == "removed"
            await bob.say(await bob.make_conversation(assistant_mode="off"), "The end.")
            await all_of_bob.until(lambda r: "The end." in r.raw.decode())
            for each in (reader, all_of_bob):
                assert "may read this" in each.raw.decode()
                assert "may not read" not in each.raw.decode()


async def test_deltas_need_no_look_at_the_log_over_redis(
    gates: list[GatedDatabase], pair: Pair, bus: dict[str, str], upstream: ScriptedOpenAI
) -> None:
    """With redis, deltas made at A reach B's readers without a query of B's for each; with postgres B reads the log for each."""
    conversation = await pair.ada.make_conversation()
    async with pair.ada_at_b.stream(f"/api/stream/conversations/{conversation}") as reader:
        await reader.until_type("stream.ready")
        reply = await ask(pair.ada, conversation, "Hello?")
        call = await upstream.next_call()
        await call.say("0")
        await reader.until(lambda r: r.text_of(reply) == "0")
        _, b = gates
        b.calls.clear()
        for number in range(1, 20):
            await call.say(f" {number}")
            await reader.until(lambda r, number=number: r.text_of(reply).endswith(f" {number}"))
        looks = b.calls.count("read_events")
        # One look may still have been to come when the first delta was there: it was told twice, by its position and as a frame.
        assert looks >= 19 if bus["kind"] == "postgres" else looks <= 1
        await call.finish()
        await until_done(reader, reply)
        assert_unbroken(reader.logged)


async def test_what_makes_no_sense_is_passed_over(pair: Pair, bus: dict[str, str], owner: asyncpg.Connection) -> None:
    """Rubbish on the channel, and positions of another history, change nothing: what follows is read as ever."""
    lie = '{"node":"x","epoch":"other","position":999999999,"signals":[["made-up","x"]],"deltas":[]}'
    rubbish = ("", "rubbish", "{}", "[]", '{"node":1}', lie)
    if bus["kind"] == "postgres":
        for payload in rubbish:
            await owner.execute("select pg_notify('rustygpt_bus', $1)", payload)
    else:
        client = pair.b.application._parts.bus._client
        for payload in rubbish:
            await client.publish(pair.b.application._parts.bus._channel, payload)
    conversation = await pair.ada.make_conversation(assistant_mode="off")
    async with pair.ada_at_b.stream("/api/stream") as reader:
        await reader.until_type("stream.ready")
        await pair.ada.say(conversation, "Still there?")
        await reader.until(lambda r: "Still there?" in r.raw.decode())
        assert pair.b.application._parts.coordinator.head < 999
