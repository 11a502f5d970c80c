"""Fault 9: ten thousand streams that wait: what each costs, that all of them are told, and that nothing is left when they go.

Where the system allows fewer open files the number is smaller, and the summary says so.
"""

import resource
from collections.abc import Iterator

import pytest

from tests.benchmarks.processes import ReaderProcess, reading
from tests.benchmarks.reader import Reading, Task
from tests.faults.conftest import MakeServer, Measured, People
from tests.faults.observe import descriptors, resident_bytes, subscribers, until
from tests.server_process import ServerProcess

STREAMS = 10_000
OTHER_FILES = 256
"""What a process has open beside the streams."""
POOL_FILES = 16
"""Connections to PostgreSQL and from this test that come and go."""
STREAM_BYTES = 20 * 1024


@pytest.fixture
def streams() -> Iterator[int]:
    """How many streams there can be: the limit on open files is raised as far as allowed, and set back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = STREAMS + OTHER_FILES
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    yield min(STREAMS, limit - OTHER_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.load
async def test_fault_09_ten_thousand_idle_streams(
    make_server: MakeServer, people: People, dsn: str, measured: Measured, streams: int
) -> None:
    """Each costs at most 20 KiB of resident memory; all get one event; after they have closed no file and no subscriber is left."""
    settings = {"SSE__MAX_STREAMS_PER_USER": 10_000, "SSE__FLUSH_MS": 0, "LOGGING__LEVEL": "warning"}
    server = make_server("one", dsn, **settings)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    cookie = f"SESSION_ID={ada.client.cookies['SESSION_ID']}"
    path = f"/api/stream/conversations/{conversation}"
    with reading(Task(server.port, [path] * 10, cookie)) as readers:
        await ada.say(conversation, "count to 1")
        await until_told(readers)
    await until_open(server, 0)
    files, memory = descriptors(server.pid), resident_bytes(server.pid)
    with reading(Task(server.port, [path] * streams, cookie)) as readers:
        await until_open(server, streams)
        each = (resident_bytes(server.pid) - memory) / streams
        readers.reset()
        await ada.say(conversation, "count to 1")
        report = await until_told(readers)
    await until_open(server, 0)
    measured(
        f"fault 9: {streams} idle streams, {each / 1024:.1f} KiB each; one event to all: "
        f"p50 {report.p50_ms:.0f} ms, p99 {report.p99_ms:.0f} ms"
    )
    assert each <= STREAM_BYTES
    assert descriptors(server.pid) <= files + POOL_FILES


async def until_told(readers: ReaderProcess) -> Reading:
    """Wait until every reader has the only delta there is."""
    found: list[Reading] = []

    async def are_told() -> bool:
        found[:] = [readers.report()]
        assert found[0].closed == 0
        return found[0].silent == 0

    await until(are_told)
    return found[0]


async def until_open(server: ServerProcess, count: int) -> None:
    """Wait until so many streams are open."""

    async def are_open() -> bool:
        return await subscribers(server) == count

    await until(are_open)
