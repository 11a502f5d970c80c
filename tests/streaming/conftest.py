"""A site whose database has gates."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import rustygpt.app
from tests.person import Person
from tests.site import Site, serving, settings_for
from tests.streaming.gated_database import GatedDatabase


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> list[GatedDatabase]:
    """The databases that applications of this test open: real ones, with gates."""
    made: list[GatedDatabase] = []

    class Recorded(GatedDatabase):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(rustygpt.app, "Database", Recorded)
    return made


@pytest.fixture
async def gated_site(gates: list[GatedDatabase], dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """A site with small rings, quick heartbeats and a quick look at the log's end."""
    sse = {"ring_events": 4, "heartbeat_seconds": 0.2, "heal_seconds": 0.2, "session_poll_seconds": 0.2}
    async with serving(settings_for(data_dir, sse=sse), dsn) as served:
        yield served


@pytest.fixture
def gate(gates: list[GatedDatabase], gated_site: Site) -> GatedDatabase:
    """The gated site's database."""
    return gates[0]


@pytest.fixture
async def carol(gated_site: Site) -> AsyncIterator[Person]:
    """The administrator of the gated site."""
    async with Person(gated_site.url) as person:
        yield await person.set_up("Carol")


@pytest.fixture
async def dave(gated_site: Site, carol: Person) -> AsyncIterator[Person]:
    """A second user of the gated site."""
    async with Person(gated_site.url) as person:
        yield await person.register("Dave")
