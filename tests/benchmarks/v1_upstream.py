"""An OpenAI-compatible server that costs next to nothing: each delta is the time at which it was sent, at the rate that was asked for.

`max_tokens` is the number of deltas, `seed` their rate per second (0: at once). `GET /closes` tells when clients hung up: all times are
`time.monotonic_ns()`, which processes of one machine share.
"""

import asyncio
import json
import socket
import sys
import time

import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BEFORE = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench","choices":[{"index":0,"delta":{"content":"'
AFTER = b'"},"finish_reason":null}]}\n\n'
ENDING = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


class Upstream:
    """The server; `closes` are the times of hang-ups in the middle of an answer."""

    def __init__(self) -> None:
        self.closes: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests until it is closed."""
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next((line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")), "0")
                body = await reader.readexactly(int(length))
                if head.startswith("POST"):
                    await self._answer(reader, writer, json.loads(body))
                else:
                    self._tell(writer, head)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _tell(self, writer: asyncio.StreamWriter, head: str) -> None:
        told = self.closes if " /closes " in head else {"object": "list", "data": [{"id": "bench"}]}
        body = json.dumps(told).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[str, int]) -> None:
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch(reader, writer))
            writer.write(HEAD)
            began_at, rate = time.monotonic(), asked.get("seed", 0)
            for number in range(asked["max_tokens"]):
                while rate and (pause := began_at + number / rate - time.monotonic()) > 0:  # noqa: ASYNC110 - the time itself
                    await asyncio.sleep(pause)
                if writer.is_closing():
                    break
                self._write(writer, b"%s%d%s" % (BEFORE, time.monotonic_ns(), AFTER))
            watcher.cancel()
        if not writer.is_closing():
            self._write(writer, ENDING)
            writer.write(b"0\r\n\r\n")

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Notice a client that hangs up; one that asks again before its answer is there does not exist here."""
        transport = writer.transport
        while not (reader.at_eof() or transport.is_closing()):
            await reader.read(1)
        self.closes.append(time.monotonic_ns())
        writer.close()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def main() -> None:
    server = await asyncio.start_server(Upstream().serve, "127.0.0.1", 0, backlog=2_048)
    sys.stdout.write(f"The upstream is ready on http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
