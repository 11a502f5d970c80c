"""The page that describes the API: readable, searchable, in both themes, and within the policy that all pages keep."""

from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import expect

from rustygpt.app import routes_of
from rustygpt.http.openapi import described
from tests.browser.conftest import Arrive
from tests.person import Person
from tests.site import Site, serving, settings_for

PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_operation_is_shown(site: Site, arrive: Arrive, theme: Literal["light", "dark"]) -> None:
    """A stranger sees every operation, looks into its answers, finds one by its words, and axe-core finds nothing wrong."""
    visitor = await arrive(f"{site.url}/docs#create_conversation", color_scheme=theme)
    page = visitor.page
    await expect(page.get_by_role("article")).to_have_count(len(described(routes_of(site.application))))
    shown = page.locator("#create_conversation")
    await expect(shown).to_be_in_viewport()
    await shown.get_by_text("201").click()
    await shown.get_by_text("422").click()
    await expect(shown.get_by_text("list of FieldProblem")).to_be_visible()
    await visitor.screenshot(f"docs-{theme}")
    found = await visitor.violations()
    await page.get_by_label("Search the operations").fill("GET stream_conversation")
    await expect(page.get_by_role("article")).to_have_count(1)
    await page.get_by_role("article").get_by_text("200").click()
    for name in ("StreamEvent", "MessageDone"):
        await page.get_by_role("article").locator("summary", has_text=name).click()
    await page.get_by_role("article").locator("summary", has_text="DoneMessage").click()
    await expect(page.get_by_role("article").get_by_text("finish_reason")).to_be_visible()
    found += await visitor.violations()
    await page.set_viewport_size(PHONE)
    await visitor.screenshot(f"docs-phone-{theme}")
    assert found + await visitor.violations() == []


async def test_docs_for_users_ask_strangers_to_sign_in(dsn: str, data_dir: Path, arrive: Arrive) -> None:
    """Where only users may read the description, the page says so, and shows it to whoever has signed in."""
    async with serving(settings_for(data_dir, features={"api_docs": "users"}), dsn) as site:
        visitor = await arrive(f"{site.url}/docs")
        await expect(visitor.page.get_by_role("alert")).to_have_text("Sign in first.")
        async with await Person(site.url).set_up("Ada") as ada:
            cookies = [{"name": name, "value": value, "url": site.url} for name, value in ada.client.cookies.items()]
            await visitor.context.add_cookies(cookies)  # type: ignore[arg-type]
            await visitor.page.reload()
            await expect(visitor.page.get_by_role("heading", name="Streams", level=2).last).to_be_visible()
