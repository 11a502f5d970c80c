"""Where settings come from: command-line flag > RUSTYGPT__SECTION__KEY > well-known environment name > file > default.

pydantic-settings reads the sources and lays them over each other; what it would pass over in silence is refused here, and the origin
of each value is kept for messages and `rustygpt config show`. The database overrides nothing. No message ever holds a secret.
"""

import json
import logging
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from typing_extensions import override

from rustygpt.settings import Settings, SettingsError
from rustygpt.settings_problems import describe, find_field, is_list, is_table_list, suggestion

ENV_PREFIX = "RUSTYGPT__"
CONFIG_FILE_VARIABLE = "RUSTYGPT_CONFIG"

# With PYDANTIC_SETTINGS_DEBUG set the library logs what every source gave, secrets included, at this level.
logging.getLogger("pydantic_settings").setLevel(logging.INFO)

WELL_KNOWN: Mapping[str, tuple[str, ...]] = {
    "DATABASE_URL": ("database", "url"),
    "REDIS_URL": ("bus", "url"),
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
    "DEFAULT_USER_ROLE": ("auth", "default_role"),
    "GITHUB_CLIENT_ID": ("oauth", "github", "client_id"),
    "GITHUB_CLIENT_SECRET": ("oauth", "github", "client_secret"),
    "GITHUB_REDIRECT_URI": ("oauth", "github", "redirect_uri"),
    "GITHUB_AUTH_URL": ("oauth", "github", "auth_url"),
    "GITHUB_TOKEN_URL": ("oauth", "github", "token_url"),
    "GITHUB_API_URL": ("oauth", "github", "api_url"),
    "APPLE_CLIENT_ID": ("oauth", "apple", "client_id"),
    "APPLE_TEAM_ID": ("oauth", "apple", "team_id"),
    "APPLE_KEY_ID": ("oauth", "apple", "key_id"),
    "APPLE_PRIVATE_KEY": ("oauth", "apple", "private_key"),
    "APPLE_PRIVATE_KEY_PATH": ("oauth", "apple", "private_key_path"),
    "APPLE_REDIRECT_URI": ("oauth", "apple", "redirect_uri"),
    "APPLE_AUTH_URL": ("oauth", "apple", "auth_url"),
    "APPLE_TOKEN_URL": ("oauth", "apple", "token_url"),
    "APPLE_KEYS_URL": ("oauth", "apple", "keys_url"),
    "APPLE_ISSUER": ("oauth", "apple", "issuer"),
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
"""Names that operators know from other software, and the key each one sets. Of two for one key the upper one wins."""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Checked settings, and for each dotted key that some source sets, the name of that source."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    config_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read, merge and check every source; arguments and errors as in `load_settings_with_origins`."""
    return load_settings_with_origins(flags, config_file=config_file, environ=environ).settings


def load_settings_with_origins(
    flags: Mapping[str, Any] | None = None,
    *,
    config_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> LoadedSettings:
    """Read, merge and check every source.

    *flags* is a nested mapping shaped like the file. *config_file* defaults to $RUSTYGPT_CONFIG, else `config.toml` in the working
    folder where there is one. An empty environment variable counts as not set. Raises SettingsError.
    """
    path = _find_file(config_file, environ)
    weakest_first: list[_Source] = [_File(path)] if path else []
    weakest_first += [_WellKnownNames(environ), _PrefixedNames(environ), _Flags(flags or {})]
    origins = _origins(weakest_first)
    try:
        return LoadedSettings(_merged(weakest_first), origins)
    except ValidationError as error:
        raise SettingsError(describe(error, Settings, origins)) from None


class _ReadSettings(BaseSettings, Settings):
    """The settings as pydantic-settings fills them: from its sources when called."""

    # For the keys of files. The names of variables are the environment's source's own matter.
    model_config = SettingsConfigDict(case_sensitive=True)


class _Flags(InitSettingsSource):
    """What the command line was given."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        super().__init__(_ReadSettings, dict(flags))

    def origin(self, path: tuple[str, ...]) -> str:
        return "the command line"


class _File(TomlConfigSettingsSource):
    """config.toml. Raises SettingsError when it is not there, cannot be read or is not TOML."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            super().__init__(_ReadSettings, toml_file=path)
        except FileNotFoundError:
            raise SettingsError(f"{path}: there is no such configuration file") from None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SettingsError(f"{path}: the configuration file cannot be read: {reason}") from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path}: this is not TOML: {error}") from None

    @override
    def _read_files(self, files: object, deep_merge: bool = False) -> dict[str, Any]:
        """Open the file whatever it is: the library passes over a missing one, and over a pipe, in silence."""
        return self._read_file(self._path)

    def origin(self, path: tuple[str, ...]) -> str:
        return str(self._path)


class _WellKnownNames(PydanticBaseSettingsSource):
    """The variables of WELL_KNOWN."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(_ReadSettings)
        self._names: dict[tuple[str, ...], str] = {}
        self._tables: dict[str, Any] = {}
        for name, path in reversed(list(WELL_KNOWN.items())):
            if text := environ.get(name):
                self._names[path] = name
                table = self._tables
                for key in path[:-1]:
                    table = table.setdefault(key, {})
                table[path[-1]] = _list_in(name, text, find_field(Settings, path))

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._tables.get(field_name), field_name, False

    @override
    def __call__(self) -> dict[str, Any]:
        return self._tables

    def origin(self, path: tuple[str, ...]) -> str:
        return self._names[path]


class _PrefixedNames(EnvSettingsSource):
    """RUSTYGPT__SECTION__KEY, in capitals or not. Raises SettingsError for one that names no setting, even an empty one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(_ReadSettings, case_sensitive=False, env_prefix=ENV_PREFIX, env_nested_delimiter="__")
        self._names: dict[tuple[str, ...], str] = {}
        variables: dict[str, str | None] = {}
        for name, text in environ.items():
            if not name.upper().startswith(ENV_PREFIX):
                continue
            path = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
            field = find_field(Settings, path)
            if field is None:
                raise SettingsError(f"{name}: there is no setting {'.'.join(path)}{suggestion(Settings, path)}")
            if text:
                self._names[path] = name
                variables[name.lower()] = json.dumps(_list_in(name, text, field)) if is_list(field) else text
        self.env_vars = variables

    def origin(self, path: tuple[str, ...]) -> str:
        return self._names[path]


_Source = _Flags | _File | _WellKnownNames | _PrefixedNames


def _merged(weakest_first: Sequence[_Source]) -> Settings:
    """Lay the sources over each other and check the result once. Raises ValidationError."""

    class Read(_ReadSettings):
        @classmethod
        @override
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(reversed(weakest_first))

    return Settings(**dict(Read()))


def _origins(weakest_first: Sequence[_Source]) -> dict[str, str]:
    """Return who sets each dotted key. Raises SettingsError where one source sets a key inside what is no table in a weaker one."""
    origins: dict[str, str] = {}
    values: set[str] = set()
    for source in weakest_first:
        for path, value in _leaves(source()):
            keys = [".".join(path[:depth]) for depth in range(1, len(path) + 1)]
            for table in keys[:-1]:
                if table in values:
                    raise SettingsError(f"{table}: must be a table")
            if not isinstance(value, dict):
                values.add(keys[-1])
            origins[keys[-1]] = source.origin(path)
    return origins


def _leaves(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _find_file(config_file: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read; None when nobody named one and the working folder has none."""
    if config_file is not None:
        return config_file
    if named := environ.get(CONFIG_FILE_VARIABLE):
        return Path(named)
    usual = Path("config.toml")
    return usual if usual.exists() else None


def _list_in(name: str, text: str, field: FieldInfo | None) -> object:
    """Read a list: JSON, or words with commas between them; *text* as it is where *field* is no list. Raises SettingsError for JSON that is none."""
    if not is_list(field):
        return text
    if not text.lstrip().startswith("["):
        if field is not None and is_table_list(field):
            raise SettingsError(f'{name}: must be a JSON list of tables, such as [{{"name": "x"}}]; it begins otherwise')
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{name}: this is not a JSON list: {error.msg} at character {error.pos + 1}") from None
