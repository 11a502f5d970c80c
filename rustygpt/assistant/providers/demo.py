"""A model that needs no model: it says so, echoes what it was asked, and counts.

The same question always has the same answer, piece by piece, and the pieces come at a steady rate that does not drift:
streams whose every byte is known, for trying the product out and for measuring it.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Literal

from rustygpt.assistant.providers.base import (
    Capabilities,
    CompletionRequest,
    Delta,
    Embeddings,
    Finish,
    ModelInfo,
    PromptMessage,
    ProviderRejected,
    StreamItem,
    Usage,
)

MODEL = "demo"
MAX_COUNT = 100_000
MAX_ECHO_CHARACTERS = 2_000
GREETING = (
    "I am RustyGPT's demo, not a language model: I can only repeat what I am told, and count (“count to 20”). "
    "To talk to a real model, start Ollama or put a GGUF file into the models folder of the data directory, which is noticed "
    "within seconds, or set OPENAI_API_KEY and restart."
)
TOO_FAR = f"I count to {MAX_COUNT} at most."

_COUNT = re.compile(r"\bcount to (\d+)\b", re.IGNORECASE)
_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+")


class DemoProvider:
    """*tokens_per_second* is the rate of deltas; 0 is as fast as possible, still giving way to the event loop at each one."""

    def __init__(self, tokens_per_second: float, *, name: str = "demo") -> None:
        self.name = name
        self._tokens_per_second = tokens_per_second

    @property
    def capabilities(self) -> Capabilities:
        """It can be cut short, nothing else."""
        return Capabilities(parameters=frozenset({"max_tokens"}), counts_tokens=True)

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def models(self) -> tuple[ModelInfo, ...]:
        """Return the one model."""
        return (ModelInfo(id=MODEL, provider=self.name),)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamItem]:
        """Yield the answer, one delta a number or word; usage counts those deltas, and the words of the prompt."""
        loop = asyncio.get_running_loop()
        started_at, sent = loop.time(), 0
        reason: Literal["stop", "length"] = "stop"
        for piece in _unsaid(request.messages):
            if sent == request.sampling.max_tokens:
                reason = "length"
                break
            due_at = started_at + sent / self._tokens_per_second if self._tokens_per_second else 0.0
            await asyncio.sleep(max(0.0, due_at - loop.time()))
            yield Delta(piece)
            sent += 1
        yield Finish(reason, Usage(_words_in(request.messages), sent))

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Raise ProviderRejected: it is no model."""
        raise ProviderRejected("The demo makes no embeddings.", 400)

    async def count_tokens(self, model: str, messages: Sequence[PromptMessage]) -> int | None:
        """Count words, as its usage does."""
        return _words_in(messages)


def answer_to(question: str) -> Iterator[str]:
    """Yield the pieces of the answer to *question*; joined, they are the whole of it."""
    match = _COUNT.search(question)
    digits = match[1].lstrip("0") if match else ""
    number = int(digits) if 0 < len(digits) <= len(str(MAX_COUNT)) else 0
    if 1 <= number <= MAX_COUNT:
        yield "1"
        for following in range(2, number + 1):
            yield f" {following}"
        return
    echo = question if len(question) <= MAX_ECHO_CHARACTERS else question[:MAX_ECHO_CHARACTERS] + " …"
    note = f" {TOO_FAR}" if digits else ""
    yield from _words(f"{GREETING}{note}\n\nYou said:\n\n" + "\n".join(f"> {line}" for line in echo.splitlines()))


def _words_in(messages: Sequence[PromptMessage]) -> int:
    return sum(len(message.content.split()) for message in messages)


def _unsaid(messages: tuple[PromptMessage, ...]) -> Iterator[str]:
    """Yield what is left of the answer to the last question, when the prompt ends with the beginning of that answer."""
    question = next((message.content for message in reversed(messages) if message.role == "user"), "")
    said = messages[-1].content if messages and messages[-1].role == "assistant" else ""
    position = 0
    pieces = list(answer_to(question)) if said else []
    if said and not "".join(pieces).startswith(said):
        said = ""
    for piece in pieces or answer_to(question):
        position += len(piece)
        if position > len(said):
            yield piece[max(0, len(piece) - (position - len(said))) :]


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        yield match[0]
