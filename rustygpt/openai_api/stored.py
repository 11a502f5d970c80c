"""Answers that are stored: with `metadata.rustygpt` the question is posted into a thread, and its reply followed while readers see it too.

The ordinary way: the member's rights, limits, quota and queue, the conversation's own prompt and parameters. What the request says beyond its last turn is not
heeded, and named so. Hanging up stops the reply, for everybody; so does the end of the credential.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog

from rustygpt.assistant.procedures import cancel_generation
from rustygpt.assistant.providers.base import Delta, FinishReason, PromptMessage, Usage
from rustygpt.errors import Conflict, DomainError, FieldError, Invalid
from rustygpt.http.openai_error import OpenAIError, openai_error_of
from rustygpt.ids import ConversationId, MessageId, Position, UserId
from rustygpt.messages.models import MAX_CONTENT_CHARACTERS
from rustygpt.messages.procedures import get_message, post_message
from rustygpt.openai_api.completion import Outcome, Take
from rustygpt.openai_api.usage import Counted, count
from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.reply_follower import ReplyFollower

if TYPE_CHECKING:
    from rustygpt.auth.actor import Actor
    from rustygpt.database.call import Caller
    from rustygpt.openai_api.wire import ThreadPlace
    from rustygpt.settings import AssistantSettings
    from rustygpt.signals import Announcer
    from rustygpt.streaming.coordinator import Coordinator

QUEUE_RATIO: Final = 2.0
"""A reply may wait as long as it may take to write."""
_TIMEOUTS: Final = frozenset({"provider_timeout", "generation_timeout"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Threads:
    """What stored answers need."""

    database: Caller
    coordinator: Coordinator
    announcer: Announcer
    settings: AssistantSettings

    async def ask(
        self, actor: Actor, place: ThreadPlace, turns: tuple[PromptMessage, ...], *, model: str, key: str | None
    ) -> StoredAnswer:
        """Post the last turn, and return its reply to follow. Raises Invalid, NotFound, Forbidden, Conflict, RateLimited, Unavailable."""
        question = turns[-1]
        if question.role != "user" or question.parts or not 0 < len(question.content.strip()) <= MAX_CONTENT_CHARACTERS:
            message = f"must end with a user's text of at most {MAX_CONTENT_CHARACTERS} characters, which is stored"
            raise Invalid(errors=(FieldError("messages", message),))
        follower = ReplyFollower(self.coordinator, actor.user_id, actor.credential_id, place.conversation_id)
        try:
            posted = await post_message(
                self.database,
                actor=actor.user_id,
                conversation=ConversationId(place.conversation_id),
                parent=place.parent_message_id,
                content=question.content,
                model=model,
                mention=None,
                key=key,
                max_queued=self.settings.max_queued,
                max_queued_per_user=self.settings.max_queued_per_user,
            )
            if posted.position is not None:
                self.announcer.wake(Position(posted.position))
            if posted.is_queued:
                self.announcer.signal("generation_queued")
            if posted.answer["generation"] is None:
                raise Conflict("The message was stored, but the assistant is switched off in this conversation.")
        except BaseException:
            follower.close()
            raise
        return StoredAnswer(self, follower, actor.user_id, turns, posted.answer)


class StoredAnswer:
    """A reply of a conversation, as an answer of /v1."""

    def __init__(
        self, threads: Threads, follower: ReplyFollower, user: UserId, turns: tuple[PromptMessage, ...], posted: dict[str, Any]
    ) -> None:
        self.message_id = MessageId(UUID(posted["generation"]["message_id"]))
        self.place = {
            "conversation_id": posted["conversation_id"],
            "message_id": str(self.message_id),
            "root_id": posted["root_id"],
        }
        self._threads = threads
        self._follower = follower
        self._user = user
        self._turns = turns
        self._scope: asyncio.Timeout | None = None
        self._stopped = ""
        self._refusal: OpenAIError | None = None
        self._characters = 0

    @property
    def is_gone(self) -> bool:
        """Whether the client has hung up."""
        return self._stopped == "gone"

    def stop_for_client(self) -> None:
        """The client has hung up: stop the reply."""
        self._stop("gone")

    def stop_for_drain(self) -> None:
        """The process ends: the reply has its own last word."""
        self._stop("drained")

    def stop_for_refusal(self, refusal: DomainError) -> None:
        """The credential it was asked with has ended: stop the reply."""
        self._refusal = openai_error_of(refusal)
        self._stop("refused")

    def _stop(self, why: str) -> None:
        if not self._stopped:
            self._stopped = why
            if self._scope is not None and not self._scope.expired():
                self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self, take: Take) -> Outcome | OpenAIError:
        """Follow the reply to its end."""
        try:
            async with asyncio.timeout(self._threads.settings.deadline_seconds * QUEUE_RATIO) as self._scope:
                if self._stopped:
                    raise TimeoutError
                return await self._follow(take)
        except TimeoutError:
            if self._stopped == "drained":
                return OpenAIError(503, "The server is shutting down; the answer goes on in its thread.", "unavailable", None, 1)
            await self._cancel()
            if self._stopped == "refused" and self._refusal is not None:
                return self._refusal
            return OpenAIError(504, "The answer took longer than the server allows.", "generation_timeout")
        finally:
            self._scope = None
            self._follower.close()

    async def _follow(self, take: Take) -> Outcome | OpenAIError:
        snapshot = await get_message(self._threads.database, actor=self._user, message=self.message_id)
        message = snapshot.message
        if message["content"]:
            await self._say(take, message["content"])
        if message["finish_reason"] is not None:
            return self._ended(message["finish_reason"], message["usage"], message["error"])
        done: LoggedEvent | None = None
        async with aclosing(self._follower.events(self.message_id, snapshot.stream_cursor)) as events:
            async for event in events:
                if event.type == "message.delta" and event.content:
                    await self._say(take, event.content)
                elif event.type == "message.done" and event.payload is not None:
                    if event.payload["finish_reason"] not in ("error", "timeout"):
                        return self._ended(event.payload["finish_reason"], event.payload["usage"], None)
                    done = event
                elif event.type == "error" and done is not None and done.payload is not None:
                    return self._ended(done.payload["finish_reason"], done.payload["usage"], event.payload)
        return OpenAIError(404, "You may no longer see this conversation.", "not_found")

    async def _say(self, take: Take, text: str) -> None:
        self._characters += len(text)
        if (pending := take(Delta(text))) is not None:
            await pending

    def _ended(self, reason: str, usage: dict[str, int] | None, error: dict[str, Any] | None) -> Outcome | OpenAIError:
        if reason in ("error", "timeout"):
            told = error or {"code": "generation_failed", "message": "The answer ended with an error."}
            return OpenAIError(504 if told["code"] in _TIMEOUTS else 502, told["message"], told["code"])
        said: FinishReason = "length" if reason == "length" else "stop"  # somebody's Stop is an end like any other
        return Outcome(said, self._count(usage))

    def _count(self, usage: dict[str, int] | None) -> Counted:
        given = Usage(usage["prompt_tokens"], usage["completion_tokens"]) if usage else None
        return count(given, self._turns, self._characters)

    async def _cancel(self) -> None:
        threads = self._threads
        try:
            cancelled = await cancel_generation(threads.database, actor=self._user, message=self.message_id)
        except DomainError as error:
            log.info("stored_answer_not_cancelled", message_id=str(self.message_id), code=error.code)
            return
        if cancelled.is_running:
            threads.announcer.signal("cancel", str(self.message_id))
        if cancelled.position is not None:
            threads.announcer.wake(Position(cancelled.position))
            threads.announcer.signal("generation_queued")  # one fewer waits
