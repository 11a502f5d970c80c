"""Work of /v1 that has no stream to write: what it waits for is let go when the process or the credential ends, and that is its error."""

import asyncio
from types import TracebackType
from typing import Self

from rustygpt.errors import DomainError, Unavailable
from rustygpt.openai_api.open_answers import RETRY_SECONDS, Watch


class StoppableWork:
    """`async with StoppableWork(watch)`: raises the error that ended it, and whatever the block raises."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._scope = asyncio.timeout(None)
        self._has_begun = False
        self._ended_by: DomainError | None = None

    def stop_for_drain(self) -> None:
        """The process ends."""
        self.stop_for_refusal(Unavailable("The server is shutting down.", retry_after_seconds=RETRY_SECONDS))

    def stop_for_refusal(self, refusal: DomainError) -> None:
        """The credential it was asked with has ended. The first reason is the one that is told."""
        if self._ended_by is None:
            self._ended_by = refusal
            if self._has_begun and not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> Self:
        self._watch.attach(self)
        if self._ended_by is not None:
            raise self._ended_by
        await self._scope.__aenter__()
        self._has_begun = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._has_begun = False
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError:
            if self._ended_by is not None:
                raise self._ended_by from None
            raise
