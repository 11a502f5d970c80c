"""`rustygpt users`: accounts from the command line. A password comes from a hidden prompt or standard input, never from an argument."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.cli.options import AsJson, ConfigFile, DataDir, read_settings

if TYPE_CHECKING:
    from rustygpt.auth.models import User
    from rustygpt.settings import Settings

app = typer.Typer(help="Make accounts.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("create")
def create(
    email: Annotated[str, typer.Option("--email", metavar="ADDRESS", help="What the person signs in with.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What others see. (default: the address before its @)", show_default=False),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Make an administrator; this also closes the set-up page.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input, one line, instead of asking.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an account, also while the server runs. The password is asked for twice.

    For instance:

        rustygpt users create --email ada@example.org --name "Ada Lovelace" --admin
        pass show chat | rustygpt users create --email ada@example.org --password-stdin
    """
    from rustygpt.cli.connection import database_server, quiet_logging, require_private_database

    settings = read_settings(config, data_dir=data_dir)
    quiet_logging(settings.logging)
    address, display_name = _checked(email, name)
    require_private_database(settings)
    password = _read_password(settings.auth.password_min_length, from_stdin=password_stdin)
    with database_server(settings) as dsn:
        user = asyncio.run(_create(settings, dsn, address, display_name, password, is_admin=admin))
    if as_json:
        typer.echo(json.dumps({"id": str(user.id), "email": user.email, "display_name": user.display_name, "role": user.role}))
    else:
        typer.echo(f"Made {'administrator' if user.role == 'admin' else 'user'} {user.email} ({user.id}).")


async def _create(settings: "Settings", dsn: str, email: str, name: str, password: str, *, is_admin: bool) -> "User":
    from rustygpt.auth.passwords import Passwords
    from rustygpt.auth.procedures import create_user
    from rustygpt.cli.connection import open_database

    passwords = Passwords(settings.auth)
    passwords.open()
    try:
        async with open_database(settings, dsn) as database:
            return await create_user(
                database,
                email=email,
                display_name=name,
                password_hash=await passwords.hash(password),
                role="admin" if is_admin else "user",
            )
    finally:
        passwords.close()


def _checked(email: str, name: str | None) -> tuple[str, str]:
    from rustygpt.auth.fields import check_display_name, check_email

    option = "--email"
    try:
        address = check_email(email)
        option = "--name"
        return address, check_display_name(address.partition("@")[0][:80] if name is None else name)
    except ValueError as error:
        raise CommandError(f"{option} {error}", code=ExitCode.USAGE) from None


def _read_password(min_length: int, *, from_stdin: bool) -> str:
    from rustygpt.auth.fields import check_password

    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = str(typer.prompt("Password", hide_input=True, confirmation_prompt="Again"))
    else:
        raise CommandError(
            "there is no terminal to ask for a password", "Add --password-stdin and send one line.", ExitCode.USAGE
        )
    try:
        return check_password(password, min_length)
    except ValueError as error:
        raise CommandError(f"the password {error}", code=ExitCode.USAGE) from None
