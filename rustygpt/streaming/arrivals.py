"""Who waits until this process has come up to a position of the log. Everybody who waits is woken by the position or by a deadline."""

import asyncio
from typing import Final

PATIENCE_SECONDS: Final = 10.0
"""The tail is usually milliseconds behind; so long only while the database cannot be read."""


class Arrivals:
    """The waiting, each with the position that it waits for."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], int] = {}

    async def wait(self, position: int) -> bool:
        """Wait for `tell` with *position* or more. False when it has not come in time."""
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[arrival] = position
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await arrival
        except TimeoutError:
            return False
        finally:
            del self._waiting[arrival]
        return True

    def tell(self, head: int) -> None:
        """Wake whoever waits for *head* or less."""
        if self._waiting:
            for arrival, position in self._waiting.items():
                if position <= head and not arrival.done():
                    arrival.set_result(None)
