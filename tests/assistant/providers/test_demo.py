"""The demo: every byte of its answers is known beforehand."""

import asyncio
from contextlib import aclosing

import pytest
from typing_extensions import override

from rustygpt.assistant.providers.base import Sampling, Usage
from rustygpt.assistant.providers.demo import GREETING, TOO_FAR, DemoProvider
from tests.assistant.providers.replies import DEADLINE_SECONDS, ask, first_deltas_of, reply_of, said


@pytest.mark.parametrize(
    ("question", "number"),
    [("count to 1", 1), ("Please COUNT TO 12, now", 12), ("Ann: count to 2000", 2_000), ("count to 007", 7)],
)
async def test_counting_gives_one_delta_a_number(question: str, number: int) -> None:
    """Joined, the deltas are the numbers with single spaces between them, and nothing else."""
    reply = await reply_of(DemoProvider(0), ask(question))
    assert reply.text == " ".join(map(str, range(1, number + 1)))
    assert len(reply.deltas) == number
    assert reply.finish.usage == Usage(len(question.split()), number)


@pytest.mark.parametrize("number", ["0", "100001", "9" * 5_000])
async def test_counting_too_far_is_an_ordinary_question(number: str) -> None:
    """What cannot be counted is echoed, with the reason where the number is too large."""
    reply = await reply_of(DemoProvider(0), ask(f"count to {number}"))
    assert reply.text.startswith(GREETING)
    assert (TOO_FAR in reply.text) == (number != "0")


async def test_only_the_last_question_counts() -> None:
    """An earlier request to count is not answered again."""
    before = (said("user", "count to 5"), said("assistant", "1 2 3 4 5"))
    reply = await reply_of(DemoProvider(0), ask("thank you", before=before))
    assert reply.text.endswith("> thank you")


async def test_echo_keeps_every_character() -> None:
    """The answer says what it is, and quotes the question line by line, whatever is in it."""
    question = "Grüße 🌊\n\tzwei  Leerzeichen\r\nEnde "
    reply = await reply_of(DemoProvider(0), ask(question))
    assert "not a language model" in reply.text
    assert reply.text.endswith("> Grüße 🌊\n> \tzwei  Leerzeichen\n> Ende ")


async def test_max_tokens_ends_with_length() -> None:
    """A limit is obeyed and told."""
    reply = await reply_of(DemoProvider(0), ask("count to 10", sampling=Sampling(max_tokens=3)))
    assert (reply.text, reply.finish.reason) == ("1 2 3", "length")


@pytest.mark.parametrize("partial", ["1 2 3", "1 2 3 ", "1 2 3 4 5 1", ""])
async def test_interrupted_answer_is_continued(partial: str) -> None:
    """When the prompt ends with the beginning of the answer, the rest is what comes; when it ends otherwise, all of it."""
    whole = "1 2 3 4 5 6 7 8 9 10"
    request = ask("count to 10")
    continued = type(request)(request.model, (*request.messages, said("assistant", partial)))
    reply = await reply_of(DemoProvider(0), continued)
    assert reply.text == (whole.removeprefix(partial) if whole.startswith(partial) else whole)


class ClockOfItsOwn(asyncio.SelectorEventLoop):
    """A loop whose time passes only when all tasks wait, and then at once to the next moment that one waits for."""

    now = 0.0

    @override
    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def test_pace_does_not_drift() -> None:
    """A reader that dawdles on the way still gets the last delta when it is due."""

    async def read(loop: ClockOfItsOwn) -> float:
        seen = 0
        async with aclosing(DemoProvider(100.0).stream(ask("count to 51"))) as items:
            async for _ in items:
                seen += 1
                if seen == 10:
                    loop.now += 0.3  # the reader is busy, not asleep
                if seen == 51:
                    break
        return loop.now

    with asyncio.Runner(loop_factory=ClockOfItsOwn) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ClockOfItsOwn)
        assert runner.run(read(loop)) == pytest.approx(0.5, abs=0.001)


async def test_full_speed_gives_way_to_others() -> None:
    """Without a pace, a long count never keeps another task from running."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.timeout(DEADLINE_SECONDS):
        task = asyncio.ensure_future(other())
        try:
            await first_deltas_of(DemoProvider(0), ask("count to 100000"), 1_000)
        finally:
            task.cancel()
    assert turns > 900
