"""Where settings come from: command-line flag > RUSTYGPT__SECTION__KEY > well-known environment name > file > default.

The database never overrides any of them. Whatever is unknown, malformed or out of range stops the start with the key, the shape
of the value and the range, and never prints a secret.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, override

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from rustygpt.settings import Settings

ENV_PREFIX = "RUSTYGPT__"
CONFIG_FILE_VARIABLE = "RUSTYGPT_CONFIG"

WELL_KNOWN: Mapping[str, tuple[str, ...]] = {
    "DATABASE_URL": ("database", "url"),
    "HOST": ("server", "host"),
    "PORT": ("server", "port"),
    "PUBLIC_URL": ("server", "public_url"),
    "TRUSTED_PROXIES": ("server", "trusted_proxies"),
    "RUSTYGPT_DATA_DIR": ("data_dir",),
    "RUSTYGPT_SECRET_KEY": ("secret_key",),
    "RUSTYGPT_ADMIN_EMAIL": ("admin_email",),
    "RUSTYGPT_ADMIN_PASSWORD": ("admin_password",),
    "RUSTYGPT_ADMIN_NAME": ("admin_name",),
    "ENABLE_SIGNUP": ("auth", "signup"),
    "OLLAMA_BASE_URL": ("assistant", "ollama_base_url"),
    "OLLAMA_API_BASE_URL": ("assistant", "ollama_base_url"),
    "OPENAI_API_BASE_URL": ("assistant", "openai_base_url"),
    "OPENAI_API_KEY": ("assistant", "openai_api_key"),
    "MODEL_FILE_NAME": ("assistant", "llama_cpp", "model_file"),
    "CONTEXT_SIZE": ("assistant", "llama_cpp", "context_tokens"),
    "METRICS_TOKEN": ("metrics", "token"),
    "LOG_LEVEL": ("logging", "level"),
    "LOG_FORMAT": ("logging", "format"),
}
"""Names that operators know from other software, and the key each one sets."""


class SettingsError(Exception):
    """The configuration cannot be used. The message names each key, its value's shape and what is allowed, one a line."""


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    config_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read, merge and check every source.

    *flags* is a nested mapping shaped like the file. *config_file* defaults to $RUSTYGPT_CONFIG, else `config.toml` in the working
    folder where there is one. Raises SettingsError.
    """
    chosen = config_file or (Path(environ[CONFIG_FILE_VARIABLE]) if environ.get(CONFIG_FILE_VARIABLE) else None)
    if chosen is not None and not chosen.is_file():
        raise SettingsError(f"config file: {chosen} does not exist")
    path = chosen or Path("config.toml")
    _refuse_unknown_environment(environ)
    sources = _source_model(path if path.is_file() else None, environ)
    try:
        merged = sources(**dict(flags or {}))
        return Settings.model_validate(merged.model_dump(exclude_unset=True))
    except ValidationError as error:
        raise SettingsError(_describe(error)) from None
    except ValueError as error:  # TOMLDecodeError and the JSON errors of the environment source
        raise SettingsError(f"{path}: {error}") from None


class _WellKnownEnvironment(PydanticBaseSettingsSource):
    """The environment names of WELL_KNOWN; an empty value counts as not set."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False  # values are nested, so __call__ gathers them itself

    @override
    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, path in WELL_KNOWN.items():
            if value := self._environ.get(name):
                table = found
                for key in path[:-1]:
                    table = table.setdefault(key, {})
                table.setdefault(path[-1], value)
        return found


def _source_model(config_file: Path | None, environ: Mapping[str, str]) -> type[BaseSettings]:
    class Sources(Settings, BaseSettings):
        model_config = SettingsConfigDict(
            frozen=True,
            extra="forbid",
            env_prefix=ENV_PREFIX,
            env_nested_delimiter="__",
            env_ignore_empty=True,
            toml_file=config_file,
        )

        @classmethod
        @override
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            variables = EnvSettingsSource(settings_cls)
            variables.env_vars = {k.lower(): v for k, v in environ.items() if v != ""}
            return init_settings, variables, _WellKnownEnvironment(settings_cls, environ), TomlConfigSettingsSource(settings_cls)

    return Sources


def _refuse_unknown_environment(environ: Mapping[str, str]) -> None:
    """Stop on RUSTYGPT__ names that no table has; pydantic-settings would pass over them in silence."""
    for name in environ:
        if name.upper().startswith(ENV_PREFIX):
            first = name[len(ENV_PREFIX) :].split("__")[0].lower()
            if first not in Settings.model_fields:
                raise SettingsError(f"{name}: there is no setting or table called {first!r}")


def _describe(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=True):
        key = ".".join(str(part) for part in problem["loc"]) or "configuration"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "there is no such setting"
        lines.append(f"{key}: {message} (got {_shape(problem['input'])})")
    return "\n".join(lines)


def _shape(value: object) -> str:
    """Describe a value without showing it: it may be a secret."""
    match value:
        case bool() | int() | float():
            return f"{type(value).__name__} {value}"
        case str():
            return f"text of {len(value)} characters"
        case list() | tuple():
            return f"list of {len(value)}"
        case dict():
            return f"table with {len(value)} keys"
        case _:
            return type(value).__name__
