"""Sites of accounts, each on a fresh database."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rustygpt.database.pool import Database
from tests.auth.site import ADMIN, Browser, Site

MakeSite = Callable[..., Site]


@pytest.fixture
async def make_site(database: Database) -> AsyncIterator[MakeSite]:
    """Make sites on one database; the keyword arguments are those of Site."""
    made: list[Site] = []

    def make(**options: Any) -> Site:
        site = Site(database, **options)
        site.passwords.open()
        made.append(site)
        return site

    yield make
    for site in made:
        await site.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site with default settings and open sign-up."""
    return make_site(auth={"signup": True})


@pytest.fixture
async def ada(site: Site) -> Browser:
    """The first administrator's browser, signed in."""
    browser = site.browser()
    answer = await browser.post("/api/setup", ADMIN)
    assert answer.status_code == 201, answer.text
    return browser
