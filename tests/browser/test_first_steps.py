"""From a server nobody has used to a conversation, and in and out of it."""

import re

from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.site import Site


async def test_wizard_leads_from_nothing_to_a_first_answer(site: Site, arrive: Arrive) -> None:
    """Administrator, model and first message; then the demo's answer is there, and still there after a reload."""
    ada = await arrive(site.url)
    page = ada.page
    await expect(page.get_by_role("heading", name="Welcome to RustyGPT")).to_be_visible()
    await ada.fill_account("Ada")
    await page.get_by_role("button", name="Create administrator").click()
    await expect(page.get_by_role("heading", name="The model that will answer")).to_be_visible()
    await expect(page.get_by_text("Only the built-in demo answers")).to_be_visible()
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_label("First message").fill("Please count to 12")
    await page.get_by_role("button", name="Start the conversation").click()
    await expect(ada.answer_is("complete")).to_contain_text("1 2 3 4 5 6 7 8 9 10 11 12")
    await page.reload()
    await expect(ada.messages).to_have_count(2)
    await expect(ada.answer_is("complete")).to_contain_text("11 12")
    await expect(page.get_by_role("navigation")).to_contain_text("Please count to 12")


async def test_wizard_is_closed_once_there_is_an_administrator(site: Site, arrive: Arrive) -> None:
    """Who has the form open while another finishes is told so and can sign in."""
    ada, late = await arrive(site.url), await arrive(site.url)
    await ada.set_up("Ada")
    await late.fill_account("Eve")
    await late.page.get_by_role("button", name="Create administrator").click()
    await expect(late.page.get_by_role("heading", name="Welcome back")).to_be_visible()


async def test_sign_in_tells_what_is_wrong_and_works(site: Site, arrive: Arrive) -> None:
    """A wrong password is told in words, without saying which half was wrong; the right one opens the page; sign-out closes it."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await ada.page.get_by_role("button", name="Sign out").click()
    await ada.page.get_by_label("E-mail").fill("ada@example.org")
    await ada.page.get_by_label("Password", exact=True).fill("not the password")
    await ada.page.get_by_role("button", name="Sign in", exact=True).click()
    await expect(ada.page.get_by_role("alert")).to_contain_text("e-mail address or the password is wrong")
    await ada.sign_in("Ada")
    await expect(ada.page.get_by_role("heading", name="What is on your mind, Ada?")).to_be_visible()


async def test_everything_of_a_first_conversation_by_keyboard(site: Site, arrive: Arrive) -> None:
    """Sign in, write, answer a message and drop the answer again without a pointer."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await ada.page.get_by_role("button", name="Sign out").press("Enter")
    keyboard = ada.page.keyboard
    await expect(ada.page.get_by_label("E-mail")).to_be_focused()
    await keyboard.type("ada@example.org")
    await keyboard.press("Tab")
    await keyboard.type("correct horse battery")
    await keyboard.press("Enter")
    await expect(ada.composer).to_be_focused()
    await keyboard.type("Please count to 5")
    await keyboard.press("Enter")
    await expect(ada.answer_is("complete")).to_contain_text("1 2 3 4 5")
    await expect(ada.composer).to_be_focused()
    await ada.messages.first.get_by_role("button", name="Reply").press("Enter")
    await expect(ada.page.get_by_text("Replying to Ada")).to_be_visible()
    await expect(ada.composer).to_be_focused()
    await keyboard.press("Escape")
    await expect(ada.page.get_by_text("Replying to Ada")).to_have_count(0)


async def test_password_and_sessions(site: Site, arrive: Arrive) -> None:
    """Changing the password ends the other sessions, whose pages say so and keep what they show."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    other = await arrive(site.url)
    await other.sign_in("Ada")
    await other.start("Please count to 3")
    await ada.page.get_by_role("link", name=re.compile("Settings")).click()
    await expect(ada.page.get_by_role("listitem").filter(has_text="last seen")).to_have_count(2)
    await ada.page.get_by_label("Current password", exact=True).fill("correct horse battery")
    await ada.page.get_by_label("New password", exact=True).fill("another horse entirely")
    await ada.page.get_by_role("button", name="Change password").click()
    await expect(ada.page.get_by_text("The password was changed.")).to_be_visible()
    await expect(ada.page.get_by_role("listitem").filter(has_text="last seen")).to_have_count(1)
    await expect(other.page.get_by_text("You are signed out.")).to_be_visible()
    await expect(other.messages.first).to_contain_text("Please count to 3")
    await other.page.get_by_role("button", name="Sign in again").click()
    await expect(other.page.get_by_role("heading", name="Welcome back")).to_be_visible()


async def test_theme_is_chosen_and_kept(site: Site, arrive: Arrive) -> None:
    """Light and dark follow the system until one is chosen; the choice survives a reload, before the first paint."""
    ada = await arrive(site.url, color_scheme="dark")
    await ada.set_up("Ada")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = await ada.page.evaluate(paper)
    await ada.page.get_by_role("link", name=re.compile("Settings")).click()
    await ada.page.get_by_text("Light", exact=True).click()
    light = await ada.page.evaluate(paper)
    assert light != dark
    await ada.page.reload(wait_until="commit")
    await ada.page.wait_for_selector("html[data-theme=light]", state="attached")
    await expect(ada.page.get_by_role("radio", name="Light")).to_be_checked()
    assert await ada.page.evaluate(paper) == light


async def test_address_that_is_not_ours_to_see(site: Site, arrive: Arrive) -> None:
    """A conversation one is not in, and one that does not exist, look alike."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await ada.page.goto(f"{site.url}/c/01a1fe0f-b5ba-7ee0-81f5-4fa7ddca167a")
    await expect(ada.page.get_by_text("does not exist, or you are not a member")).to_be_visible()
    await ada.page.get_by_role("link", name="Back to the start").click()
    await expect(ada.page).to_have_url(re.compile(r"/$"))
