"""The bus over PostgreSQL: NOTIFY after the commit, and one LISTEN connection for each process. Needs nothing that is not there anyway.

It carries ids and positions only; events are read from the log, once for each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from typing_extensions import override

from rustygpt.database.call import Caller
from rustygpt.database.listen import listening
from rustygpt.observability.metrics import Metrics
from rustygpt.streaming.bus.shared import SharedBus
from rustygpt.streaming.procedures import notify_bus

if TYPE_CHECKING:
    from rustygpt.settings import DatabaseSettings

CHANNEL: Final = "rustygpt_bus"
"""As notify_bus has it; a channel belongs to one database."""


class PostgresBus(SharedBus):
    """Listens by *dsn*, which must lead to PostgreSQL itself and not to a pooler; notifies through *database*."""

    max_bytes: ClassVar[int] = 7_999  # NOTIFY takes less than 8000
    carries_deltas: ClassVar[bool] = False

    def __init__(
        self, dsn: str, settings: DatabaseSettings, database: Caller, metrics: Metrics, epoch: Callable[[], str]
    ) -> None:
        super().__init__(metrics, epoch)
        self._dsn = dsn
        self._settings = settings
        self._database = database

    @override
    async def _send(self, body: bytes) -> None:
        await notify_bus(self._database, payload=body.decode())

    @override
    async def _hear_until_lost(self) -> None:
        async with listening(self._dsn, self._settings, CHANNEL, self._on_payload) as lost:
            self._arrive()
            # `_keep_hearing` ends this wait when nothing is heard.
            await lost.wait()

    def _on_payload(self, payload: str) -> None:
        self._hear(payload.encode())
