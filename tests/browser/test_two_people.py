"""The promise, seen from two pages: one conversation, one answer that grows on both, and a server that may die in the middle."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.browser.visitor import Visitor
from tests.server_process import ServerProcess
from tests.site import Site
from tests.story_model import SLOW, story_text, story_tokens, write_story_model

TOKENS = story_tokens(6_000)
LAYERS = 4
"""Slow layers cost time and change no word: the model must still be talking when the server is killed."""
MARK = "window.isStillThisPage = true"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process with embedded PostgreSQL and a real GGUF model that tells a known story."""
    data_dir = tmp_path / "data"
    (data_dir / "models").mkdir(parents=True)
    write_story_model(data_dir / "models" / "story.gguf", tokens=TOKENS, layers=LAYERS, feed_forward=SLOW)
    process = ServerProcess(data_dir, environment={"CONTEXT_SIZE": "16384"})
    await process.start()
    yield process
    await process.stop()


@pytest.fixture
async def demo_server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server process whose only model is the demo."""
    (tmp_path / "data").mkdir()
    process = ServerProcess(tmp_path / "data")
    await process.start()
    yield process
    await process.stop()


async def _meet(ada: Visitor, bob: Visitor, title: str) -> None:
    """Bring two people into one conversation, both looking at it."""
    await ada.set_up("Ada")
    await bob.page.reload()
    await bob.register("Bob")
    await ada.start("Welcome, Bob.", title=title, people="bob@example.org")
    await bob.open(title)
    await expect(bob.messages.first).to_contain_text("Welcome, Bob.")


async def test_kill_in_the_middle_of_an_answer_loses_nothing(server: ServerProcess, arrive: Arrive) -> None:
    """Both pages see a real model's answer grow; after kill -9 and a restart both end with the stored text, without a reload."""
    ada, bob = await arrive(server.url), await arrive(server.url, color_scheme="dark")
    await _meet(ada, bob, "Story")
    for visitor in (ada, bob):
        await visitor.page.evaluate(MARK)
    await ada.say("@assistant Tell me a story.")
    for visitor in (ada, bob):
        lengths = [len(await visitor.text_grows_past(length)) for length in (50, 200, 400)]
        assert lengths == sorted(lengths)
        assert story_text(TOKENS).startswith(await visitor.text_of_answer())
    await ada.screenshot("two-people-ada")
    await bob.screenshot("two-people-bob")
    await server.kill()
    for visitor in (ada, bob):
        await expect(visitor.page.get_by_text("Reconnecting")).to_be_visible()
    seen = [await visitor.text_of_answer() for visitor in (ada, bob)]

    await server.start()
    for visitor in (ada, bob):
        await expect(visitor.answer_is("interrupted")).to_contain_text("Interrupted.")
        await expect(visitor.page.get_by_text("Reconnecting")).to_have_count(0)
    conversation = ada.page.url.rsplit("/", 1)[-1]
    stored = (await (await ada.context.request.get(f"{server.url}/api/conversations/{conversation}/messages")).json())["items"][0]
    assert stored["status"] == "interrupted"
    for visitor, before in zip((ada, bob), seen, strict=True):
        text = await visitor.text_of_answer()
        assert text == stored["content"].strip()
        assert text.startswith(before), "something that was shown has gone"
    await bob.screenshot("two-people-bob-after-the-kill")

    await bob.say("@demo count to 50")
    for visitor in (ada, bob):
        await expect(visitor.answer_is("complete")).to_contain_text("49 50")
        assert await visitor.page.evaluate("window.isStillThisPage") is True


async def test_message_written_while_the_server_is_away_is_posted_once(demo_server: ServerProcess, arrive: Arrive) -> None:
    """It says that it is not sent yet, goes by itself once the server is back, and is there once, not twice."""
    ada = await arrive(demo_server.url)
    await ada.set_up("Ada")
    await ada.start("Please count to 3")
    await expect(ada.answer_is("complete")).to_be_visible()
    await demo_server.kill()
    await ada.say("Are you there?")
    await expect(ada.page.get_by_text("Not sent yet")).to_be_visible()
    await demo_server.start()
    await expect(ada.page.get_by_text("Not sent yet")).to_have_count(0)
    await expect(ada.messages.filter(has_text="Are you there?")).to_have_count(1)
    await ada.page.reload()
    await expect(ada.messages.filter(has_text="Are you there?")).to_have_count(1)


async def test_reload_in_the_middle_of_an_answer(slow_site: Site, arrive: Arrive) -> None:
    """The page that is loaded anew shows what was there and goes on, to the whole answer and nothing twice."""
    ada = await arrive(slow_site.url)
    await ada.set_up("Ada")
    await ada.start("Please count to 150")
    await ada.text_grows_past(60)
    await ada.page.reload()
    await expect(ada.answer_is("complete")).to_be_visible()
    assert await ada.text_of_answer() == " ".join(str(number) for number in range(1, 151))


async def test_stop_ends_the_answer_on_both_pages(slow_site: Site, arrive: Arrive) -> None:
    """One person stops it; both see where it ended, and the text stays."""
    ada, bob = await arrive(slow_site.url), await arrive(slow_site.url)
    await _meet(ada, bob, "Counting")
    await ada.say("@assistant count to 5000")
    await bob.text_grows_past(40)
    await bob.page.get_by_role("button", name="Stop the answer").last.click()
    for visitor in (ada, bob):
        await expect(visitor.answer_is("cancelled")).to_contain_text("Stopped.")
    texts = [await visitor.text_of_answer() for visitor in (ada, bob)]
    assert texts[0] == texts[1]
    assert texts[0].startswith("1 2 3 4 5 6 7 8 9 10 ")


async def test_member_comes_and_goes(site: Site, arrive: Arrive) -> None:
    """Who is added sees the conversation at once; who is removed loses it at once; both without a reload."""
    ada, bob = await arrive(site.url), await arrive(site.url)
    await ada.set_up("Ada")
    await bob.page.reload()
    await bob.register("Bob")
    await ada.start("Some private thoughts.", title="Thoughts")
    await ada.show_details()
    details = ada.page.get_by_role("complementary")
    await details.get_by_label("E-mail address").fill("nobody@example.org")
    await details.get_by_role("button", name="Add").click()
    await expect(details.get_by_role("alert").first).to_contain_text("Nobody here has this address")
    await details.get_by_label("E-mail address").fill("bob@example.org")
    await details.get_by_role("button", name="Add").click()
    await expect(details.get_by_role("listitem").filter(has_text="Bob")).to_be_visible()
    await expect(ada.page.get_by_text("Answers when addressed").first).to_be_visible()

    await bob.open("Thoughts")
    await expect(bob.messages.first).to_contain_text("Some private thoughts.")
    await bob.say("I am here.")
    await expect(ada.messages.last).to_contain_text("I am here.")

    await details.get_by_label("Role of Bob").select_option("viewer")
    await expect(bob.page.get_by_text("your role does not allow writing")).to_be_visible()
    await details.get_by_role("button", name="Remove Bob").click()
    await ada.page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(details.get_by_role("listitem").filter(has_text="Bob")).to_have_count(0)
    await expect(bob.page.get_by_text("does not exist, or you are not a member")).to_be_visible()
    await expect(bob.page.get_by_role("navigation").get_by_text("Thoughts")).to_have_count(0)


async def test_unread_messages_are_counted_and_read_by_looking(site: Site, arrive: Arrive) -> None:
    """A badge counts what came meanwhile; opening the conversation clears it, for good."""
    ada, bob = await arrive(site.url), await arrive(site.url)
    await _meet(ada, bob, "Letters")
    await bob.page.get_by_role("link", name="New conversation").click()
    link = bob.page.get_by_role("navigation").get_by_role("link", name=re.compile("Letters"))
    await expect(link).not_to_contain_text("unread")
    for text in ("One.", "Two."):
        await ada.say(text)
        await expect(ada.messages.last).to_contain_text(text)
    await expect(link).to_contain_text("2 unread messages")
    async with bob.page.expect_response(re.compile("/read$")):
        await link.click()
    await expect(link).not_to_contain_text("unread")
    await bob.page.reload()
    await expect(bob.messages.last).to_contain_text("Two.")
    await expect(link).not_to_contain_text("unread")
