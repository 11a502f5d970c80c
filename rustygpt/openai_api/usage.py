"""How many tokens an answer took: the provider's count, or, where it gives none, an estimate that says that it is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rustygpt.assistant.providers.base import PromptMessage, Usage

CHARACTERS_PER_TOKEN: Final = 4
"""English prose; code and other languages have fewer."""
TOKENS_PER_TURN: Final = 4
MAX_TOKENS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens of one request and its answer."""

    prompt_tokens: int
    completion_tokens: int
    is_estimated: bool

    @property
    def total_tokens(self) -> int:
        """Both."""
        return self.prompt_tokens + self.completion_tokens

    def body(self) -> dict[str, Any]:
        """Return `usage` as OpenAI has it; an estimate says so."""
        counts = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        return {**counts, "estimated": True} if self.is_estimated else counts


def count(usage: Usage | None, messages: Sequence[PromptMessage], characters: int) -> Counted:
    """Take the provider's count where it can be one, else estimate from the prompt and *characters* of the answer."""
    counts = (usage.prompt_tokens, usage.completion_tokens) if usage is not None else (-1,)
    if usage is not None and min(counts) >= 0 and sum(counts) <= MAX_TOKENS:
        return Counted(usage.prompt_tokens, usage.completion_tokens, is_estimated=False)
    return Counted(estimate_prompt_tokens(messages), _tokens(characters), is_estimated=True)


def estimate_prompt_tokens(messages: Sequence[PromptMessage]) -> int:
    """Estimate a prompt: its characters, and something for each turn."""
    return sum(_tokens(len(message.content)) + TOKENS_PER_TURN for message in messages)


def estimate_text_tokens(texts: Sequence[str]) -> int:
    """Estimate texts on their own."""
    return sum(_tokens(len(text)) for text in texts)


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)
