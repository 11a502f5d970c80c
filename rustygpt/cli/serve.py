"""`rustygpt serve`: the socket, the database, the application, the server; ended in the reverse order, whatever happens."""

import math
import socket
import sys
from contextlib import nullcontext
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rustygpt.cli.failure import CommandError
from rustygpt.cli.options import ConfigFile, DataDir, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from rustygpt.app import Application
    from rustygpt.cli.process import Lifespan, Server
    from rustygpt.settings import Settings

STOP_MARGIN_SECONDS = 5
"""Beyond the drain and the models' grace: closing connections and pools."""


class LogLevel(StrEnum):
    """`logging.level`"""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """`logging.format`"""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="ADDRESS", help="Listen here; 0.0.0.0 is every interface. (default: 127.0.0.1)", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", "-p", metavar="PORT", help="Listen on this port; 0 takes a free one. (default: 8080)", show_default=False
        ),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", metavar="N", help="Serve the port with N processes. (default: 1)", show_default=False),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option("--log-level", help="How much to log. (default: info)", show_default=False)
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option("--log-format", help="How to log. (default: auto, text on a terminal)", show_default=False)
    ] = None,
) -> None:
    """Start RustyGPT: the page, the API and, without DATABASE_URL, a private PostgreSQL.

    Models are found by themselves: an Ollama on this machine, `OPENAI_API_BASE_URL` and `OPENAI_API_KEY`, GGUF files in
    the data folder. Until there is one, the model "demo" shows how everything works.

    Ctrl+C stops it: streams end in peace and answers get a while to finish. A second Ctrl+C does not wait.

    For instance:

        rustygpt serve
        rustygpt serve --host 0.0.0.0 --port 80 --data-dir /srv/rustygpt
        OPENAI_API_KEY=sk-… rustygpt serve
        rustygpt serve --workers 4
        DATABASE_URL=postgres://chat:…@db/chat rustygpt serve --log-format json
    """
    settings = read_settings(
        config,
        server__host=host,
        server__port=port,
        server__workers=workers,
        data_dir=data_dir,
        logging__level=log_level.value if log_level else None,
        logging__format=log_format.value if log_format else None,
    )
    run(settings)


def run(settings: "Settings") -> None:
    """Serve until a signal comes. Raises whatever ended it otherwise; on the main thread only."""
    from rustygpt.cli.connection import lasting_server
    from rustygpt.cli.listener import open_listener
    from rustygpt.observability.logging import configure_logging

    configure_logging(settings.logging)
    if settings.server.workers > 1:
        from rustygpt.cli.workers import serve_with_workers

        serve_with_workers(settings)
        return
    with (
        open_listener(settings.server.host, settings.server.port) as listener,
        lasting_server(settings) as (dsn, check_database),
    ):
        from rustygpt.app import create_app

        serve_application(settings, dsn, listener, create_app(settings, dsn), check_database)


def serve_application(
    settings: "Settings",
    dsn: str,
    listener: socket.socket,
    application: "Application",
    check_database: "Callable[[], None]" = lambda: None,
) -> None:
    from rustygpt.cli.process import Lifespan, Server

    bound_listener(settings, listener)
    lifespan = Lifespan(application.asgi)
    server = Server(
        server_config(settings, lifespan),
        begin_drain=application.begin_drain,
        on_ready=lambda: print_banner(settings, listener),
        drain_seconds=settings.sse.drain_seconds,
        check_database=check_database,
    )
    run_server(settings, dsn, server, lifespan, [listener])


def run_server(settings: "Settings", dsn: str, server: "Server", lifespan: "Lifespan", sockets: list[socket.socket]) -> None:
    """Run until its end. Raises what ended it unasked, SystemExit when a second signal did."""
    import asyncio

    from rustygpt.cli.connection import explained

    lifespan.on_end = server.end
    try:
        server.run(sockets=sockets)
    except (SystemExit, asyncio.CancelledError, KeyboardInterrupt):
        if server.forced_by is not None:
            raise SystemExit(128 + server.forced_by) from None
        if lifespan.error is None:
            raise
    if server.database_error is not None:
        raise CommandError(str(server.database_error)) from server.database_error
    if lifespan.error is not None:
        with nullcontext() if server.started else explained(settings, dsn):
            raise lifespan.error


def bound_listener(settings: "Settings", listener: socket.socket) -> None:
    from rustygpt.streaming.sockets import bound_buffers

    bound_buffers(listener, unacknowledged_seconds=settings.sse.send_timeout_seconds)


def longest_stop_seconds(settings: "Settings") -> float:
    """How long a process that was asked to end may take."""
    return settings.sse.drain_seconds + settings.assistant.shutdown_grace_seconds + STOP_MARGIN_SECONDS


def server_config(settings: "Settings", lifespan: "Lifespan") -> "uvicorn.Config":
    import uvicorn

    from rustygpt.cli.listener import BACKLOG
    from rustygpt.streaming.sockets import BoundedProtocol

    return uvicorn.Config(
        lifespan,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=BoundedProtocol,
        lifespan="on",
        log_config=None,
        log_level="warning",  # its own sentences about starting and stopping say nothing that our events do not
        access_log=False,  # the application writes one canonical line for each request
        proxy_headers=False,  # server.trusted_proxies decides, in the application
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=settings.server.keep_alive_seconds,
        timeout_graceful_shutdown=math.ceil(longest_stop_seconds(settings)),
    )


def print_banner(settings: "Settings", listener: socket.socket) -> None:
    """Say where the page is. The first line has one form for programs that start us; the rest is for people."""
    import structlog

    from rustygpt import __version__
    from rustygpt.cli.connection import place
    from rustygpt.cli.listener import url_of

    url = settings.server.public_url or url_of(listener)
    workers = {"workers": settings.server.workers} if settings.server.workers > 1 else {}
    structlog.get_logger(__name__).info("server_ready", url=url, version=__version__, **workers)
    typer.echo(f"RustyGPT {__version__} is ready on {url}")
    if sys.stdout.isatty():
        typer.echo("")
        typer.echo("  first time   open the page: it creates the first administrator")
        typer.echo(f"  database     {place(settings, settings.database.url.get_secret_value())}")
        typer.echo("  models       the log line `models_detected` says which, and how to change it")
        typer.echo("  stop         Ctrl+C")
        typer.echo("")
    sys.stdout.flush()
