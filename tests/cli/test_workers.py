"""Several processes on one port: who gets which connection, what a death changes, how all of them end."""

import asyncio
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack

import httpx2
import psutil
import pytest

from tests.assistant.exchange import until
from tests.cli.conftest import MakeWorkers
from tests.cli.many_workers import refuses, threads_of, until_gone
from tests.person import DEADLINE_SECONDS, Person

pytestmark = pytest.mark.acceptance

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_every_worker_gets_as_many_connections(make_workers: MakeWorkers) -> None:
    """Of forty connections that stay open each of two workers has twenty; each answers, and says who it was in its log."""
    server = make_workers()
    await server.start()
    assert threads_of(server.pid) == 1  # it forks
    connections = [await server.connect() for _ in range(40)]
    assert Counter(pid for _, _, pid in connections) == dict.fromkeys(server.workers.values(), 20)
    for reader, writer, _ in connections:
        writer.write(b"GET /api/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 404 " in await reader.readline()

    async def are_logged() -> bool:
        return Counter(line["worker"] for line in server.logged("http_request")) == {1: 20, 2: 20}

    await until(are_logged)
    assert len(server.logged("server_ready")) == 1
    assert server.logged("server_ready")[0]["workers"] == 2


async def test_requests_that_close_are_shared_out_too(make_workers: MakeWorkers) -> None:
    """One connection after the other, each closed before the next: no worker gets them all."""
    server = make_workers()
    await server.start()

    async def both_have_answered_five() -> bool:
        async with httpx2.AsyncClient(base_url=server.url, timeout=DEADLINE_SECONDS) as client:
            assert (await client.get("/api/nothing")).status_code == 404
        answered = Counter(line["worker"] for line in server.logged("http_request"))
        return min(answered[1], answered[2]) >= 5

    await until(both_have_answered_five)


async def test_killed_worker_is_replaced_while_the_other_serves(make_workers: MakeWorkers) -> None:
    """kill -9: requests that follow are answered, another process takes the number, and the log says who died of what."""
    server = make_workers()
    await server.start()
    victim, other = server.workers[1], server.workers[2]
    os.kill(victim, signal.SIGKILL)
    await server.until_logged("worker_died")
    async with httpx2.AsyncClient(base_url=server.url, timeout=DEADLINE_SECONDS) as client:
        assert (await client.get("/healthz")).status_code == 200
    await server.until_logged("worker_ready", 3)
    (died,) = server.logged("worker_died")
    assert (died["worker"], died["pid"]) == (1, victim)
    assert "killed by signal 9" in died["reason"]
    assert server.workers[1] != victim
    assert server.workers[2] == other
    assert {pid for _, _, pid in [await server.connect() for _ in range(4)]} == set(server.workers.values())
    assert await server.metric("rustygpt_worker_restarts_total") == 1
    assert await server.stop() == 0


async def test_worker_that_hangs_keeps_few_connections_from_the_others(make_workers: MakeWorkers) -> None:
    """While one worker is stopped, new connections are answered, but for the sixteen at most that it had been given; later these too."""
    server = make_workers()
    await server.start()
    os.kill(server.workers[1], signal.SIGSTOP)
    try:
        connections = [await server.dial() for _ in range(60)]
        for _, writer in connections:
            writer.write(REQUEST)
        answers = [asyncio.ensure_future(reader.readline()) for reader, _ in connections]

        async def are_answered() -> bool:
            return sum(answer.done() for answer in answers) >= 60 - 16

        await until(are_answered)
    finally:
        os.kill(server.workers[1], signal.SIGCONT)
    assert all(b" 200 " in answer for answer in await asyncio.wait_for(asyncio.gather(*answers), 60))


async def test_worker_that_is_asked_to_end_is_replaced(make_workers: MakeWorkers) -> None:
    """SIGTERM to a worker alone: it drains, however often it is asked, and a new one takes its place."""
    server = make_workers()
    await server.start()
    for _ in range(3):
        os.kill(server.workers[1], signal.SIGTERM)
    await server.until_logged("worker_ready", 3)
    assert "exit code 0" in server.logged("worker_died")[0]["reason"]
    assert await server.stop() == 0


@pytest.mark.parametrize("environment", [{}, {"DATABASE_URL": ""}], ids=["database", "private"])
async def test_sigterm_ends_all_and_leaves_nothing(make_workers: MakeWorkers, environment: dict[str, str]) -> None:
    """Exit code 0; workers, private PostgreSQL, port and temporary files are gone."""
    server = make_workers(environment=environment)
    await server.start()
    family = server.family()
    assert await server.stop() == 0
    assert not [each for each in family if each.is_running()]
    assert refuses(server.port)
    assert not list(server.temporary.iterdir())


async def test_stop_under_new_connections_waits_for_none(make_workers: MakeWorkers) -> None:
    """Clients that connect while all ends do not hold it up: no worker reaches its graceful timeout."""
    server = make_workers(SSE__DRAIN_SECONDS=1)
    await server.start()
    answers, is_over = 0, False

    async def knock() -> None:
        nonlocal answers
        while not is_over:
            try:
                reader, writer = await server.dial()
                for _ in range(5):
                    writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
                    await reader.readuntil(b"}")
                    answers += 1
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(knock())
        async with asyncio.timeout(DEADLINE_SECONDS):
            while answers < 500:  # noqa: ASYNC110 - the knocking is under way
                await asyncio.sleep(0.01)
        code = await server.stop()
        is_over = True
    assert code == 0
    assert "timeout graceful shutdown exceeded" not in server.log.read_text()


async def test_killed_parent_leaves_nothing(make_workers: MakeWorkers) -> None:
    """kill -9 of the parent: no worker and no PostgreSQL stays, and the next start finds everything as it was."""
    server = make_workers(environment={"DATABASE_URL": ""})
    await server.start()
    family = server.family()
    assert len([each for each in family if each.name().startswith("postgres")]) > 1
    await server.kill()
    await until_gone(family)
    assert refuses(server.port)
    await server.start()
    async with httpx2.AsyncClient(base_url=server.url, timeout=DEADLINE_SECONDS) as client:
        assert (await client.get("/readyz")).json() == {"ready": True}
    assert await server.stop() == 0
    assert not list(server.temporary.iterdir())


async def test_ctrl_c_is_taken_once(make_workers: MakeWorkers) -> None:
    """A terminal sends SIGINT to every process of the group: it is one request to drain, and the exit code is 0."""
    server = make_workers(SSE__DRAIN_SECONDS=300)
    await server.start()
    for each in (psutil.Process(server.pid), *server.family()):
        if os.getpgid(each.pid) == os.getpgid(server.pid):
            each.send_signal(signal.SIGINT)
    assert await server.ended() == 0
    assert len(server.logged("drain_begun")) == 2


async def test_second_signal_does_not_wait(make_workers: MakeWorkers) -> None:
    """While streams drain for minutes, the second SIGTERM ends everything, with the signal's exit code."""
    server = make_workers(SSE__DRAIN_SECONDS=300)
    await server.start()
    async with Person(server.url) as ada, AsyncExitStack() as stack:
        await ada.set_up("Ada")
        for _ in range(5):  # each ends at a moment of its own: all five at once they will not
            await (await stack.enter_async_context(ada.stream("/api/stream"))).until_type("stream.ready")
        family = server.family()
        os.kill(server.pid, signal.SIGTERM)
        await server.until_logged("drain_begun", 2)
        os.kill(server.pid, signal.SIGTERM)
        assert await server.ended() == 128 + signal.SIGTERM
        await until_gone(family)
