"""What of a conversation fits into a model's context, and how much was left out. Nothing is left out in silence.

The system prompt, the thread's first message, the question and the beginning of a reply that goes on are always kept; of what lies between,
the oldest goes first. A model's own tokenizer counts where the provider has one, at most MAX_COUNTS times; elsewhere an estimate does.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from rustygpt.assistant.prompt import assemble, word
from rustygpt.assistant.providers.base import PromptMessage, PromptRole, Provider, ProviderContextExceeded, ProviderError

if TYPE_CHECKING:
    from rustygpt.assistant.procedures import GenerationSetting, PromptTurn

log = structlog.get_logger(__name__)

REPLY_TOKENS: Final = 1024
"""So much is kept free for an answer when nobody says how long it may be, but no more than a quarter of the context."""
MAX_COUNTS: Final = 6
COUNT_SECONDS: Final = 20.0
"""For all counts of one prompt together; then the estimate has to do."""
BYTES_PER_TOKEN: Final = 3.5
"""English prose has 4.3, code and German 3 to 3.5, Chinese 3 to 4: an estimate should rather be too high."""
TURN_TOKENS: Final = 4
"""What a template puts around a turn, about."""
TEMPLATE_TOKENS: Final = 128
"""What a template may say of its own accord; counted only where nobody is asked because everything fits anyway."""
CHARACTERS_PER_TOKEN: Final = 8
"""So many characters are read for each token of the budget: a longer mean is not to be expected."""
MAX_CHARACTERS: Final = 4_000_000
LONG_CHARACTERS: Final = 200_000
"""Longer threads take more than 30 ms to word, which other replies of this process should not wait for."""


@dataclass(frozen=True, slots=True)
class Window:
    """A model's `context_tokens`, None where they are not known, and the `budget_tokens` that a prompt may have of them."""

    context_tokens: int | None
    budget_tokens: int | None

    def characters(self, default: int) -> int:
        """How much of a thread to read; *default* where the context is not known."""
        return default if self.budget_tokens is None else min(self.budget_tokens * CHARACTERS_PER_TOKEN, MAX_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Context:
    """What a prompt holds of the conversation: see PromptContext in wire.py."""

    budget_tokens: int | None
    prompt_tokens: int
    is_estimated: bool
    left_out: int
    oldest_id: UUID | None

    def as_json(self) -> dict[str, Any]:
        """Return what the database keeps of it."""
        oldest = str(self.oldest_id) if self.oldest_id else None
        return {
            "budget_tokens": self.budget_tokens,
            "prompt_tokens": self.prompt_tokens,
            "is_estimated": self.is_estimated,
            "left_out": self.left_out,
            "oldest_id": oldest,
        }


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt, what it holds, and why it must not be put to the model: None when it fits."""

    prompt: tuple[PromptMessage, ...]
    context: Context
    refusal: ProviderContextExceeded | None = None


def window_of(context_tokens: int | None, max_tokens: int | None) -> Window:
    """Set aside room for an answer of *max_tokens*, half of the context at most; None: REPLY_TOKENS, a quarter at most."""
    if not context_tokens:
        return Window(None, None)
    reply = min(REPLY_TOKENS, context_tokens // 4) if max_tokens is None else min(max_tokens, context_tokens // 2)
    return Window(context_tokens, context_tokens - reply)


def estimate_tokens(texts: Sequence[str]) -> int:
    """Estimate how many tokens *texts* have as turns of a prompt; an empty one is none."""
    return sum(_estimate(text) for text in texts if text)


async def fit(
    provider: Provider,
    model: str,
    turns: Sequence[PromptTurn],
    setting: GenerationSetting,
    window: Window,
    *,
    root_id: UUID,
    system_prompt: str = "",
) -> Fitted:
    """Make the largest prompt of *turns*, newest first as the database gives them, that fits into *window*."""
    order = (turns, setting, root_id, system_prompt)
    is_long = sum(len(turn.content) for turn in turns) > LONG_CHARACTERS
    path = await asyncio.to_thread(_Path, *order) if is_long else _Path(*order)
    counter = _Counter(provider, model)
    budget, kept = window.budget_tokens, len(path.middle)
    if budget is None or path.largest_tokens() <= budget:
        return Fitted(path.prompt(kept), path.context(kept, budget, path.estimate(kept), is_estimated=True))
    counted = await counter.count(path, kept)
    scale = 0.0
    while counted > budget and kept > 0:
        scale = max(scale, counted / path.estimate(kept))
        # The last count is for what cannot be left out.
        kept = min(kept - 1, path.most_within(budget / scale)) if counter.is_willing else 0
        counted = await counter.count(path, kept)
    fitted = path.context(kept, budget, counted, is_estimated=counter.is_estimated)
    # An estimate may be wrong by as much as is set aside for the answer: who can count then refuses, or answers more briefly.
    limit = budget if not counter.is_estimated else window.context_tokens or budget
    return Fitted(path.prompt(kept), fitted, _refusal(fitted) if counted > limit else None)


def _refusal(context: Context) -> ProviderContextExceeded:
    about = "about " if context.is_estimated else ""
    return ProviderContextExceeded(
        f"The question does not fit into the model's context: with what it needs it has {about}{context.prompt_tokens} tokens, "
        f"and {context.budget_tokens} fit beside the answer. Shorten it, or start a new thread."
    )


def _estimate(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN) + TURN_TOKENS


class _Path:
    """The way to a question: what is always kept, and the `middle`, newest first, of which any number of the newest may be."""

    def __init__(self, turns: Sequence[PromptTurn], setting: GenerationSetting, root_id: UUID, system_prompt: str) -> None:
        self._system, texts = word(turns, setting, system_prompt=system_prompt)
        pairs = list(zip(turns, texts, strict=True))
        is_root = [turn.step > 1 and turn.message_id == root_id for turn in turns]
        self._newest = [text for turn, text in pairs if turn.step <= 1]
        self._root = [text for (_, text), is_it in zip(pairs, is_root, strict=True) if is_it]
        inner = [pair for pair, is_it in zip(pairs, is_root, strict=True) if pair[0].step > 1 and not is_it]
        self.middle: list[tuple[PromptRole, str]] = [text for _, text in inner]
        self._ids = [turn.message_id for turn, _ in inner]
        self._question_id = next((turn.message_id for turn in turns if turn.step == 1), None)
        self._unread = turns[0].left_out if turns else 0
        fixed = estimate_tokens([self._system, *(text for _, text in self._newest + self._root)])
        self._sums = list(accumulate((_estimate(text) for _, text in self.middle), initial=fixed))

    def prompt(self, kept: int) -> tuple[PromptMessage, ...]:
        return assemble(self._system, [*self._newest, *self.middle[: self._whole(kept)], *self._root])

    def estimate(self, kept: int) -> int:
        return self._sums[self._whole(kept)]

    def most_within(self, tokens: float) -> int:
        """How many of the middle can be kept by the estimate; perhaps -1."""
        return bisect_right(self._sums, tokens) - 1

    def largest_tokens(self) -> int:
        """So many tokens it has at most: none is shorter than a byte."""
        texts = [self._system, *(text for _, text in [*self._newest, *self.middle, *self._root])]
        return TEMPLATE_TOKENS + sum(len(text.encode("utf-8", "replace")) + 4 * TURN_TOKENS for text in texts)

    def context(self, kept: int, budget: int | None, tokens: int, *, is_estimated: bool) -> Context:
        whole = self._whole(kept)
        left_out = self._unread + len(self.middle) - whole
        oldest = (self._ids[whole - 1] if whole else self._question_id) if left_out else None
        return Context(budget, tokens, is_estimated, left_out, oldest)

    def _whole(self, kept: int) -> int:
        """Of the newest *kept*, how many to keep so that what follows a gap begins with a person: an answer needs its question."""
        kept = max(0, kept)
        while self._unread + len(self.middle) > kept > 0 and self.middle[kept - 1][0] == "assistant":
            kept -= 1
        return kept


class _Counter:
    """Counts prompts, by the provider as long as it can and may."""

    def __init__(self, provider: Provider, model: str) -> None:
        self._provider = provider
        self._model = model
        self._until = asyncio.get_running_loop().time() + COUNT_SECONDS
        self._calls = 0
        self._asks = True
        self.is_estimated = False

    @property
    def is_willing(self) -> bool:
        """Whether it may be asked for more than one count more."""
        return self._calls < MAX_COUNTS - 1

    async def count(self, path: _Path, kept: int) -> int:
        self._calls += 1
        found = await self._ask(path.prompt(kept)) if self._asks else None
        self._asks = found is not None
        self.is_estimated = found is None
        return path.estimate(kept) if found is None else found

    async def _ask(self, prompt: tuple[PromptMessage, ...]) -> int | None:
        try:
            async with asyncio.timeout_at(self._until):
                return await self._provider.count_tokens(self._model, prompt)
        except (ProviderError, TimeoutError) as error:
            log.info("tokens_not_counted", provider=self._provider.name, model=self._model, error=type(error).__name__)
            return None
