"""Where models are kept, and who is told."""

import asyncio

from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site


async def test_administrators_are_told_where_the_folder_is(site: Site, ada: Person, bob: Person) -> None:
    """The folder is there from the start, and the notice for administrators names it; others are told no path."""
    folder = site.settings.data_dir / "models"
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not folder.is_dir():  # noqa: ASYNC110 - the disk tells nobody
            await asyncio.sleep(0.01)
    notices = [(await person.get("/api/models")).json()["notice"] for person in (ada, bob)]
    assert [str(folder) in notice for notice in notices] == [True, False]
