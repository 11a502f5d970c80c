"""`rustygpt serve` with a probe in its event loop: a timer that notes how late it is called, and an address that tells.

Nothing else is changed. `GET /lag` answers the notes since the last call, in milliseconds, and begins anew.
"""

import asyncio
import json
import time
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

import rustygpt.app
from rustygpt.app import Application
from rustygpt.cli.main import main
from rustygpt.settings import Settings

PROBE_SECONDS: Final = 0.002
"""libuv counts in whole milliseconds: up to one of them is the timer's own."""


class Probe:
    """Wraps the application. The timer runs from the first question on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._late_ms: list[float] = []
        self._due_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/lag":
            await self._app(scope, receive, send)
            return
        body, self._late_ms = json.dumps(self._late_ms).encode(), []
        if not self._due_at:
            self._wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})

    def _wait(self) -> None:
        self._due_at = time.perf_counter() + PROBE_SECONDS
        asyncio.get_running_loop().call_later(PROBE_SECONDS, self._note)

    def _note(self) -> None:
        self._late_ms.append((time.perf_counter() - self._due_at) * 1_000)
        self._wait()


def probed(settings: Settings, dsn: str) -> Application:
    """Build the application, with the probe around it."""
    application = plain(settings, dsn)
    application.asgi = Probe(application.asgi)
    return application


if __name__ == "__main__":
    plain, rustygpt.app.create_app = rustygpt.app.create_app, probed
    main()
