"""One request of /v1/chat/completions and its client: runs an answer and writes it, streamed or whole.

What fails before anything was written has a status of its own; afterwards it is an event, and the end. A client that hangs up stops the answer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from rustygpt.assistant.providers.base import Delta, StreamItem, ToolCallDelta
from rustygpt.errors import DomainError
from rustygpt.http.openai_error import OpenAIError, openai_error_of, openai_error_response
from rustygpt.http.response import json_response
from rustygpt.openai_api.chunks import Chunks
from rustygpt.openai_api.completion import Outcome, Take
from rustygpt.openai_api.writer import AnswerWriter, merge_calls
from rustygpt.settings_streaming import SseSettings
from rustygpt.streaming.sockets import Peer, find_peer


class Answer(Protocol):
    """What can be run once, and stopped."""

    @property
    def is_gone(self) -> bool: ...
    def stop_for_client(self) -> None: ...
    async def run(self, take: Take) -> Outcome | OpenAIError: ...


@dataclass(frozen=True, slots=True)
class Label:
    """What an answer is called; `extra` goes beside OpenAI's fields."""

    answer_id: str
    model: str
    extra: dict[str, Any]


class Exchange:
    """The client's side of one answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: SseSettings) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._settings = settings
        self._peer: Peer | None = find_peer(scope)
        self._created = int(time.time())

    async def stream(self, answer: Answer, label: Label, *, include_usage: bool) -> None:
        """Write the answer as it comes. Raises DomainError while nothing was written."""
        chunks = Chunks(label.answer_id, label.model, self._created, include_usage=include_usage, extra=label.extra)
        writer = AnswerWriter(
            self._send,
            chunks,
            self._peer.write_chunk if self._peer is not None else None,
            send_seconds=self._settings.send_timeout_seconds,
            on_stalled=lambda: self._give_up(answer),
        )
        try:
            ended = await self._run(answer, writer.take, lambda: writer.keep_alive(self._settings.heartbeat_seconds))
        except DomainError as error:
            if not writer.has_begun:
                raise
            ended = openai_error_of(error)
        if answer.is_gone:
            return
        if isinstance(ended, Outcome):
            await writer.end(chunks.end(ended.reason, ended.counted))
        elif writer.has_begun:
            await writer.end(chunks.error(ended))
        else:
            await self._refuse(ended)

    async def whole(self, answer: Answer, label: Label) -> None:
        """Write the answer when it is there. Raises DomainError."""
        texts: list[str] = []
        pieces: list[Any] = []

        def take(item: StreamItem) -> None:
            if isinstance(item, Delta):
                texts.append(item.content)
            elif isinstance(item, ToolCallDelta):
                pieces.extend(item.tool_calls)

        ended = await self._run(answer, take)
        if answer.is_gone:
            return
        if isinstance(ended, OpenAIError):
            await self._refuse(ended)
            return
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts), "refusal": None}
        if pieces:
            message |= {"content": "".join(texts) or None, "tool_calls": merge_calls(pieces)}
        await json_response(self._body(label, message, ended))(self._scope, self._receive, self._send)

    def _body(self, label: Label, message: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
        return {
            "id": label.answer_id,
            "object": "chat.completion",
            "created": self._created,
            "model": label.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": outcome.reason}],
            "usage": outcome.counted.body(),
            **label.extra,
        }

    async def _refuse(self, error: OpenAIError) -> None:
        await openai_error_response(error)(self._scope, self._receive, self._send)

    def _give_up(self, answer: Answer) -> None:
        answer.stop_for_client()
        if self._peer is not None:
            self._peer.cut()

    async def _run(
        self, answer: Answer, take: Take, beside: Callable[[], Awaitable[None]] | None = None
    ) -> Outcome | OpenAIError:
        """Run the answer, stop it when the client hangs up, and run *beside* meanwhile. Raises what the answer raises."""
        if self._peer is not None:
            self._peer.watch(answer.stop_for_client)
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [] if self._peer is not None else [group.create_task(self._listen(answer))]
                helpers += [] if beside is None else [group.create_task(_awaited(beside))]
                # In a task of its own: each token resumes a task through all that it has entered, which is twenty calls by here.
                running = group.create_task(answer.run(take))
                try:
                    return await running
                finally:
                    for helper in helpers:
                        helper.cancel()
        except BaseExceptionGroup as errors:
            raise _only(errors) from None
        finally:
            if self._peer is not None:
                self._peer.unwatch()

    async def _listen(self, answer: Answer) -> None:
        """Under a server that tells of a client's leaving only to who listens."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        answer.stop_for_client()


async def _awaited(what: Callable[[], Awaitable[None]]) -> None:
    await what()


def _only(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error of a group: what is raised inside is what callers know."""
    first = errors.exceptions[0]
    return _only(first) if isinstance(first, BaseExceptionGroup) else first
