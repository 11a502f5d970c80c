"""Asking a provider and keeping the whole reply."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Delta,
    Finish,
    Json,
    Loading,
    PromptMessage,
    PromptRole,
    Provider,
    Sampling,
    ToolCallDelta,
)

DEADLINE_SECONDS = 60.0
"""For machines under load; nothing waits that long when all is well."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that ended well."""

    deltas: tuple[str, ...]
    finish: Finish
    tool_calls: tuple[Json, ...] = ()

    @property
    def text(self) -> str:
        """All deltas joined."""
        return "".join(self.deltas)


P = TypeVar("P", bound=Provider)


@asynccontextmanager
async def opened(provider: P) -> AsyncIterator[P]:
    """Open *provider*, and close it whatever happens."""
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


def ask(
    question: str, *, model: str = "story", sampling: Sampling | None = None, before: tuple[PromptMessage, ...] = ()
) -> CompletionRequest:
    """Return a request whose last message is *question*."""
    return CompletionRequest(model, (*before, PromptMessage("user", question)), sampling or Sampling())


def said(role: PromptRole, content: str) -> PromptMessage:
    """Return one turn of a prompt."""
    return PromptMessage(role, content)


async def reply_of(provider: Provider, request: CompletionRequest) -> Reply:
    """Read *request*'s reply to the end; fails when anything follows the Finish, or a delta is empty."""
    deltas: list[str] = []
    calls: list[Json] = []
    finish: Finish | None = None
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(provider.stream(request)) as items:
        async for item in items:
            assert finish is None, "something came after the Finish"
            match item:
                case Delta(content):
                    assert content, "an empty delta"
                    deltas.append(content)
                case ToolCallDelta(pieces):
                    calls += pieces
                case Loading():
                    assert not deltas, "it was loaded already"
                case Finish():
                    finish = item
    assert finish is not None, "no Finish"
    return Reply(tuple(deltas), finish, tuple(calls))


async def first_deltas_of(provider: Provider, request: CompletionRequest, count: int) -> list[str]:
    """Read *count* deltas, then stop the stream as the Stop button does."""
    deltas: list[str] = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(provider.stream(request)) as items:
        async for item in items:
            if isinstance(item, Loading):
                continue
            assert isinstance(item, Delta)
            deltas.append(item.content)
            if len(deltas) == count:
                break
    return deltas


async def until(fact: Callable[[], bool], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until *fact* is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not fact():  # noqa: ASYNC110 - nobody signals what other processes do
            await asyncio.sleep(0.01)
