"""`rustygpt models`: the model library from the command line, beside a running server or without one.

A pull is a job in the database. A server that runs does it, and this command shows how far it is; where none runs, the command does it
itself. Either way it goes on where it was when it is asked for again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from uuid import UUID

import typer

from rustygpt.cli.failure import CommandError, ExitCode
from rustygpt.cli.options import AsJson, ConfigFile, DataDir, read_settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from rustygpt.database.pool import Database
    from rustygpt.models.assembly import ModelLibrary
    from rustygpt.settings import Settings

LOOK_SECONDS: Final = 0.5

Found = TypeVar("Found")

app = typer.Typer(help="List models, pull them and remove them.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What a command works with. `is_served`: a server runs on this database."""

    database: "Database"
    library: "ModelLibrary"
    is_served: bool


@app.callback()
def _group() -> None:
    pass


@app.command("list")
def list_all(config: ConfigFile = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the models that can be asked, and where they come from.

    For instance:

        rustygpt models list
        rustygpt models list --json | jq -r '.items[].id'
    """
    listed = _with_library(config, data_dir, lambda bench: bench.library.library.list(is_for_administrator=True))
    if as_json:
        from rustygpt.http.response import encode_json

        typer.echo(encode_json(listed).decode())
        return
    for item in (*listed["items"], *listed["others"]):
        size = _size(item["size_bytes"]) if item["size_bytes"] else "-"
        mark = "*" if item["is_default"] else " "
        typer.echo(
            f"{mark} {item['id']:40}  {item['provider']:12}  {size:>9}  {item['parameters'] or '-':>7}  {item['source'] or ''}".rstrip()
        )
    typer.echo(listed["notice"], err=True)


@app.command("pull")
def pull(
    source: Annotated[str, typer.Argument(help="A name of Ollama's library, an http(s) address, or hf:org/repo/file.gguf.")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What to call a file.", show_default=False)] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="What a file must have.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Pull a model, or go on with a pull that was interrupted.

    For instance:

        rustygpt models pull llama3.2
        rustygpt models pull hf:bartowski/Llama-3.2-1B-Instruct-GGUF/Llama-3.2-1B-Instruct-Q4_K_M.gguf
    """
    job = _with_library(config, data_dir, lambda bench: _pull(bench, source, name, sha256, is_shown=not as_json))
    if as_json:
        typer.echo(json.dumps(job))
    elif job["state"] == "done":
        typer.echo(f"Pulled {job['model']} ({_size(job['bytes_done'])}).")
    if job["state"] != "done":
        raise CommandError(
            job["message"], f"The code is {job['code']}; docs/reference/errors.md explains it." if job["code"] else ""
        )


@app.command("rm")
def remove(
    model: Annotated[str, typer.Argument(help="The model's id, or provider/id.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Delete a model, unless it is writing a reply.

    For instance:

        rustygpt models rm story
    """
    _with_library(config, data_dir, lambda bench: bench.library.library.delete(model, actor=None))
    typer.echo(f"Deleted {model}.")


def _with_library(config: ConfigFile, data_dir: DataDir, work: Callable[[_Bench], Awaitable[Found]]) -> Found:
    from rustygpt.cli.connection import database_server, quiet_logging, require_private_database
    from rustygpt.errors import Invalid

    settings = read_settings(config, data_dir=data_dir)
    quiet_logging(settings.logging)
    require_private_database(settings)

    async def run(dsn: str) -> Found:
        async with _bench(settings, dsn) as bench:
            return await work(bench)

    with database_server(settings) as dsn:
        try:
            return asyncio.run(run(dsn))
        except Invalid as error:
            said = "; ".join(f"{each.field} {each.message}" for each in error.errors) or error.detail
            raise CommandError(said, code=ExitCode.USAGE) from None


@asynccontextmanager
async def _bench(settings: "Settings", dsn: str) -> AsyncIterator[_Bench]:
    from rustygpt.assistant.configured import build_catalogue
    from rustygpt.cli.connection import open_database
    from rustygpt.database.process_lock import is_database_served
    from rustygpt.model_shelf import CatalogueShelf
    from rustygpt.models.assembly import ModelLibrary
    from rustygpt.streaming.bus.inprocess import InProcessBus

    async with open_database(settings, dsn) as database:
        is_served = await is_database_served(database)
        catalogue = build_catalogue(settings.assistant, settings.data_dir, settings.models.folder_in(settings.data_dir))
        try:
            await catalogue.open()
            # Nobody listens to this bus: a running server looks for changes by itself.
            library = ModelLibrary(
                database,
                CatalogueShelf(catalogue),
                settings.models,
                InProcessBus(),
                data_dir=settings.data_dir,
                is_alone=not is_served,
            )
            yield _Bench(database, library, is_served)
        finally:
            await catalogue.close()


async def _pull(bench: _Bench, source: str, name: str | None, sha256: str | None, *, is_shown: bool) -> dict[str, Any]:
    """Have a model pulled and return the job when it is over."""
    job = await bench.library.orders.place(source, name=name, sha256=sha256, actor=None)
    async with asyncio.TaskGroup() as group:
        running = None if bench.is_served else group.create_task(_run(bench, UUID(job["id"])))
        try:
            return await _watch(bench, job, is_shown=is_shown)
        finally:
            if running is not None:
                running.cancel()


async def _run(bench: _Bench, job: UUID) -> None:
    """Do the job here, as soon as nobody else does: another command, or a server that was killed, until its lease has run out."""
    while not await bench.library.runner.run_one(job):  # noqa: ASYNC110 - nobody signals that a lease has run out
        await asyncio.sleep(LOOK_SECONDS)


async def _watch(bench: _Bench, job: dict[str, Any], *, is_shown: bool) -> dict[str, Any]:
    """Show how far a job is until it is over."""
    from rustygpt.models.procedures import get_model_job_for_operator

    with _bar(is_shown=is_shown) as bar:
        task = bar.add_task(job["model"], total=None, message="")
        while job["state"] in ("queued", "running"):
            message = "" if job["message"] == "Downloads." else job["message"]
            bar.update(task, completed=job["bytes_done"], total=job["bytes_total"], message=message)
            await asyncio.sleep(LOOK_SECONDS)
            job = await get_model_job_for_operator(bench.database, job=UUID(job["id"]))
        bar.update(task, completed=job["bytes_done"], total=job["bytes_total"], message="")
    return job


def _bar(*, is_shown: bool) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(
        *columns,
        TimeRemainingColumn(),
        TextColumn("{task.fields[message]}", markup=False),
        console=Console(stderr=True),
        disable=not is_shown,
    )


def _size(count: int) -> str:
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
