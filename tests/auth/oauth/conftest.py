"""Applications whose GitHub and Apple are on this machine, and people who go there."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.auth.oauth.provider import TinyProvider, tiny_provider
from tests.auth.oauth.traveller import Traveller
from tests.site import Site, serving, settings_for

NewTraveller = Callable[[], Traveller]
Owner = asyncpg.Connection


@pytest.fixture
async def provider() -> AsyncIterator[TinyProvider]:
    """GitHub and Apple in small."""
    async with tiny_provider() as tiny:
        yield tiny


@pytest.fixture
async def site(dsn: str, data_dir: Path, provider: TinyProvider) -> AsyncIterator[Site]:
    """The application with both providers and open sign-up."""
    async with serving(settings_for(data_dir, oauth=provider.settings()), dsn) as served:
        yield served


@pytest.fixture
async def site_without_providers(dsn: str, data_dir: Path) -> AsyncIterator[str]:
    """The address of an application that has passwords only."""
    async with serving(settings_for(data_dir, oauth={"manual_enabled": True}), dsn) as served:
        yield served.url


@pytest.fixture
async def traveller(site: Site, provider: TinyProvider) -> AsyncIterator[NewTraveller]:
    """Make people, each with a browser of their own."""
    made: list[Traveller] = []

    def make() -> Traveller:
        made.append(Traveller(site.url, provider))
        return made[-1]

    yield make
    for person in made:
        await person.close()


@pytest.fixture
async def ada(traveller: NewTraveller) -> Traveller:
    """The first administrator, with a password, signed in."""
    return await traveller().set_up("Ada")


async def rows(owner: Owner) -> dict[str, int]:
    """How many there are of what a sign-in makes."""
    return {
        table: await owner.fetchval(f"select count(*) from rustygpt.{table}") for table in ("users", "identities", "sessions")
    }
