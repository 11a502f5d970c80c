"""OpenAI's shapes, as sent and as read: bodies out of requests, items out of chunks. Nothing here waits."""

from collections.abc import Mapping
from typing import Final, Literal, Protocol, TypeGuard

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Delta,
    Embeddings,
    Finish,
    FinishReason,
    Image,
    ModelUse,
    PromptMessage,
    ProviderError,
    Sampling,
    StreamItem,
    ToolCallDelta,
    Usage,
)

GO_ON: Final = (
    "Your last message was cut off. Continue it exactly where it stops, in the middle of a word if need be. "
    "Do not repeat anything of it, and do not say that you continue."
)
"""The protocol has no way to give the beginning of a reply; a server that takes a last message for it is the exception."""
NO_CHAT: Final = (
    *("whisper", "tts", "dall-e", "moderation", "transcribe", "realtime"),
    *("audio", "image", "rerank", "sora"),
)
"""What the ids of models that cannot chat contain; the protocol has no field for it."""
_REASONS: Final[Mapping[object, FinishReason]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

LimitField = Literal["max_tokens", "max_completion_tokens"]


class Complaints(Protocol):
    """How an upstream's misbehaviour is told."""

    def parse(self, data: bytes | str) -> object: ...
    def garbage(self) -> ProviderError: ...
    def hung_up(self) -> ProviderError: ...
    def rejection(self, error: object, status: int = 200) -> ProviderError: ...


class ReplyReader:
    """Reads the events of one reply: items out, finish and usage remembered. `is_done`: nothing more is to come."""

    def __init__(self, upstream: Complaints) -> None:
        self.has_begun = False
        self.is_done = False
        self._upstream = upstream
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the model has stopped; usage may still come."""
        return self._reason is not None

    def take(self, data: bytes) -> StreamItem | None:
        """Return what one event says, often nothing. Raises ProviderRejected and ProviderGarbage."""
        if data == b"[DONE]":
            self.is_done = True
            return None
        chunk = self._upstream.parse(data)
        if not isinstance(chunk, dict):
            raise self._upstream.garbage()
        if chunk.get("error"):
            raise self._upstream.rejection(chunk["error"])
        if usage := chunk.get("usage"):
            self._usage = read_usage(usage) or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return None  # the usage chunk, or a notice of the upstream's own
        if reason := choice.get("finish_reason"):
            self._reason = _REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
        delta = choice.get("delta")
        return self._read_delta(delta) if isinstance(delta, dict) else None

    def finish(self) -> Finish:
        """Say how it ended. Raises ProviderGarbage if it only stopped."""
        if self._reason is None and not self.is_done:
            raise self._upstream.hung_up()
        return Finish(self._reason or "stop", self._usage)

    def _read_delta(self, delta: Mapping[str, object]) -> StreamItem | None:
        text = delta.get("content")
        if isinstance(text, str) and text:
            self.has_begun = True
            return Delta(text)
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and (kept := tuple(call for call in calls if isinstance(call, dict))):
            self.has_begun = True
            return ToolCallDelta(kept)
        if delta.get("reasoning_content") or delta.get("reasoning"):
            self.has_begun = True  # a sign of life, though it is not shown
        return None


def completion_body(request: CompletionRequest, limit_field: LimitField, *, is_prefilled: bool) -> dict[str, object]:
    """Return the body of `POST /chat/completions`; only what was set is in it. *is_prefilled*: see OpenAIProvider."""
    messages = [message_body(message) for message in request.messages]
    extra: dict[str, object] = {}
    if request.is_verbatim:
        pass
    elif request.is_continued and is_prefilled:
        extra = {"chat_template_kwargs": {"enable_thinking": False}}  # the answer has begun; llama.cpp refuses both
    elif request.is_continued:
        messages.append({"role": "user", "content": GO_ON})
    optional = {
        "tools": list(request.tools) or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
    }
    return {
        "model": request.model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        **extra,
        **_sampling(request.sampling, limit_field),
        **{name: value for name, value in optional.items() if value is not None},
    }


def message_body(message: PromptMessage) -> dict[str, object]:
    """Return one turn."""
    body: dict[str, object] = {"role": message.role, "content": message.content}
    if message.parts:
        body["content"] = [_part(part) for part in message.parts]
    if message.tool_calls:
        body["tool_calls"] = list(message.tool_calls)
        body["content"] = body["content"] or None
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body


def read_usage(value: object) -> Usage | None:
    """Read `usage`; None for what is none."""
    if not isinstance(value, Mapping):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens")
    return Usage(prompt, completion) if isinstance(prompt, int) and isinstance(completion, int) else None


def read_embeddings(answer: object, count: int, upstream: Complaints) -> Embeddings:
    """Read the answer of `POST /embeddings` for *count* texts. Raises ProviderGarbage for another number, or no vectors."""
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not isinstance(data, list) or len(data) != count:
        raise upstream.garbage()
    by_index: dict[int, tuple[float, ...]] = {}
    for place, entry in enumerate(data):
        vector = entry.get("embedding") if isinstance(entry, Mapping) else None
        index = entry.get("index", place) if isinstance(entry, Mapping) else None
        if not isinstance(index, int) or not is_vector(vector):
            raise upstream.garbage()
        by_index[index] = tuple(vector)
    if sorted(by_index) != list(range(count)):
        raise upstream.garbage()
    usage = answer.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    return Embeddings(tuple(by_index[index] for index in range(count)), tokens if isinstance(tokens, int) else None)


def is_vector(value: object) -> TypeGuard[list[float]]:
    """Say whether *value* is a list of numbers, at least one."""
    return isinstance(value, list) and bool(value) and all(type(number) in (float, int) for number in value)


def uses_of(model: str) -> frozenset[ModelUse]:
    """Guess from its id what a model is for; empty for one that neither chats nor embeds."""
    name = model.lower()
    if "embed" in name:
        return frozenset({"embed"})
    return frozenset() if any(word in name for word in NO_CHAT) else frozenset({"chat"})


def _part(part: str | Image) -> dict[str, object]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.url, **({"detail": part.detail} if part.detail else {})}}


def _sampling(sampling: Sampling, limit_field: LimitField) -> dict[str, object]:
    fields = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        limit_field: sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    return {name: value for name, value in fields.items() if value is not None}
