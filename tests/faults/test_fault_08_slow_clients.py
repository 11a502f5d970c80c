"""Fault 8: clients that never read, or read 1 KB/s: bounded memory, levels in order, nobody else is disturbed, nothing unannounced."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing

import pytest

from tests.assistant.exchange import ask
from tests.benchmarks.processes import ReaderProcess, reading
from tests.benchmarks.reader import Task
from tests.faults.conftest import MakeServer, Measured, People
from tests.faults.observe import metric, resident_bytes
from tests.faults.recorder import Recorder, recording, recording_one
from tests.person import Event, Person
from tests.raw_reader import RawReader
from tests.scripted_openai import Call, ScriptedOpenAI
from tests.server_process import ServerProcess

CLIENTS = 20
CLIENT_BYTES = 256 * 1024
BYTES_PER_SECOND = 1_024
LAST = 1_200
BUSY_MS = 500.0
"""Below this a difference is the machine's, not the slow clients'."""
CAPACITY = 8
FILLER = "x" * 8_000


def send_queues(port: int) -> int:
    """What the kernel holds for the clients of a port, in bytes, its own overhead included (`ss`, skmem: w)."""
    if shutil.which("ss") is None:
        pytest.skip("the kernel's send queues are asked by `ss`: install Debian's package iproute2")
    told = subprocess.run(["ss", "-tmnH", "sport", "=", f":{port}"], capture_output=True, text=True, check=True).stdout
    return sum(int(size) for size in re.findall(r"skmem:\(.*?,w(\d+),", told))


async def crawl(raw: RawReader, is_over: asyncio.Event) -> None:
    """Read 1 KB a second until told to stop."""
    while not is_over.is_set() and await raw.read(BYTES_PER_SECOND // 10):  # noqa: ASYNC110 - a pace, not a wait
        await asyncio.sleep(0.1)


async def three_replies(ada: Person, quick: Sequence[Recorder], readers: ReaderProcess) -> float:
    """Let three replies run at once; return the readers' p99 from commit to client in milliseconds."""
    readers.reset()
    replies = [await ask(ada, recorder.path.rpartition("/")[2], f"count to {LAST}") for recorder in quick]
    for recorder, reply in zip(quick, replies, strict=True):
        await recorder.until(lambda r, reply=reply: r.done(reply))
        assert recorder.text_of(reply) == " ".join(str(number) for number in range(1, LAST + 1))
    return readers.report().p99_ms


@pytest.mark.load
async def test_fault_08_twenty_clients_that_do_not_read(
    make_server: MakeServer, people: People, dsn: str, measured: Measured
) -> None:
    """Ten that never read and ten that crawl cost at most 256 KB each during three replies; quick readers get every frame."""
    server = make_server("one", dsn, ASSISTANT__DEMO__TOKENS_PER_SECOND=200, SSE__FLUSH_MS=0)
    await server.start()
    ada = await people.set_up(server)
    paths = [f"/api/stream/conversations/{await ada.make_conversation()}" for _ in range(3)]
    cookie = f"SESSION_ID={ada.client.cookies['SESSION_ID']}"
    async with recording(ada, *paths) as quick:
        with reading(Task(server.port, paths, cookie)) as readers:
            alone = await three_replies(ada, quick, readers)
            before = resident_bytes(server.pid) + send_queues(server.port)
            is_over = asyncio.Event()
            async with AsyncExitStack() as stack:
                slow = [stack.enter_context(closing(RawReader(ada, "/api/stream"))) for _ in range(CLIENTS)]
                group = await stack.enter_async_context(asyncio.TaskGroup())
                for number, raw in enumerate(slow):
                    await raw.open()
                    if number % 2:
                        group.create_task(crawl(raw, is_over))
                beside = await three_replies(ada, quick, readers)
                kernel, resident = send_queues(server.port), resident_bytes(server.pid)
                lag = await metric(server.url, "sse_queue_occupancy_ratio")
                is_over.set()
    each = (kernel + resident - before) / CLIENTS
    measured(f"fault 8: {each / 1024:.0f} KiB for each slow client, {kernel / CLIENTS / 1024:.0f} of them in the kernel")
    measured(f"fault 8: quick readers' p99 {alone:.0f} ms alone, {beside:.0f} ms beside {CLIENTS} slow ones")
    assert lag > 1, "nobody fell behind: make the replies longer"
    assert each <= CLIENT_BYTES
    assert beside < max(2 * alone, BUSY_MS)
    for recorder in quick:
        assert recorder.gaps == []
        assert len(recorder.readers) == 1
        assert not [event for event in recorder.logged if "idx_from" in event.payload], "a quick reader got merged frames"


async def test_fault_08_levels_come_in_order(make_server: MakeServer, people: People, dsn: str, upstream: ScriptedOpenAI) -> None:
    """As a client falls behind further, neighbours are merged, then blocks compacted, then deltas left out and named for a refetch."""
    environment = {"OPENAI_API_BASE_URL": upstream.base_url}
    settings = {"SSE__FLUSH_MS": 0, "SSE__HEARTBEAT_SECONDS": 0.5, "SSE__CHANNEL_CAPACITY": CAPACITY}
    server = make_server("one", dsn, environment=environment, **settings)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    path = f"/api/stream/conversations/{conversation}"
    async with recording_one(ada, path) as quick:
        with closing(RawReader(ada, path)) as slow:
            await slow.open()
            await slow.read_until(b"stream.ready")
            talk = Talk(server, quick, slow)
            for question in ("One?", "Two?"):
                talk.replies.append(await ask(ada, conversation, question))
                talk.calls.append(await upstream.next_call(question))
            merged = await talk.fall_behind(CAPACITY * 3 // 2)
            compacted = await talk.fall_behind(CAPACITY * 5)
            dropped = await talk.fall_behind(CAPACITY * 12)
            assert_levels(merged, compacted, dropped)
            for call in talk.calls:
                await call.finish()
            await quick.until(lambda r: r.done(*talk.replies))
            await slow.read_until(b"message.done")
            await slow.read_until((quick.last_id or "").encode())
            await assert_whole(ada, talk)


class Talk:
    """Two replies, said word by word, a quick reader that paces them, and a slow one."""

    def __init__(self, server: ServerProcess, quick: Recorder, slow: RawReader) -> None:
        self.server = server
        self.quick = quick
        self.slow = slow
        self.replies: list[str] = []
        self.calls: list[Call] = []
        self._said = ["", ""]

    async def fall_behind(self, events: int) -> list[Event]:
        """Let the slow reader lack so many events, then let it read; return what it got."""
        known = len(self.slow.reader.events)
        depth = 0.0
        while not depth:
            await self.say(0, FILLER)
            depth = await self.settled_depth()
        for number in range(events - int(depth)):
            await self.say(number // 2 % 2, f"{number} ")
        assert await self.settled_depth() == events
        while self.slow.reader.last_id != self.quick.last_id:
            await self.slow.read()
        return self.slow.reader.events[known:]

    async def say(self, which: int, word: str) -> None:
        """Say one chunk, and wait until the quick reader has it: it is one event."""
        self._said[which] += word
        await self.calls[which].say(word)
        await self.quick.until(lambda r: r.text_of(self.replies[which]) == self._said[which])

    async def settled_depth(self) -> float:
        """What sse_queue_depth says once the sweeper has looked again: a heartbeat of the quick reader is two sweeps."""
        known = self.quick.heartbeats
        await self.quick.until(lambda r: r.heartbeats > known)
        return await metric(self.server.url, "sse_queue_depth")


def assert_levels(merged: list[Event], compacted: list[Event], dropped: list[Event]) -> None:
    """Level 1 merges neighbours and each frame has its id; level 2 has one frame a message and one id; level 3 has gaps only."""
    spans = [(e.payload["idx_from"], e.payload["idx"]) for e in merged if "idx_from" in e.payload]
    assert spans
    assert all(event.id for event in merged)
    assert not [event for event in merged + compacted if event.type == "stream.gap"]
    block = [event for event in compacted if "idx_from" in event.payload]
    assert len({event.payload["message_id"] for event in block}) == len(block) == 2, "one delta for each message"
    assert [bool(event.id) for event in block] == [False, True]
    assert max(e.payload["idx"] - e.payload["idx_from"] for e in block) > max(last - first for first, last in spans)
    gaps = [event for event in dropped if event.type == "stream.gap"]
    assert len(gaps) == 2
    assert {event.payload["reason"] for event in gaps} == {"slow_consumer"}
    assert dropped[-2:] == gaps


async def assert_whole(ada: Person, talk: Talk) -> None:
    """The slow reader's chunks and gaps cover each reply from end to end, and the addresses in the gaps have the text."""
    for reply in talk.replies:
        covered = 0
        for event in talk.slow.reader.events:
            if event.payload.get("message_id") != reply or event.type not in ("message.delta", "stream.gap", "message.done"):
                continue
            if event.type == "message.done":
                assert covered == event.payload["chunks"]
                continue
            first, last = ("from_idx", "to_idx") if event.type == "stream.gap" else ("idx_from", "idx")
            assert event.payload.get(first, event.payload.get("idx")) == covered, "a hole that was not announced, or twice"
            covered = event.payload[last] + 1
            for url in event.payload.get("refetch", ()):
                assert (await ada.get(url)).status_code == 200
        assert (await ada.get(f"/api/messages/{reply}")).json()["content"] == talk.quick.text_of(reply)
