"""How a command fails: one line on standard error with the remedy, and an exit code that a script can rely on.

A traceback appears only when it was asked for. The codes never change once released; docs/reference/cli.md lists them.
"""

import sys
import traceback
from collections.abc import Mapping, Sequence
from enum import IntEnum

import typer

DEBUG_FLAG = "--debug"


class ExitCode(IntEnum):
    """What the process answers to the shell."""

    OK = 0
    FAILURE = 1
    USAGE = 2  # what typer answers to a wrong option, too
    DATABASE = 3
    INTERRUPTED = 130  # 128 + SIGINT, as shells do


class CommandError(Exception):
    """Something that the operator can mend. *remedy* is a sentence that says how."""

    def __init__(self, message: str, remedy: str = "", code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.code = code


def report(error: BaseException, *, is_debug: bool) -> ExitCode:
    """Print what went wrong to standard error; return the exit code."""
    cause = _only_cause(error)
    if is_debug:
        traceback.print_exception(cause)
    message, remedy, code = explain(cause)
    first, *others = message.splitlines() or [type(cause).__name__]
    typer.secho("error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
    typer.echo("\n  ".join([first, *others]), err=True)
    if remedy:
        typer.echo(f"  {remedy}", err=True)
    return code


def wants_traceback(arguments: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Say whether tracebacks were asked for: by --debug, or by the log level debug from a flag or the environment."""
    words = " ".join(arguments).replace("--log-level=", "--log-level ").lower()
    levels = (environ.get("LOG_LEVEL", ""), environ.get("RUSTYGPT__LOGGING__LEVEL", ""))
    return DEBUG_FLAG in arguments or "--log-level debug" in words or "debug" in {level.lower() for level in levels}


def _only_cause(error: BaseException) -> BaseException:
    """Look into groups of one: a TaskGroup wraps the error that ended it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def explain(error: BaseException) -> tuple[str, str, ExitCode]:
    """Return what went wrong, the remedy (a sentence, or nothing) and the exit code. A group of one stands for its error."""
    error = _only_cause(error)
    # Imported here: these take a third of a second, and most commands end well.
    import asyncpg

    from rustygpt.database.embedded import EmbeddedPostgresError
    from rustygpt.database.migrate import SchemaError
    from rustygpt.database.process_lock import AnotherProcess
    from rustygpt.errors import DomainError, Unavailable
    from rustygpt.secret_key import SecretKeyError
    from rustygpt.settings import SettingsError

    match error:
        case CommandError():
            return str(error), error.remedy, error.code
        case SettingsError():
            return (
                _settings_lines(str(error)),
                "`rustygpt config show` prints every setting; config.toml explains them.",
                ExitCode.USAGE,
            )
        case EmbeddedPostgresError() | SchemaError() | AnotherProcess():
            return str(error), "", ExitCode.DATABASE
        case SecretKeyError():
            return str(error), "", ExitCode.FAILURE
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}", "", ExitCode.FAILURE
        case asyncpg.PostgresError() | asyncpg.InterfaceError() | Unavailable():
            return f"the database refused: {error}", "Check database.url (DATABASE_URL) and the server's log.", ExitCode.DATABASE
        case DomainError():
            return error.detail, "", ExitCode.FAILURE
        case KeyboardInterrupt():
            return "interrupted", "", ExitCode.INTERRUPTED
        case _:
            message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return message, f"This is unexpected; {DEBUG_FLAG} before the command shows where it happened.", ExitCode.FAILURE


def _settings_lines(message: str) -> str:
    return message if "\n" not in message else f"the configuration cannot be used\n{message}"


def exit_with(code: int) -> None:
    """End the process after flushing what was printed; a closed pipe is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()
    raise SystemExit(code)
