"""Servers with several workers, ended after the test whatever happens."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.cli.many_workers import ManyWorkers

MakeWorkers = Callable[..., ManyWorkers]


@pytest.fixture
async def make_workers(dsn: str, tmp_path: Path) -> AsyncIterator[MakeWorkers]:
    """Make a server that is not started: `make_workers(SSE__DRAIN_SECONDS=5)`. On the test's database, unless `environment` says otherwise."""
    made: list[ManyWorkers] = []

    def make(*, environment: dict[str, str] | None = None, **settings: object) -> ManyWorkers:
        given = {f"RUSTYGPT__{key}": str(value) for key, value in settings.items()}
        made.append(ManyWorkers(tmp_path / str(len(made)), {"DATABASE_URL": dsn, **given, **(environment or {})}))
        return made[-1]

    yield make
    for server in made:
        await server.close()
