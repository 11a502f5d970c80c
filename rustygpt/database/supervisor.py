"""A private PostgreSQL that dies is started again, where it was and under the same DSN, by the process that started it.

`check` never waits: it is called several times a second from the event loop, on the main thread, and streams go on meanwhile.
"""

import time
from typing import Final

import structlog

from rustygpt.database.embedded import EmbeddedPostgres
from rustygpt.database.processes import EmbeddedPostgresError, explain

log = structlog.get_logger(__name__)

TRIES: Final = 3
PAUSE_SECONDS: Final = 1.0
"""Between two tries: what fails at once may have passed a second later."""


class Supervisor:
    """Watches one server. A joined one is its starter's to watch; one that recovers slowly gets *start_seconds*."""

    def __init__(self, server: EmbeddedPostgres, *, start_seconds: float) -> None:
        self._server = server
        self._start_seconds = start_seconds
        self._died_at: float | None = None
        self._next_try_at: float | None = None
        self._tries = 0
        self._reason = ""

    def check(self) -> None:
        """Notice a death, try to start again, notice success. Raises EmbeddedPostgresError when it cannot be started again."""
        now = time.monotonic()
        if self._died_at is None:
            if self._server.exit_code is None:
                return
            log.error("private_postgres_died", exit_code=self._server.exit_code)
            self._died_at, self._next_try_at, self._tries = now, now, 0
        if self._next_try_at is None:
            self._look(now)
        elif now >= self._next_try_at:
            self._try()
        if self._tries >= TRIES:
            what = f"The private PostgreSQL died and could not be started again in {TRIES} tries (its log: {self._server.log})"
            raise explain(what, self._reason)

    def _try(self) -> None:
        self._next_try_at = None
        try:
            self._server.relaunch()
        except OSError as error:
            self._fail(str(error))

    def _look(self, now: float) -> None:
        if self._died_at is None:
            return
        is_late = now - self._died_at > self._start_seconds
        if self._server.resume():
            log.warning("private_postgres_restarted", seconds=round(now - self._died_at, 3))
            self._died_at = None
        elif self._server.exit_code is None:
            if is_late:
                raise EmbeddedPostgresError(
                    f"The private PostgreSQL died and was not ready again after {self._start_seconds:g} s; see {self._server.log}.\n"
                    "After a crash it may need longer: raise database.embedded_start_seconds."
                )
        elif self._server.starts_later and not is_late:
            self._next_try_at = now
        else:
            self._fail(self._server.last_words)

    def _fail(self, reason: str) -> None:
        self._tries += 1
        self._reason = reason
        self._next_try_at = time.monotonic() + PAUSE_SECONDS
        log.error("private_postgres_not_restarted", tries=self._tries, log=str(self._server.log))
