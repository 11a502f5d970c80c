"""`/api/config`: the settings in force, and the few that change while the server runs. Secrets are masked before anything else happens to them.

What is changed here is validated as the configuration is, noted in the audit log, and in force on all processes within two seconds.
"""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from rustygpt.admin.runtime_settings import RuntimeSettings
from rustygpt.auth.actor import admin_of
from rustygpt.http.body import RequestModel, read_body
from rustygpt.http.response import json_response
from rustygpt.ids import UserId
from rustygpt.live_settings import CHANGEABLE
from rustygpt.operation import operation
from rustygpt.signals import Announcer

MAX_BODY_BYTES = 65_536


class AuthChange(RequestModel):
    """What may change of `[auth]`."""

    signup: bool | None = None
    require_approval: bool | None = None


class LimitsChange(RequestModel):
    """What may change of `[limits]`."""

    quota_generations: int | None = None
    quota_tokens: int | None = None
    quota_period_seconds: int | None = None
    quota_reply_tokens: int | None = None


class LoggingChange(RequestModel):
    """What may change of `[logging]`."""

    level: str | None = None


class ConfigChange(RequestModel):
    """Body of `POST /api/config`: what is absent stays, null goes back to what is configured."""

    auth: AuthChange = AuthChange()
    limits: LimitsChange = LimitsChange()
    logging: LoggingChange = LoggingChange()

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any(table.model_fields_set for table in (self.auth, self.limits, self.logging)):
            raise ValueError("names nothing to change")
        return self


class SettingChange(TypedDict):
    """A setting that was changed while the server ran."""

    key: str
    value: Any
    configured: Annotated[Any, Field(description="What flags, environment and file say.")]
    changed_at: datetime
    changed_by: UserId | None
    changed_by_email: str | None


class EffectiveSettings(TypedDict):
    """The settings in force; docs/reference/settings.md explains each."""

    settings: dict[str, Any]
    changed: list[SettingChange]
    changeable: Annotated[list[str], Field(description="Keys that may change while the server runs.")]


class ConfigRoutes:
    """For administrators."""

    def __init__(self, runtime: RuntimeSettings, announcer: Announcer) -> None:
        self._runtime = runtime
        self._announcer = announcer

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/config", self.read, methods=["GET"]),
            Route("/api/config", self.change, methods=["POST"]),
        ]

    @operation("read_config", tag="Administration", who="administrator", answers={200: EffectiveSettings})
    async def read(self, request: Request) -> Response:
        """Read the settings in force, as nested tables; secrets are masked."""
        admin_of(request)
        return self._answer()

    @operation("change_config", tag="Administration", who="administrator", body=ConfigChange, answers={200: EffectiveSettings})
    async def change(self, request: Request) -> Response:
        """Change settings while the server runs.

        In force on all processes within two seconds, until the configuration itself is edited; null goes back to what is configured.
        """
        admin = admin_of(request)
        body = await read_body(request, ConfigChange, max_bytes=MAX_BODY_BYTES)
        tables = body.model_dump(exclude_unset=True)
        changes = {f"{table}.{name}": value for table, values in tables.items() for name, value in values.items()}
        await self._runtime.change(admin.user_id, changes)
        self._announcer.signal("settings_changed")
        return self._answer()

    def _answer(self) -> Response:
        changed = [asdict(each) for each in self._runtime.changed]
        return json_response({"settings": self._runtime.live.masked(), "changed": changed, "changeable": list(CHANGEABLE)})
