"""`rustygpt db`: the schema's ledger. Looking changes nothing; migrating is safe to repeat and beside a running server."""

import asyncio
import dataclasses
import json

import typer

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.cli.options import AsJson, ConfigFile, DataDir, read_settings

app = typer.Typer(help="Look at the database and bring it up to date.", no_args_is_help=True)


@app.command("status")
def show_status(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Say what the database lacks; exit code 3 when it lacks anything.

    Changes nothing, so it can run beside a server.

    For instance:

        rustygpt db status && echo "up to date"
        DATABASE_URL=postgres://chat:…@db/chat rustygpt db status --json
    """
    from rustygpt.cli.connection import database_server, explained, quiet_logging, require_private_database
    from rustygpt.database.migrate import status

    settings = read_settings(config, data_dir=data_dir)
    quiet_logging(settings.logging)
    require_private_database(settings)
    with database_server(settings) as dsn, explained(settings, dsn):
        found = asyncio.run(status(dsn, connect_seconds=settings.database.connect_timeout_seconds))
    lacks = dataclasses.asdict(found)
    if as_json:
        typer.echo(json.dumps({"is_current": found.is_current, **lacks}, indent=2))
    elif found.is_current:
        typer.echo("The database is up to date.")
    else:
        for kind, paths in lacks.items():
            for path in [paths] if isinstance(paths, str) else paths or ():
                typer.echo(f"{kind.replace('_', ' ').removesuffix('s')}: {path}")
    if not found.is_current:
        if as_json:
            raise typer.Exit(ExitCode.DATABASE)
        remedy = (
            "Run `rustygpt db migrate`." if is_mendable(lacks) else "Install the version of RustyGPT that made this database."
        )
        raise CommandError("the database's schema is not the one of this version", remedy, ExitCode.DATABASE)


@app.command("migrate")
def migrate(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Bring the database up to this version. `serve` does the same at its start.

    Several may run at once: one does the work, the others wait for it.

    For instance:

        DATABASE_URL=postgres://owner:…@db/chat rustygpt db migrate
    """
    from rustygpt.cli.connection import database_server, explained, quiet_logging
    from rustygpt.database import migrate as ledger

    settings = read_settings(config, data_dir=data_dir)
    quiet_logging(settings.logging)
    with database_server(settings) as dsn, explained(settings, dsn):
        report = asyncio.run(ledger.migrate(dsn, connect_seconds=settings.database.connect_timeout_seconds))
    for script in report.applied:
        typer.echo(f"applied {script.path}")
    scripts = f"{len(report.applied)} script{'' if len(report.applied) == 1 else 's'}"
    typer.echo(f"The database is up to date ({scripts} applied in {report.seconds:.1f} s).")


@app.command("new-epoch")
def begin_epoch(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Tell every reader that history is another one, after a backup was restored.

    A server that runs finds out by itself, and so does one that starts on another cluster or timeline. This is for a
    backup that was restored into the same cluster while no server ran. Readers are told to fetch anew; nothing is lost.

    For instance:

        pg_restore --clean --dbname=chat backup.dump && rustygpt db new-epoch
    """
    from rustygpt.cli.connection import database_server, explained, quiet_logging, require_private_database
    from rustygpt.database import migrate as ledger

    settings = read_settings(config, data_dir=data_dir)
    quiet_logging(settings.logging)
    require_private_database(settings)
    with database_server(settings) as dsn, explained(settings, dsn):
        begun = asyncio.run(ledger.begin_epoch(dsn, connect_seconds=settings.database.connect_timeout_seconds))
    typer.echo(f"Epoch {begun} has begun.")


def is_mendable(lacks: dict[str, object]) -> bool:
    """Say whether migrating would help: it never goes back and never changes what was applied."""
    return not (lacks.get("changed_migrations") or lacks.get("unknown_migrations") or lacks.get("newer_version"))
