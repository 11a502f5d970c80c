"""Options that several commands share, and the settings they lead to: a flag that is not given changes nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rustygpt.settings import Settings
    from rustygpt.settings_sources import LoadedSettings

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Read settings from FILE. (default: $RUSTYGPT_CONFIG, else ./config.toml where there is one)",
        show_default=False,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Folder for the private PostgreSQL, models and keys. (default: $RUSTYGPT_DATA_DIR, else the user data folder)",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def read_settings(config: Path | None, **flags: object) -> "Settings":
    """Return the settings in force; as `load`."""
    return load(config, **flags).settings


def load(config: Path | None, **flags: object) -> "LoadedSettings":
    """Read every source. *flags* are named like `server__port`; None means not given. Raises SettingsError."""
    from rustygpt.settings_sources import load_settings_with_origins

    tables: dict[str, Any] = {}
    for name, value in flags.items():
        if value is not None:
            *path, key = name.split("__")
            table = tables
            for part in path:
                table = table.setdefault(part, {})
            table[key] = value
    return load_settings_with_origins(tables, config_file=config)
