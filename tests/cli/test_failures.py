"""Every failure is one clear line with a remedy and an exit code; a traceback only for who asks."""

import socket
from pathlib import Path

import pytest

from rustygpt.cli.failure import ExitCode, wants_traceback
from tests.cli.command import rustygpt

NOBODY_LISTENS = "postgres://chat:s3cret-pw@127.0.0.1:1/chat"


@pytest.mark.parametrize(
    ("arguments", "extra", "code", "said"),
    [
        (["serve", "--port", "abc"], {}, ExitCode.USAGE, "--port"),
        (["serve", "--prot", "1"], {}, ExitCode.USAGE, "--prot"),
        (["dance"], {}, ExitCode.USAGE, "dance"),
        (["config", "show", "--config", "nothing.toml"], {}, ExitCode.USAGE, "nothing.toml: there is no such"),
        (["config", "show"], {"PORT": "99999"}, ExitCode.USAGE, "server.port: must be a whole number between 0 and 65535"),
        (["serve"], {"RUSTYGPT__SSE__FLUSH": "1"}, ExitCode.USAGE, "did you mean sse.flush_ms?"),
        (["serve", "--host", "no-such-host.invalid"], {}, ExitCode.FAILURE, "has no address"),
        (["serve", "--host", "192.0.2.1"], {}, ExitCode.FAILURE, "no address of this machine"),
        (["db", "status"], {"DATABASE_URL": NOBODY_LISTENS}, ExitCode.DATABASE, "127.0.0.1:1/chat cannot be reached"),
        (["db", "migrate"], {"DATABASE_URL": NOBODY_LISTENS}, ExitCode.DATABASE, "127.0.0.1:1/chat cannot be reached"),
        (["db", "status"], {}, ExitCode.DATABASE, "there is no database in"),
        (["users", "create", "--email", "ada"], {}, ExitCode.USAGE, "--email must be an e-mail address"),
        (["users", "create", "--email", "ada@example.org", "--name", " "], {}, ExitCode.USAGE, "--name must have 1 to 80"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_failure_is_one_line_with_its_code(
    tmp_path: Path, arguments: list[str], extra: dict[str, str], code: ExitCode, said: str
) -> None:
    """The line names what to change; no traceback, no password, nothing on standard output."""
    run = rustygpt(*arguments, cwd=tmp_path, extra={"RUSTYGPT_DATA_DIR": str(tmp_path / "data"), **extra})
    assert (run.returncode, run.stdout) == (code, "")
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert "s3cret-pw" not in run.stderr


def test_taken_port_says_which(tmp_path: Path) -> None:
    """A second server on the port is refused before it starts a database."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        run = rustygpt("serve", "--port", port, "--data-dir", str(tmp_path / "data"), cwd=tmp_path)
    assert run.returncode == ExitCode.FAILURE
    assert f"port {port} on 127.0.0.1 is taken" in run.stderr
    assert not (tmp_path / "data").exists()


def test_traceback_appears_on_request(tmp_path: Path) -> None:
    """`--debug` shows where it happened, besides the line."""
    run = rustygpt("--debug", "config", "show", cwd=tmp_path, extra={"PORT": "x"})
    assert "Traceback" in run.stderr
    assert run.stderr.rstrip().splitlines()[-2].startswith("error: server.port")
    assert run.returncode == ExitCode.USAGE


@pytest.mark.parametrize(
    ("arguments", "environ", "wanted"),
    [
        (["serve"], {}, False),
        (["serve", "--log-level", "info"], {"LOG_LEVEL": "warning"}, False),
        (["--debug", "serve"], {}, True),
        (["serve", "--log-level", "debug"], {}, True),
        (["serve", "--log-level=DEBUG"], {}, True),
        (["serve"], {"LOG_LEVEL": "debug"}, True),
        (["serve"], {"RUSTYGPT__LOGGING__LEVEL": "debug"}, True),
    ],
)
def test_debugging_is_asked_for_in_several_ways(arguments: list[str], environ: dict[str, str], wanted: bool) -> None:
    """--debug, --log-level debug and LOG_LEVEL=debug all mean: show me everything."""
    assert wants_traceback(arguments, environ) is wanted
