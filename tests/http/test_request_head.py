"""The head's bounds are the head's alone: what follows an answer that came early is the rest of a body."""

import asyncio
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from tests.person import DEADLINE_SECONDS
from tests.site import serving, settings_for


async def test_rest_of_a_refused_body_is_no_head(dsn: str, data_dir: Path) -> None:
    """A body that is refused for its announced length may still come, in pieces; the connection then serves the next request."""
    size = 2_097_152
    async with serving(settings_for(data_dir), dsn) as site:
        address = urlsplit(site.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"POST /api/auth/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        with closing(writer):
            async with asyncio.timeout(DEADLINE_SECONDS):
                writer.write(head.encode() + b'"')
                assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413 ")
                await reader.readuntil(b"\r\n\r\n")
                for _ in range(size // 65_536 - 1):
                    writer.write(b"x" * 65_536)
                    await writer.drain()
                writer.write(b"x" * 65_535)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
                answer = await reader.readuntil(b"HTTP/1.1 200 OK\r\n")
                assert b"HTTP/1.1 4" not in answer
