"""What fits into a context: the largest part with the system prompt, the first message and the question; told, counted seldom, never silent."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from rustygpt.assistant.context import MAX_COUNTS, Window, estimate_tokens, fit, window_of
from rustygpt.assistant.procedures import GenerationSetting, PromptTurn
from rustygpt.assistant.providers.base import PromptMessage, ProviderContextExceeded, ProviderUnreachable
from rustygpt.assistant.providers.demo import DemoProvider
from tests.assistant.exchange import ask, read, until_done, until_status
from tests.person import Person
from tests.scripted_openai import ScriptedOpenAI
from tests.site import serving, settings_for
from tests.story_model import write_story_model

ALONE = GenerationSetting(system_prompt="Be kind.", title="", member_count=1, members=["Ada"])
ROOT = UUID(int=1)


class Words(DemoProvider):
    """The demo, which counts words, with a template that adds *extra* to each turn; keeps what it was asked to count."""

    def __init__(self, extra: int = 0, *, can_count: bool = True, fails: bool = False) -> None:
        super().__init__(0)
        self.extra, self.can_count, self.fails = extra, can_count, fails
        self.counted: list[int] = []

    @override
    async def count_tokens(self, model: str, messages: Sequence[PromptMessage]) -> int | None:
        if self.fails:
            raise ProviderUnreachable("It is away.")
        count = await super().count_tokens(model, messages)
        assert count is not None
        self.counted.append(count + self.extra * len(messages))
        return self.counted[-1] if self.can_count else None


def path(*texts: str, left_out: int = 0, begun: str = "") -> list[PromptTurn]:
    """A thread of person and assistant in turn, oldest first as given, newest first as the database gives it."""
    turns = [
        PromptTurn(
            "assistant" if number % 2 else "user",
            None if number % 2 else "Ada",
            text,
            UUID(int=number + 1),
            len(texts) - number,
            left_out,
        )
        for number, text in enumerate(texts)
    ]
    beginning = [PromptTurn("assistant", None, begun, UUID(int=999), 0, left_out)] if begun else []
    return [*beginning, *reversed(turns)]


def test_room_for_the_answer_is_set_aside() -> None:
    """The answer's own length, half of the context at most; 1 024 tokens or a quarter where nobody says; nothing is known of nothing."""
    assert window_of(8_192, None) == Window(8_192, 7_168)
    assert window_of(1_000, None) == Window(1_000, 750)
    assert window_of(8_192, 100) == Window(8_192, 8_092)
    assert window_of(8_192, 8_192) == Window(8_192, 4_096)
    assert window_of(None, 100) == window_of(0, None) == Window(None, None)


async def test_short_thread_is_not_counted() -> None:
    """Where a token for every byte would fit nobody is asked, and everything is there."""
    provider = Words()
    fitted = await fit(provider, "demo", path("Hello", "Hi.", "And now?"), ALONE, Window(4_096, 3_072), root_id=ROOT)
    assert [message.content for message in fitted.prompt] == ["Be kind.", "Hello", "Hi.", "And now?"]
    assert (provider.counted, fitted.context.left_out, fitted.context.oldest_id) == ([], 0, None)
    assert fitted.context.is_estimated


async def test_oldest_goes_first_with_its_answer() -> None:
    """System prompt, first message and question stay; after the gap a person speaks; what a reply has said already stays too."""
    texts = [f"{number} " * 50 for number in range(9)]
    window = Window(400, 300)
    fitted = await fit(Words(), "demo", path(*texts, begun="Well " * 20), ALONE, window, root_id=ROOT)
    said = [message.content for message in fitted.prompt]
    assert said == ["Be kind.", f"{texts[0]}\n\n{texts[6]}", texts[7], texts[8], "Well " * 20]
    context = fitted.context
    assert (context.left_out, context.oldest_id, context.is_estimated) == (5, UUID(int=7), False)
    assert context.prompt_tokens == sum(len(text.split()) for text in said) <= 300
    assert fitted.refusal is None


async def test_long_thread_is_cut_alike() -> None:
    """Half a million characters, which are worded beside the event loop, are cut at the same places."""
    texts = [f"{number} " * 25_000 for number in range(9)]
    fitted = await fit(Words(), "demo", path(*texts), ALONE, Window(200_000, 110_000), root_id=ROOT)
    assert [text.split()[0] for text in (message.content for message in fitted.prompt)] == ["Be", "0", "7", "8"]
    assert (fitted.context.left_out, fitted.context.prompt_tokens) == (5, 100_002)


async def test_what_cannot_fit_is_refused_with_both_numbers() -> None:
    """A question that is longer than the budget is refused; by an estimate only beyond the whole context."""
    turns = path("word " * 200)
    refused = await fit(Words(), "demo", turns, ALONE, Window(250, 150), root_id=ROOT)
    assert isinstance(refused.refusal, ProviderContextExceeded)
    assert refused.refusal.code == "context_exceeded"
    assert "202 tokens, and 150 fit" in refused.refusal.message
    guessed = await fit(Words(can_count=False), "demo", turns, ALONE, Window(300, 200), root_id=ROOT)
    assert guessed.context.prompt_tokens == estimate_tokens(["Be kind.", "word " * 200]) == 297
    assert guessed.refusal is None
    beyond = await fit(Words(can_count=False), "demo", turns, ALONE, Window(290, 200), root_id=ROOT)
    assert beyond.refusal is not None
    assert "about 297 tokens, and 200 fit" in beyond.refusal.message


async def test_unread_messages_are_left_out_too() -> None:
    """What the database did not even read counts, also where the context is not known."""
    fitted = await fit(Words(), "demo", path("a", "b", "c", left_out=7), ALONE, Window(None, None), root_id=ROOT)
    assert [message.content for message in fitted.prompt] == ["Be kind.", "a\n\nc"]  # b answers something that is not there
    assert (fitted.context.left_out, fitted.context.oldest_id) == (8, UUID(int=3))


async def test_failing_counter_leaves_the_estimate() -> None:
    """A provider that cannot count now is not asked again, and the reply goes on with an estimate."""
    fitted = await fit(Words(fails=True), "demo", path(*["x" * 350] * 9), ALONE, Window(400, 300), root_id=ROOT)
    assert fitted.context.is_estimated
    assert (fitted.refusal, fitted.context.left_out) == (None, 7)


texts_of_a_thread = st.lists(st.text("ab \U0001f331\u6f22.", min_size=1, max_size=80), min_size=1, max_size=40)


@settings(deadline=None)
@given(texts_of_a_thread, st.integers(1, 700), st.integers(0, 30), st.booleans(), st.integers(0, 3))
async def test_any_thread_fits_or_is_refused(texts: list[str], budget: int, extra: int, can_count: bool, left_out: int) -> None:
    """Whatever the tokenizer: at most six counts; what is sent fits, with root and question; everything is accounted for."""
    provider = Words(extra, can_count=can_count)
    if len(texts) % 2 == 0:
        texts.append("and?")  # a person asks
    turns = path(*texts, left_out=left_out if len(texts) > 1 else 0)
    fitted = await fit(provider, "demo", turns, ALONE, Window(budget * 2, budget), root_id=ROOT)
    assert len(provider.counted) <= MAX_COUNTS
    context, everything = fitted.context, "\n\n".join(message.content for message in fitted.prompt)
    assert texts[0] in everything
    assert texts[-1] in everything
    if not context.is_estimated:
        assert fitted.refusal is not None or context.prompt_tokens <= budget
        assert context.prompt_tokens == provider.counted[-1]
    kept = len(texts) + turns[0].left_out - context.left_out
    assert (context.oldest_id is None) == (context.left_out == 0)
    assert 1 <= kept <= len(texts)
    after = [] if kept == 1 else texts[len(texts) - kept + 1 :]
    middle = "\n\n".join(texts[:1] + after) if context.left_out else "\n\n".join(texts)
    assert everything == f"Be kind.\n\n{middle}"


@pytest.mark.parametrize("assistant", [{"context_tokens": 400}], indirect=True)
async def test_reply_tells_what_was_left_out(ada: Person, upstream: ScriptedOpenAI) -> None:
    """The message and message.done say the same of context and timing; while the reply is under way neither is told."""
    upstream.script = lambda call: call.answer("y" * 350)
    conversation = await ada.make_conversation(system_prompt="Be kind.")
    parent: dict[str, Any] = {}
    for number in range(3):
        parent = {"parent_id": await ask(ada, conversation, f"{number}" * 100, **parent)}
        await until_status(ada, parent["parent_id"], "complete")
    upstream.script = None
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        await stream.until_type("stream.ready")
        reply = await ask(ada, conversation, "Last?", **parent)
        call = await upstream.next_call()
        await call.say("Well")
        await stream.until(lambda r: r.text_of(reply))
        running = await read(ada, reply)
        assert (running["context"], running["timing"]) == (None, None)
        await call.finish(usage={"prompt_tokens": 7, "completion_tokens": 5})
        ((_, done),) = await until_done(stream, reply)
    assert call.turns == [("user", "0" * 100 + "\n\n" + "2" * 100), ("assistant", "y" * 350), ("user", "Last?")]
    message = await read(ada, reply)
    assert message["context"] == done["context"]
    assert message["timing"] == done["timing"]
    context = message["context"]
    assert (context["budget_tokens"], context["is_estimated"], context["left_out"]) == (300, True, 3)
    question = await read(ada, parent["parent_id"])
    assert context["oldest_id"] == question["parent_id"]
    timing = message["timing"]
    assert timing["queued_seconds"] >= 0
    assert 0 <= timing["first_token_seconds"] <= timing["seconds"]
    assert message["usage"]["total_tokens"] == 12


async def test_times_are_the_databases(ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection) -> None:
    """Waiting, the first piece, the end and the speed of this attempt's tokens; nobody can tell the speed of what came at once."""
    upstream.script = lambda call: call.answer("Well.", {"prompt_tokens": 7, "completion_tokens": 30})
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Hello?")
    await until_status(ada, reply, "complete")
    asked, started, first, ended = (datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in (0, 2, 3, 7))
    change = """update rustygpt.generations set queued_at = $2, started_at = $3, first_delta_at = $4, finished_at = $5,
                prior_completion_tokens = $6 where message_id = $1"""
    told = []
    for at, prior in ((first, None), (first, 10), (first, 30), (ended, None)):
        await owner.execute(change, UUID(reply), asked, started, at, ended, prior)
        timing = (await read(ada, reply))["timing"]
        names = ("queued_seconds", "first_token_seconds", "seconds", "tokens_per_second")
        told.append(tuple(timing[name] for name in names))
    assert told == [(2, 1, 5, 7.5), (2, 1, 5, 5), (2, 1, 5, None), (2, 5, 5, None)]


@pytest.mark.parametrize("assistant", [{"context_tokens": 400}], indirect=True)
async def test_question_beyond_the_context_is_refused_at_once(ada: Person, upstream: ScriptedOpenAI) -> None:
    """No model is asked; the error says what is wrong, and what the prompt would have had is kept."""
    conversation = await ada.make_conversation()
    message = await until_status(ada, await ask(ada, conversation, "x" * 3_500), "error")
    assert message["error"]["code"] == "context_exceeded"
    assert "about 1004 tokens, and 300 fit" in message["error"]["message"]
    assert message["context"]["prompt_tokens"] == 1_004
    assert (message["timing"]["first_token_seconds"], message["timing"]["tokens_per_second"]) == (None, None)
    assert upstream.calls == []


async def test_continued_reply_tells_its_own_context(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Continuing takes context and timing back with the rest of the end, and tells both anew."""
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Hello?")
    call = await upstream.next_call()
    await call.say("Once")
    await call.finish("length")
    first = await until_status(ada, reply, "complete")
    assert (await ada.post(f"/api/messages/{reply}/continue")).status_code == 200
    call = await upstream.next_call()
    running = await read(ada, reply)
    assert (running["context"], running["timing"]) == (None, None)
    await call.answer(" upon.")
    second = await until_status(ada, reply, "complete")
    assert second["context"]["prompt_tokens"] > first["context"]["prompt_tokens"]


async def test_llama_cpp_counts_with_its_own_tokenizer(dsn: str, data_dir: Path) -> None:
    """In process: what is told is the engine's own count, which is what usage says afterwards; what is too long is cut, and answered."""
    (data_dir / "models").mkdir(parents=True)
    write_story_model(data_dir / "models" / "story.gguf")
    settings_ = settings_for(data_dir, assistant={"llama_cpp": {"context_tokens": 1_024}, "default_model": "story"})
    async with serving(settings_, dsn) as site, Person(site.url) as ada:
        await ada.set_up("Ada")
        conversation = await ada.make_conversation()
        changed = await ada.request("PATCH", f"/api/conversations/{conversation}", json={"parameters": {"max_tokens": 16}})
        assert changed.status_code == 200, changed.text
        parent: dict[str, Any] = {}
        for _ in range(3):
            parent = {"parent_id": await ask(ada, conversation, "Tell. " * 60, **parent)}
            message = await until_status(ada, parent["parent_id"], "complete", "error")
            assert message["error"] is None
        context = message["context"]
        assert (context["budget_tokens"], context["is_estimated"]) == (1_008, False)
        assert context["left_out"] > 0
        assert context["prompt_tokens"] == message["usage"]["prompt_tokens"] <= 1_008
