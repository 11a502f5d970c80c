"""Fault 7: the network is cut without a word (no FIN, no RST). The server finds out, and the reader misses nothing.

As shipped a quiet stream is found out 15 s (the next heartbeat) + 30 s (sse.send_timeout_seconds without an acknowledgement) after the
cut. Both numbers are settings; here they are 1 and 3 seconds, and nothing else decides.
"""

from contextlib import closing

import asyncpg

from tests.assistant.exchange import ask
from tests.faults.conftest import MakeServer, Measured, People
from tests.faults.far_network import far_network
from tests.faults.observe import seconds_until, subscribers
from tests.faults.proxy import cutting_proxy, to_port
from tests.faults.recorder import assert_recorded, recording_one
from tests.raw_reader import RawReader
from tests.server_process import ServerProcess

HEARTBEAT_SECONDS, SEND_SECONDS = 1, 3
LATEST_SECONDS = HEARTBEAT_SECONDS + SEND_SECONDS
BUSY_SECONDS = 2.0
"""For a machine that is slow to notice what time it is."""
SETTINGS = {"SSE__HEARTBEAT_SECONDS": HEARTBEAT_SECONDS, "SSE__SEND_TIMEOUT_SECONDS": SEND_SECONDS}
LAST = 400


async def until_subscribers(server: ServerProcess, count: int) -> float:
    """Wait until the server's gauge, which is set once a second, says so many; return the seconds."""

    async def are_counted() -> bool:
        return await subscribers(server) == count

    return await seconds_until(are_counted)


async def test_fault_07_cable_pulled(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection, measured: Measured
) -> None:
    """A link that is down takes readers away, quiet or busy, within the deadline; the resume over the mended link is complete."""
    with far_network() as network:
        server = make_server("one", dsn, environment={"HOST": "0.0.0.0"}, **SETTINGS)
        await server.start()
        ada = await people.set_up(server)
        conversation = await ada.make_conversation()
        path = f"/api/stream/conversations/{conversation}"
        for state in ("quiet", "busy"):
            with closing(RawReader(ada, path, await network.connect(server.port))) as raw:
                await raw.open()
                await raw.read_until(b"stream.ready")
                reply = await ask(ada, conversation, f"count to {LAST if state == 'busy' else 1}")
                await raw.read_until(b"message.done" if state == "quiet" else b"message.delta")
                await until_subscribers(server, 1)
                network.pull_cable()
                seconds = await until_subscribers(server, 0)
            measured(
                f"fault 7: {state} stream gone {seconds:.1f} s after the cable was pulled (at most {LATEST_SECONDS} by settings)"
            )
            assert seconds < LATEST_SECONDS + BUSY_SECONDS
            network.plug_in()
            async with recording_one(ada, path, raw.reader.last_id) as recorder:
                recorder.readers.insert(0, raw.reader)
                await recorder.until(lambda r, reply=reply: r.done(reply) and r.logged[-1].type == "thread.activity")
                assert recorder.text_of(reply) == " ".join(str(n) for n in range(1, len(recorder.text_of(reply).split()) + 1))
                await assert_recorded(recorder, owner, conversation)
            await until_subscribers(server, 0)


async def test_fault_07_path_goes_silent(
    make_server: MakeServer, people: People, dsn: str, owner: asyncpg.Connection, measured: Measured
) -> None:
    """A path that swallows a running reply without RST: the subscriber goes within the send timeout, and resumes without a hole."""
    server = make_server("one", dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=5_000, SSE__FLUSH_MS=0, **SETTINGS)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    async with cutting_proxy(to_port(server.port)) as proxy:
        there = people.at(proxy.url, ada)
        async with recording_one(there, f"/api/stream/conversations/{conversation}") as recorder:
            reply = await ask(ada, conversation, "count to 30000")
            await recorder.until(lambda r: r.text_of(reply))
            await until_subscribers(server, 1)
            proxy.hold()
            seconds = await until_subscribers(server, 0)
            measured(f"fault 7: stream through a silent proxy gone after {seconds:.1f} s (its buffers fill first)")
            proxy.forward()
            await recorder.until(lambda r: r.done(reply))
            assert len(recorder.readers) == 2
            assert recorder.text_of(reply).endswith(" 30000")
            await assert_recorded(recorder, owner, conversation)
