"""Asking again, choosing among answers, editing, deleting and restoring: by mouse and keyboard, and for a screen reader."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Arrive
from tests.browser.visitor import Visitor
from tests.scripted_openai import Call, ScriptedOpenAI, scripted_openai
from tests.site import Site, serving, settings_for

NARROW = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    """Two models whose answers say how many there were before."""
    async with scripted_openai() as server:

        async def answer(call: Call) -> None:
            await call.answer(
                f"Answer {len(server.calls)} by {call.body['model']}.", {"prompt_tokens": 12, "completion_tokens": 6}
            )

        server.script = answer
        yield server


@pytest.fixture
async def site(dsn: str, data_dir: Path, upstream: ScriptedOpenAI) -> AsyncIterator[Site]:
    """The application with these models, whose context is small."""
    provider = {"kind": "openai", "name": "scripted", "base_url": upstream.base_url, "models": ("first", "second")}
    settings = settings_for(data_dir, assistant={"providers": (provider,), "context_tokens": 400})
    async with serving(settings, dsn) as served:
        yield served


async def ask_again(visitor: Visitor, model: str | None = None) -> None:
    """Ask for another answer beside the newest one."""
    await visitor.answer.hover()
    await visitor.answer.get_by_role("button", name="Ask for another answer").click()
    form = visitor.answer.get_by_role("form", name="Ask for another answer")
    await expect(form.get_by_role("button", name="Ask again")).to_be_focused()
    if model is not None:
        await form.get_by_label("Model").select_option(model)
        await form.get_by_role("button", name="Ask again").focus()
    await visitor.page.keyboard.press("Enter")


async def test_answers_to_one_question_are_switched(site: Site, arrive: Arrive) -> None:
    """Another answer takes the first one's place; the arrows lead back and forth, with what follows, and are told to a screen reader."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await ada.start("Which tree?")
    await expect(ada.answer).to_contain_text("Answer 1 by first.")
    await ada.say("Why that one?")
    await expect(ada.answer).to_contain_text("Answer 2 by first.")
    first = ada.messages.filter(has_text="Answer 1")
    await first.hover()
    await first.get_by_role("button", name="Ask for another answer").click()
    await first.get_by_label("Model").select_option("second")
    assert await ada.violations() == []
    await ada.screenshot("ask-again")
    await first.get_by_role("button", name="Ask again").click()
    await expect(ada.answer).to_contain_text("Answer 3 by second.")
    await expect(ada.answer).to_be_focused()
    await expect(ada.messages).to_have_count(2)
    answers = ada.answer.get_by_role("group", name="Answers")
    await expect(answers).to_contain_text("2/2")
    await answers.get_by_role("button", name="Previous answer").click()
    await expect(ada.messages).to_have_count(4)
    await expect(ada.page.get_by_text("Answer 1 of 2").first).to_be_attached()
    forth = first.get_by_role("button", name="Next answer")
    await expect(forth).to_be_focused()
    assert await ada.violations() == []
    await ada.screenshot("siblings")
    await ada.page.keyboard.press("Enter")
    await expect(ada.messages).to_have_count(2)
    await expect(ada.answer.get_by_role("button", name="Previous answer")).to_be_focused()
    await ada.page.reload()
    await expect(ada.answer).to_contain_text("Answer 3 by second.")
    await ask_again(ada)
    await expect(ada.answer).to_contain_text("Answer 4 by second.")
    await expect(ada.answer.get_by_role("group", name="Answers")).to_contain_text("3/3")


async def test_own_message_is_edited_and_asked_again(site: Site, arrive: Arrive) -> None:
    """Enter saves, Escape does not; "save and ask again" gives the new words a new answer; everybody sees that it was edited."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    await ada.start("Wich tree?")
    await expect(ada.answer_is("complete")).to_be_visible()
    question = ada.messages.first
    await question.hover()
    edit = question.get_by_role("button", name="Edit")
    await edit.click()
    field = question.get_by_role("textbox", name="Your message")
    await expect(field).to_be_focused()
    await field.fill("Something else")
    await ada.page.keyboard.press("Escape")
    await expect(field).to_have_count(0)
    await expect(question).to_contain_text("Wich tree?")
    await expect(question).to_be_focused()
    await edit.click()
    assert await ada.violations() == []
    await ada.screenshot("edit")
    await field.fill("Which tree?")
    await ada.page.keyboard.press("Enter")
    await expect(question).to_contain_text("Which tree?")
    await expect(question).to_contain_text("edited")
    await expect(ada.messages).to_have_count(2)
    await edit.click()
    await field.fill("Which bush?")
    await question.get_by_role("button", name="Save and ask again").click()
    await expect(ada.answer).to_contain_text("Answer 2 by first.")
    await expect(ada.answer.get_by_role("group", name="Answers")).to_contain_text("2/2")


async def test_message_is_deleted_and_comes_back(site: Site, arrive: Arrive) -> None:
    """Deleting leaves a line with a way back, on a phone too; others see that it is gone and cannot bring it back."""
    ada = await arrive(site.url)
    await ada.set_up("Ada")
    conversation = await ada.start("A secret", people="")
    await expect(ada.answer_is("complete")).to_be_visible()
    bob = await arrive(site.url, **NARROW, has_touch=True)
    await bob.register("Bob")
    await ada.show_details()
    await ada.page.get_by_label("E-mail address").fill("bob@example.org")
    await ada.page.get_by_role("button", name="Add", exact=True).click()
    await bob.page.goto(f"{site.url}/c/{conversation}")
    await expect(bob.messages.first).to_contain_text("A secret")
    question = ada.messages.first
    await question.hover()
    await question.get_by_role("button", name="Delete").click()
    await expect(question).to_contain_text("This message was deleted.")
    await expect(question).to_be_focused()
    await expect(bob.messages.first).to_contain_text("This message was deleted.")
    await expect(bob.page.get_by_role("button", name="Restore")).to_have_count(0)
    for visitor, name in ((ada, "wide"), (bob, "narrow")):
        assert await visitor.violations() == []
        await visitor.screenshot(f"deleted-{name}")
    await question.get_by_role("button", name="Restore").click()
    for visitor in (ada, bob):
        await expect(visitor.messages.first).to_contain_text("A secret")


async def test_answer_tells_what_it_took_and_what_its_model_did_not_see(site: Site, arrive: Arrive) -> None:
    """Tokens, time and prompt are in the details of an answer; messages that did not fit are counted below it; in the dark and narrow too."""
    ada = await arrive(site.url, color_scheme="dark", **NARROW)
    await ada.set_up("Ada")
    await ada.page.get_by_role("button", name="Show the conversations").click()
    await ada.start("First " * 60)
    for _ in range(2):
        await expect(ada.answer_is("complete")).to_be_visible()
        before = await ada.messages.count()
        await ada.say("More " * 100)
        await expect(ada.messages).to_have_count(before + 2)
    await expect(ada.answer).to_contain_text("3 earlier messages were left out: the model's context is full.")
    await ada.answer.focus()
    await ada.answer.get_by_role("button", name="Details").press("Enter")
    await expect(ada.answer.get_by_role("definition").filter(has_text="12 read, 6 written")).to_be_visible()
    await expect(ada.answer.get_by_role("definition").filter(has_text=re.compile(r"about \d+ of 300 tokens"))).to_be_visible()
    assert await ada.violations() == []
    await ada.screenshot("details-narrow-dark")
