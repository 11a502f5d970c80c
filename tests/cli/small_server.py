"""A small application under the real `serve_application`, for tests of signals and failures; its first argument says how it behaves.

`/` answers at once, `/stream` goes on until the drain, `/stuck` for ever. What happens is printed, a word a line.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from rustygpt.cli.failure import exit_with, report
from rustygpt.cli.listener import open_listener
from rustygpt.cli.serve import serve_application
from rustygpt.observability.logging import configure_logging
from rustygpt.settings import Settings


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Application:
    """What `serve_application` needs to know of the real one: `asgi` and `begin_drain`."""

    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour
        self._draining = asyncio.Event()
        self.asgi = Starlette(
            routes=[Route("/", self.answer), Route("/stream", self.stream), Route("/stuck", self.stuck)], lifespan=self.lifespan
        )

    def begin_drain(self) -> None:
        say("draining")
        self._draining.set()

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        if self._behaviour == "refuses":
            raise ConnectionRefusedError(111, "Connection refused")
        async with asyncio.TaskGroup() as parts:
            if self._behaviour == "dies":
                parts.create_task(self.die())
            yield
            say("closing")
            if self._behaviour == "lingers":
                await asyncio.Event().wait()
        say("closed")

    async def die(self) -> None:
        raise RuntimeError("a part has died")

    async def answer(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("draining" if self._draining.is_set() else "serving")

    async def stream(self, request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"begin\n"
            await self._draining.wait()
            if request.query_params.get("until"):
                await asyncio.Event().wait()
            yield b"end\n"

        return StreamingResponse(pieces())

    async def stuck(self, request: Request) -> PlainTextResponse:
        say("stuck")
        await asyncio.Event().wait()
        return PlainTextResponse("never")


def main() -> None:
    settings = Settings(sse={"drain_seconds": float(sys.argv[2])}, assistant={"shutdown_grace_seconds": 0}, server={"port": 0})
    configure_logging(settings.logging)
    with open_listener("127.0.0.1", 0) as listener:
        try:
            serve_application(settings, "postgres://db.example/chat", listener, Application(sys.argv[1]))
        except Exception as error:  # noqa: BLE001 - as the command line does
            exit_with(report(error, is_debug=False))


if __name__ == "__main__":
    main()
