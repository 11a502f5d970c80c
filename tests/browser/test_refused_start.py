"""A first message that does not get through: no try leaves another empty conversation behind."""

from pathlib import Path

from playwright.async_api import Locator, Page, Route, expect

from tests.browser.conftest import Arrive
from tests.site import Site, serving, settings_for


def _listed(page: Page) -> Locator:
    return page.get_by_role("navigation").get_by_role("listitem")


async def test_quota_that_is_used_up_leaves_no_empty_conversation(dsn: str, data_dir: Path, arrive: Arrive) -> None:
    """However often one tries, there is one; and none once one goes elsewhere. The words stay."""
    async with serving(settings_for(data_dir, limits={"quota_generations": 1}), dsn) as site:
        ada = await arrive(site.url)
        page = ada.page
        await ada.set_up("Ada")
        await ada.start("The only one")
        await expect(ada.answer_is("complete")).to_be_visible()
        await page.get_by_role("link", name="New conversation").click()
        for words in ("One more", "One more", "Another"):
            await ada.composer.fill(words)
            async with page.expect_response(lambda answer: answer.url.endswith("/messages")) as refused:
                await ada.composer.press("Enter")
            assert (await refused.value).status == 429
            await expect(page.get_by_role("alert").get_by_text("quota")).to_be_visible()
            await expect(page.get_by_role("button", name="Send")).to_be_enabled()
        await expect(_listed(page).filter(has_text="Another")).to_have_count(1)
        await expect(_listed(page)).to_have_count(2)
        assert await ada.violations() == []
        await page.get_by_role("link", name="Settings").click()
        await expect(_listed(page)).to_have_count(1)
        await page.get_by_role("link", name="New conversation").click()
        await expect(ada.composer).to_have_value("Another")


async def test_message_whose_answer_was_lost_is_posted_once(site: Site, arrive: Arrive) -> None:
    """The next try finds the conversation and the message that the server has already."""
    ada = await arrive(site.url)
    page = ada.page
    await ada.set_up("Ada")
    posted = "**/api/conversations/*/messages"

    async def lose(route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        await route.fetch()
        await route.abort()

    await page.route(posted, lose)
    await ada.composer.fill("Only once")
    await ada.composer.press("Enter")
    await expect(page.get_by_role("alert").get_by_text("did not answer")).to_be_visible()
    await page.unroute(posted)
    await ada.composer.press("Enter")
    await expect(ada.messages.first).to_contain_text("Only once")
    await expect(ada.answer_is("complete")).to_be_visible()
    await expect(ada.messages).to_have_count(2)
    await expect(_listed(page)).to_have_count(1)
