"""Shared pages: one read for all who ask, kept for a moment, bounded, and never a dead end."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from uuid import UUID

import pytest

from rustygpt.errors import Unavailable
from rustygpt.streaming.pages import Page, Pages
from tests.streaming.logged import frame

KEY = (UUID(int=1), 0)


class Reads:
    """Counts what is read; each read waits for `go_on`."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        self.go_on = asyncio.Event()
        self.page = page

    async def __call__(self) -> Page:
        self.count += 1
        async with asyncio.timeout(20):
            await self.go_on.wait()
        return self.page


def reading(page: Page) -> Callable[[], Awaitable[Page]]:
    """A read that answers at once."""

    async def read() -> Page:
        return page

    return read


async def test_readers_at_the_same_time_and_soon_after_share_one_read() -> None:
    """Whoever asks while a page is read waits for it; whoever asks a moment later gets it at once."""
    pages, reads = Pages(), Reads(Page([frame(1)], 1))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pages.get(KEY, reads)) for _ in range(3)]
        reads.go_on.set()
    assert {id(task.result()) for task in tasks} == {id(reads.page)}
    assert await pages.get(KEY, reads) is reads.page
    assert reads.count == 1


async def test_reader_that_goes_away_leaves_the_read_to_others() -> None:
    """When the first reader is cancelled another reads for itself; a failure is told to all and not kept."""
    pages, reads = Pages(), Reads(Page([frame(1)], 1))
    first = asyncio.get_running_loop().create_task(pages.get(KEY, reads))
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        second = group.create_task(pages.get(KEY, reads))
        await asyncio.sleep(0)
        first.cancel()
        reads.go_on.set()
    assert second.result() is reads.page
    assert reads.count == 2

    async def fail() -> Page:
        raise Unavailable

    other = (UUID(int=2), 0)
    with pytest.raises(Unavailable):
        await pages.get(other, fail)
    assert await pages.get(other, reading(reads.page)) is reads.page


async def test_kept_pages_are_bounded_in_bytes_and_time() -> None:
    """The oldest goes when the bytes are too many; all go when their time is over, or history is another."""
    size = len(frame(1).data)
    pages, page, newer = Pages(max_bytes=2 * size), Page([frame(1)], 1), Page([frame(1)], 1)
    keys = [(UUID(int=number), 0) for number in range(3)]
    for key in keys:
        await pages.get(key, reading(page))
    assert [await pages.get(key, reading(newer)) is page for key in (keys[1], keys[2], keys[0])] == [True, True, False]
    pages.clear()
    assert await pages.get(keys[1], reading(newer)) is newer
    short = Pages(max_seconds=-1)
    await short.get(KEY, reading(page))
    short.forget_old()
    assert await short.get(KEY, reading(newer)) is newer


async def test_page_stays_while_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm that lasts longer than a page is kept costs no second read; the page goes when the storm is over."""
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr("rustygpt.streaming.pages.time", SimpleNamespace(monotonic=lambda: now.at))
    pages, page, newer = Pages(max_seconds=5), Page([frame(1)], 1), Page([frame(1)], 1)
    await pages.get(KEY, reading(page))
    for now.at in (4.0, 8.0, 12.0):
        pages.forget_old()
        assert await pages.get(KEY, reading(newer)) is page
    now.at = 18.0
    pages.forget_old()
    assert await pages.get(KEY, reading(newer)) is newer


async def test_rest_of_a_page_is_taken_from_it() -> None:
    """Who is in the middle of a kept page gets what is left of it; who is at its end, or before it, reads."""
    frames = [frame(position) for position in (2, 4, 6)]
    pages, reads = Pages(), Reads(Page([], 9))
    reads.go_on.set()
    await pages.get((KEY[0], 1), reading(Page(frames, 7)))
    for after, left in ((1, frames), (2, frames[1:]), (3, frames[1:]), (6, [])):
        page = await pages.get((KEY[0], after), reads)
        assert (page.frames, page.upto) == (left, 7)
    assert reads.count == 0
    assert (await pages.get((KEY[0], 7), reads)).upto == 9
    await pages.get((KEY[0], 0), reads)
    assert reads.count == 2


async def test_page_that_leads_nowhere_is_read_again() -> None:
    """A page that ends where it began says only that there was nothing yet: a reader given it again would turn on the spot."""
    pages, reads = Pages(), Reads(Page([], 0))
    reads.go_on.set()
    for _ in range(2):
        await pages.get(KEY, reads)
    assert reads.count == 2


async def test_page_that_was_being_read_when_all_were_cleared_is_not_kept() -> None:
    """It goes to who waits for it; who asks from then on reads anew, also while the old read is still under way."""
    pages, reads, newer = Pages(), Reads(Page([frame(1)], 1)), Page([frame(1)], 1)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(pages.get(KEY, reads))
        await asyncio.sleep(0)
        pages.clear()
        assert await pages.get(KEY, reading(newer)) is newer
        reads.go_on.set()
    assert waiting.result() is reads.page
    assert await pages.get(KEY, reads) is newer
