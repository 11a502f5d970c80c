"""`rustygpt config`: what the settings are, and why. Secrets are masked before anything else happens to them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from rustygpt.cli.options import AsJson, ConfigFile, DataDir, load

app = typer.Typer(help="Look at the settings.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("show")
def show(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the settings in force, and where each that is not the default came from; secrets are masked.

    The text is TOML: it can be the start of a config.toml.

    For instance:

        rustygpt config show
        RUSTYGPT__SSE__FLUSH_MS=0 rustygpt config show --json | jq .settings.sse
    """
    from rustygpt.settings import Settings

    loaded = load(config, data_dir=data_dir)
    values = loaded.settings.masked()
    if as_json:
        typer.echo(json.dumps({"settings": values, "origins": dict(loaded.origins)}, indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(toml_lines(values, loaded.origins, Settings().masked())))


def toml_lines(
    values: Mapping[str, Any], origins: Mapping[str, str], defaults: Mapping[str, Any], table: str = ""
) -> Iterator[str]:
    """Yield TOML, each value that is not the default followed by its origin."""
    for name, value in values.items():
        if not _is_table(value):
            origin = origins.get(f"{table}.{name}".lstrip("."), "") if value != defaults.get(name) else ""
            yield f"{name} = {_toml(value)}" + (f"  # from {origin}" if origin else "")
    for name, value in values.items():
        path = f"{table}.{name}".lstrip(".")
        if isinstance(value, dict):
            lines = list(toml_lines(value, origins, defaults[name], path))
            has_values = not lines[0].startswith("\n")
            yield from ([f"\n[{path}]", *lines] if has_values else lines)
        elif _is_table(value):
            for item in value:
                yield f"\n[[{path}]]" + (f"  # from {origins[path]}" if path in origins else "")
                yield from toml_lines(item, {}, {}, path)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _toml(value: object) -> str:
    """Write a text, number, truth value or list of texts; JSON's spelling of these is TOML's too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
