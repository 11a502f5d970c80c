"""The title that the page made of a message goes with that message; one that somebody chose stays."""

from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.browser.visitor import Visitor
from tests.site import Site


async def _press(visitor: Visitor, index: int, button: str) -> None:
    message = visitor.messages.nth(index)
    await message.hover()
    await message.get_by_role("button", name=button).click()


async def test_title_follows_the_message_it_was_made_of(site: Site, arrive: Arrive) -> None:
    """Editing changes it, deleting takes it away, restoring brings it back: in the heading and in the list."""
    ada = await arrive(site.url)
    page = ada.page
    await ada.set_up("Ada")
    await ada.start("My pasword is swordfish")
    await expect(ada.answer_is("complete")).to_be_visible()
    await _press(ada, 0, "Edit")
    field = ada.messages.first.get_by_role("textbox", name="Your message")
    await field.fill("My password is swordfish")
    await field.press("Enter")
    await expect(page.get_by_role("heading", name="My password is swordfish", level=1)).to_be_visible()
    await _press(ada, 0, "Delete")
    await expect(page.get_by_role("heading", name="Untitled conversation", level=1)).to_be_visible()
    await expect(page.get_by_role("navigation").get_by_text("swordfish")).to_have_count(0)
    await _press(ada, 0, "Restore")
    await expect(page.get_by_role("heading", name="My password is swordfish", level=1)).to_be_visible()


async def test_chosen_title_stays(site: Site, arrive: Arrive) -> None:
    """Deleting the first message does not touch it."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await ada.start("A secret", title="Plans")
    await expect(ada.answer_is("complete")).to_be_visible()
    await _press(ada, 0, "Delete")
    await expect(ada.messages.first).to_contain_text("This message was deleted.")
    await ada.page.reload()
    await expect(ada.page.get_by_role("heading", name="Plans", level=1)).to_be_visible()


async def test_deleted_reply_says_only_that(site: Site, arrive: Arrive) -> None:
    """And not also that the model answered with nothing: neither at once nor after a reload."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await ada.start("Hello")
    await expect(ada.answer_is("complete")).to_be_visible()
    await _press(ada, 1, "Delete")
    for _ in range(2):
        await expect(ada.answer).to_contain_text("This message was deleted.")
        await expect(ada.answer).not_to_contain_text("nothing")
        await ada.page.reload()
