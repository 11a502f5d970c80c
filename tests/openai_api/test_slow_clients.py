"""Clients that do not read: the upstream is not read either, memory stays bounded, and after a while they are cut off."""

import asyncio
import json
import socket

import pytest

from tests.openai_api.test_upstream import QUESTION, assistant, metric, site, upstream  # noqa: F401 - fixtures
from tests.person import DEADLINE_SECONDS
from tests.scripted_openai import Call, ScriptedOpenAI
from tests.site import Site

PIECE = "x" * 4_000
FLOOD_BYTES = 64_000_000
"""Far more than all buffers between the model and a client that reads nothing."""


async def _ask(site: Site, key: str) -> socket.socket:  # noqa: F811
    """Ask for a stream on a socket of small buffers that nobody reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.setblocking(False)
    host, port = site.url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (host, int(port)))
    body = json.dumps({"model": "scripted", "messages": QUESTION, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    await loop.sock_sendall(client, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return client


async def _flood(call: Call) -> None:
    """Say more than anybody can hold, until the client is gone."""
    try:
        while call.written_bytes < FLOOD_BYTES and not call.gone.is_set():
            await call.say(PIECE)
    except ConnectionError:
        pass


async def _read_on(client: socket.socket) -> None:
    while True:
        await asyncio.get_running_loop().sock_recv(client, 65_536)


async def test_slow_client_slows_the_model(site: Site, key: str, upstream: ScriptedOpenAI) -> None:  # noqa: F811
    """What the client does not take the model is not asked for: it blocks after a few buffers' worth, and goes on when the client reads."""
    client = await _ask(site, key)
    call = await upstream.next_call()
    flood = asyncio.ensure_future(_flood(call))
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not call.is_blocked:  # noqa: ASYNC110 - nobody signals that a socket is full
                await asyncio.sleep(0.01)
            held = call.written_bytes
            assert held < 16_000_000
            got = 0
            while got <= 2 * held + 100_000:
                got += len(await asyncio.get_running_loop().sock_recv(client, 65_536))
        assert call.written_bytes > held
    finally:
        client.close()
        await asyncio.wait([flood])


@pytest.mark.parametrize("assistant", [{"sse": {"send_timeout_seconds": 0.5}}], indirect=True)
async def test_client_that_never_reads_is_cut_off(site: Site, key: str, upstream: ScriptedOpenAI) -> None:  # noqa: F811
    """After sse.send_timeout_seconds the connection is reset, the upstream let go, and the place is free."""
    client = await _ask(site, key)
    call = await upstream.next_call()
    flood = asyncio.ensure_future(_flood(call))
    try:
        await call.until_gone()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await metric(site, "rustygpt_generations_running "):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            with pytest.raises(ConnectionResetError):
                await _read_on(client)
    finally:
        client.close()
        await asyncio.wait([flood])
