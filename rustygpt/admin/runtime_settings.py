"""Keeps what administrators have changed of the settings in force on this process, at most two seconds behind the database.

The configuration has the last word: a start that finds another configured value than there was when a setting was changed forgets the change.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from rustygpt.database.call import Caller
from rustygpt.errors import DomainError
from rustygpt.ids import UserId
from rustygpt.live_settings import LiveSettings
from rustygpt.signals import SignalKind

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.5

OnChanged = Callable[[LiveSettings], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ChangedSetting:
    """A setting that was changed while the server ran; `configured` is what flags, environment and file say."""

    key: str
    value: Any
    configured: Any
    changed_at: datetime
    changed_by: UserId | None
    changed_by_email: str | None


@dataclass(frozen=True, slots=True)
class ForgottenSetting:
    """A change that a start has dropped."""

    key: str


class RuntimeSettings:
    """Applies changes to `live`; *on_changed* then tells those who hold a copy. Twice is once."""

    def __init__(self, database: Caller, live: LiveSettings, on_changed: Sequence[OnChanged]) -> None:
        self._database = database
        self.live = live
        self._on_changed = on_changed
        self._look = asyncio.Event()
        self._reading = asyncio.Lock()
        self._known: list[ChangedSetting] | None = None

    @property
    def changed(self) -> Sequence[ChangedSetting]:
        """What is changed, as this process knows it."""
        return self._known or ()

    def on_signal(self, kind: SignalKind, _key: str) -> None:
        """Hear that something changed, or may have."""
        if kind in ("settings_changed", "look"):
            self._look.set()

    async def open(self) -> None:
        """Forget what the configuration has overtaken, and apply the rest. Raises Unavailable."""
        for setting in await forget_runtime_settings(self._database, configured=self.live.configured()):
            log.warning("setting_change_forgotten", key=setting.key, reason="the configuration has been edited since")
        await self.refresh()
        for changed in self.changed:
            log.warning("setting_changed_at_run_time", key=changed.key, value=changed.value, configured=changed.configured)

    async def change(self, actor: UserId, changes: dict[str, Any]) -> None:
        """Let *changes*, by key, hold from now on; None takes a change back. Raises Invalid, Forbidden, Unavailable; then nothing changed."""
        self.live.check({key: value for key, value in changes.items() if value is not None})
        await change_runtime_settings(self._database, actor=actor, changes=changes, configured=self.live.configured())
        await self.refresh()

    async def refresh(self) -> None:
        """Read what is changed, and apply it. Raises Unavailable."""
        async with self._reading:  # else what was read before a change could be applied after it
            rows = await list_runtime_settings(self._database)
            if rows != self._known:
                await self._apply(rows)

    async def _apply(self, rows: list[ChangedSetting]) -> None:
        try:
            self.live.apply({row.key: row.value for row in rows})
        except DomainError as error:  # written by a version that knew other settings or ranges
            log.warning("setting_changes_unusable", problems=[problem.field for problem in error.errors])
        for tell in self._on_changed:
            await tell(self.live)
        if self._known is not None:
            log.info("settings_changed", keys=[row.key for row in rows])
        self._known = rows

    async def run(self) -> None:
        """Look for changes until cancelled; while the database is away, what is known stays in force."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await self.refresh()
            except DomainError as error:
                log.debug("settings_unreadable", code=error.code)


async def list_runtime_settings(database: Caller) -> list[ChangedSetting]:
    return await database.many("list_runtime_settings", ChangedSetting)


async def change_runtime_settings(
    database: Caller, *, actor: UserId, changes: dict[str, Any], configured: dict[str, Any]
) -> None:
    """Raise Forbidden."""
    await database.void("change_runtime_settings", actor=actor, changes=changes, configured=configured)


async def forget_runtime_settings(database: Caller, *, configured: dict[str, Any]) -> list[ForgottenSetting]:
    return await database.many("forget_runtime_settings", ForgottenSetting, configured=configured)
