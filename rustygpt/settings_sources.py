"""Where settings come from: command-line flag > RUSTYGPT__SECTION__KEY > well-known environment name > file > default.

The database never overrides any of them. Whatever is unknown, malformed or out of range stops the start with the key, the shape
of the value and the range, and never prints a secret. The origin of each value is kept, for messages and `rustygpt config show`.
"""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rustygpt.settings import Settings, SettingsError
from rustygpt.settings_problems import describe, find_field, is_list, suggestion

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
"""Names that operators know from other software, and the key each one sets. Of two for one key the upper one wins."""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Checked settings, and for each dotted key that some source sets, the name of that source."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Given:
    """One value that a source gives; `origin` is what a person calls that source."""

    path: tuple[str, ...]
    value: object
    origin: str


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
    weakest_first = [
        *_from_file(config_file, environ),
        *_from_well_known_names(environ),
        *_from_prefixed_names(environ),
        *_leaves(flags or {}, "the command line"),
    ]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for given in weakest_first:
        _put(merged, given)
        origins[".".join(given.path)] = given.origin
    try:
        return LoadedSettings(Settings.model_validate(merged), origins)
    except ValidationError as error:
        raise SettingsError(describe(error, Settings, origins)) from None


def _put(tables: dict[str, Any], given: _Given) -> None:
    table = tables
    for depth, key in enumerate(given.path[:-1], 1):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{'.'.join(given.path[:depth])}: must be a table")
    table[given.path[-1]] = given.value


def _leaves(table: Mapping[str, Any], origin: str, path: tuple[str, ...] = ()) -> Iterator[_Given]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, origin, (*path, key))
        else:
            yield _Given((*path, key), value, origin)


def _from_file(config_file: Path | None, environ: Mapping[str, str]) -> Iterator[_Given]:
    named = config_file or (Path(environ[CONFIG_FILE_VARIABLE]) if environ.get(CONFIG_FILE_VARIABLE) else None)
    path = named or Path("config.toml")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if named is None:
            return
        raise SettingsError(f"{path}: there is no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: the configuration file cannot be read: {_reason(error)}") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: this is not TOML: {error}") from None
    yield from _leaves(tables, str(path))


def _from_well_known_names(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name in reversed(list(WELL_KNOWN)):
        if text := environ.get(name):
            yield _Given(WELL_KNOWN[name], _parse(name, WELL_KNOWN[name], text), name)


def _from_prefixed_names(environ: Mapping[str, str]) -> Iterator[_Given]:
    """Yield RUSTYGPT__SECTION__KEY. Raises SettingsError for one that names no setting, rather than passing over it in silence."""
    for name, text in environ.items():
        if not name.upper().startswith(ENV_PREFIX):
            continue
        path = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
        if find_field(Settings, path) is None:
            raise SettingsError(f"{name}: there is no setting {'.'.join(path)}{suggestion(Settings, path)}")
        if text:
            yield _Given(path, _parse(name, path, text), name)


def _parse(name: str, path: tuple[str, ...], text: str) -> object:
    """Read a list from JSON or from words with commas between them; pydantic reads the rest."""
    if not is_list(find_field(Settings, path)):
        return text
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{name}: this is not a JSON list: {error.msg} at character {error.pos + 1}") from None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"
