"""`rustygpt users`: accounts from the command line. A password comes from a hidden prompt or standard input, never from an argument.

Who may run this may do everything; still the last active administrator stays, as over HTTP.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.cli.options import AsJson, ConfigFile, DataDir, read_settings

if TYPE_CHECKING:
    from rustygpt.auth.models import User
    from rustygpt.auth.users import ChangedUser
    from rustygpt.database.pool import Database
    from rustygpt.settings import Settings

Email = Annotated[str, typer.Option("--email", metavar="ADDRESS", help="What the person signs in with.")]
Found = TypeVar("Found")

app = typer.Typer(help="Make accounts, list them, change their role and status.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("create")
def create(
    email: Email,
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


@app.command("list")
def list_all(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all accounts, the oldest first.

    For instance:

        rustygpt users list
        rustygpt users list --json | jq -r '.[] | select(.status == "pending") | .email'
    """
    from rustygpt.auth.users import list_users_for_operator

    users = _with_database(read_settings(config, data_dir=data_dir), list_users_for_operator)
    if as_json:
        typer.echo(json.dumps([_json(user) for user in users], indent=2, ensure_ascii=False))
    else:
        for user in users:
            typer.echo(f"{user.status:8}  {user.role:5}  {user.email}  {user.display_name}")


@app.command("set-role")
def set_role(
    email: Email,
    role: Annotated[Literal["admin", "user"], typer.Option("--role", help="What they are from now on.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make somebody an administrator, or no longer one. Their sessions get new tokens; the last administrator stays.

    For instance:

        rustygpt users set-role --email ada@example.org --role admin
    """
    _update(config, data_dir, email, role=role)


@app.command("set-status")
def set_status(
    email: Email,
    status: Annotated[Literal["active", "pending", "disabled"], typer.Option("--status", help="Whether they get in.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Let somebody in, or keep them out. Live streams of who is kept out end at once where processes share a bus, else within
    sse.session_poll_seconds.

    For instance:

        rustygpt users set-status --email ada@example.org --status active
    """
    _update(config, data_dir, email, status=status)


def _update(
    config: ConfigFile,
    data_dir: DataDir,
    email: str,
    *,
    role: 'Literal["admin", "user"] | None' = None,
    status: 'Literal["active", "pending", "disabled"] | None' = None,
) -> None:
    from rustygpt.auth.users import update_user_by_operator
    from rustygpt.cli.connection import announcing

    settings = read_settings(config, data_dir=data_dir)

    async def change(database: "Database") -> "ChangedUser":
        changed = await update_user_by_operator(database, email=email, role=role, status=status)
        async with announcing(settings, database) as announcer:
            for credential_id in changed.ended:
                announcer.signal("session_revoked", str(credential_id))
        return changed

    changed = _with_database(settings, change)
    account = changed.account
    verb = "Changed" if changed.is_changed else "Nothing to change for"
    typer.echo(f"{verb} {account['email']}: role {account['role']}, status {account['status']}.")


def _with_database(settings: "Settings", work: "Callable[[Database], Awaitable[Found]]") -> Found:
    from rustygpt.cli.connection import database_server, open_database, quiet_logging, require_private_database

    quiet_logging(settings.logging)
    require_private_database(settings)

    async def run(dsn: str) -> Found:
        async with open_database(settings, dsn) as database:
            return await work(database)

    with database_server(settings) as dsn:
        return asyncio.run(run(dsn))


def _json(user: "User") -> dict[str, str]:
    fields = ("id", "email", "display_name", "role", "status")
    return {name: str(getattr(user, name)) for name in fields}


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
                status="active",
                by_operator=True,
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
