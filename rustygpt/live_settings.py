"""The settings in force: what was configured, and over it the few that administrators change while the server runs.

Whoever holds this asks for a table each time it needs one, and keeps none. What is configured never changes; `apply` replaces all changes at
once, so a reader sees the settings of before or of after.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from pydantic import ValidationError

from rustygpt.errors import FieldError, Invalid
from rustygpt.settings import AuthSettings, LimitSettings, LoggingSettings, Settings
from rustygpt.settings_problems import expectation, find_field

CHANGEABLE: Final = (
    *("auth.require_approval", "auth.signup"),
    *("limits.quota_generations", "limits.quota_period_seconds", "limits.quota_reply_tokens", "limits.quota_tokens"),
    "logging.level",
)
"""Keys that a running server may be told anew. All others are read where they take effect once: sockets, pools, providers."""


class HasAuth(Protocol):
    """Who knows how people may sign in now."""

    @property
    def auth(self) -> AuthSettings: ...


class LiveSettings:
    """One process's view. *configured* is what flags, environment and file say."""

    def __init__(self, configured: Settings) -> None:
        self._configured = configured
        self._now = configured

    @property
    def auth(self) -> AuthSettings:
        """`[auth]` as it is now."""
        return self._now.auth

    @property
    def limits(self) -> LimitSettings:
        """`[limits]` as it is now."""
        return self._now.limits

    @property
    def logging(self) -> LoggingSettings:
        """`[logging]` as it is now."""
        return self._now.logging

    def configured(self) -> dict[str, Any]:
        """Return what is configured of CHANGEABLE, by key."""
        return {key: _value(self._configured, key) for key in CHANGEABLE}

    def masked(self) -> dict[str, Any]:
        """Return the settings in force, without secrets."""
        return self._now.masked()

    def apply(self, changes: Mapping[str, Any]) -> None:
        """Let *changes*, by key, hold over what is configured, and none but them. Raises Invalid, and changes nothing then."""
        self._now = _changed(self._configured, changes)

    def check(self, changes: Mapping[str, Any]) -> None:
        """Raise Invalid unless *changes* could be applied."""
        _changed(self._configured, changes)


def _changed(configured: Settings, changes: Mapping[str, Any]) -> Settings:
    tables: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        if key not in CHANGEABLE:
            raise Invalid(errors=(FieldError(key, "does not change while the server runs"),))
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    update = {name: _merged(configured, name, values) for name, values in tables.items()}
    return configured.model_copy(update=update)


def _merged(configured: Settings, name: str, values: Mapping[str, Any]) -> object:
    table = getattr(configured, name)
    try:
        return type(table).model_validate({**table.model_dump(), **values}, strict=True)
    except ValidationError as error:
        raise Invalid(errors=tuple(_problems(name, error))) from None


def _problems(table: str, error: ValidationError) -> Iterator[FieldError]:
    for problem in error.errors(include_url=False, include_input=False):
        path = (table, *problem["loc"])
        field = find_field(Settings, path)
        yield FieldError(".".join(map(str, path)), f"must be {expectation(field)}" if field else problem["msg"])


def _value(settings: Settings, key: str) -> Any:
    table, _, name = key.partition(".")
    return getattr(getattr(settings, table), name)
