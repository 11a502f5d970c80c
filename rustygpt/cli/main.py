"""The command `rustygpt`: what it can do, and the one place where errors become a line and an exit code.

Commands import what they need when they run, so that `--help` answers at once.
"""

import os
import sys
from typing import Annotated

import typer

from rustygpt import __version__
from rustygpt.cli import config, database, models, openapi, serve, users
from rustygpt.cli.failure import DEBUG_FLAG, exit_with, report, wants_traceback

HELP = """People and AI models in the same conversations, on your own machine.

Start here:

    rustygpt serve

It needs nothing else: it runs a private PostgreSQL in your data folder and prints the address of the page, which creates
the first administrator.
"""

EPILOG = """Settings come from flags, `RUSTYGPT__SECTION__KEY`, names such as `DATABASE_URL`, and config.toml, in this order.

Exit codes: 0 all is well, 1 it failed, 2 wrong option or setting, 3 the database cannot be used, 130 interrupted.
"""

app = typer.Typer(
    name="rustygpt",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
app.command("serve")(serve.serve)
app.add_typer(config.app, name="config")
app.add_typer(database.app, name="db")
app.add_typer(users.app, name="users")
app.add_typer(models.app, name="models")
app.command("openapi")(openapi.openapi)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"rustygpt {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG_FLAG, help="Show a traceback when something fails.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line, then end the process."""
    try:
        app()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: nobody above could report it
        exit_with(report(error, is_debug=wants_traceback(sys.argv[1:], os.environ)))
