"""Any server that speaks OpenAI's chat completions: OpenAI itself, llama.cpp, vLLM, LM Studio, OpenRouter and so on.

A stream ends well only when the upstream says so, by a finish_reason or by [DONE]; a connection that merely ends is an error.
What a reasoning model thinks is never shown, but it counts as a sign of life.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Literal, cast
from urllib.parse import urlsplit

from httpx2 import EventSource, ServerSentEvent

from rustygpt.assistant.providers.base import CompletionRequest, Delta, Finish, ModelInfo, Sampling, Usage
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, Patience, Upstream

PUBLIC_BASE_URL = "https://api.openai.com/v1"
NO_CHAT = ("embed", "whisper", "tts", "dall-e", "moderation", "transcribe", "realtime", "audio", "image", "rerank", "sora")
"""What the ids of models that cannot chat contain; the protocol has no field for it."""
GO_ON = (
    "Your last message was cut off. Continue it exactly where it stops, in the middle of a word if need be. "
    "Do not repeat anything of it, and do not say that you continue."
)
"""The protocol has no way to give the beginning of a reply; a server that takes a last message for it is the exception."""


class OpenAIProvider:
    """One OpenAI-compatible upstream.

    *base_url* may be written with or without `/v1` and a slash at the end. *models*, if any, is the list that is offered
    instead of the upstream's own: for servers without `GET /models`, or to offer a few out of hundreds. *is_prefilled*: the
    server is a llama.cpp, which writes on where a last message of the assistant's stops.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str = "",
        models: Sequence[str] = (),
        patience: Patience | None = None,
        is_prefilled: bool = False,
    ) -> None:
        self.name = name
        self._is_prefilled = is_prefilled
        base = normalise_base_url(base_url)
        self._upstream = Upstream(name, base, api_key.strip(), patience)
        self._models = tuple(models)
        # OpenAI's reasoning models refuse max_tokens; most other servers know nothing else.
        self._limit_field = "max_completion_tokens" if base == PUBLIC_BASE_URL else "max_tokens"

    async def open(self) -> None:
        """Make the HTTP client; nothing is sent yet."""
        await self._upstream.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the configured models, else those of `GET /models` that can chat. Raises ProviderError."""
        if self._models:
            return tuple(ModelInfo(id=model, provider=self.name) for model in self._models)
        answer = await self._upstream.get("models")
        data = answer.get("data") if isinstance(answer, Mapping) else None
        if not isinstance(data, list):
            raise self._upstream.garbage()
        entries = [entry for entry in data if isinstance(entry, Mapping) and isinstance(entry.get("id"), str) and entry["id"]]
        chatting = [entry for entry in entries if not any(word in entry["id"].lower() for word in NO_CHAT)]
        return tuple(ModelInfo(entry["id"], self.name, _context_tokens(entry)) for entry in sorted(chatting, key=_rank))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta | Finish]:
        """Yield the reply; see Provider."""
        clock = asyncio.get_running_loop().time
        patience, reply = self._upstream.patience, _Reply(self._upstream)
        deadline = clock() + patience.first_token_seconds
        async with (
            self._upstream.post("chat/completions", self._body(request), deadline) as response,
            aclosing(cast("AsyncGenerator[ServerSentEvent]", aiter(EventSource(response, MAX_EVENT_BYTES)))) as events,
        ):
            while not reply.is_done and (event := await self._upstream.next_of(events, deadline)):
                if text := reply.take(event.data):
                    yield Delta(text)
                if reply.has_begun:
                    deadline = clock() + patience.idle_seconds
            yield reply.finish()

    def _body(self, request: CompletionRequest) -> dict[str, object]:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        extra: dict[str, object] = {}
        if request.is_continued and self._is_prefilled:
            extra = {"chat_template_kwargs": {"enable_thinking": False}}  # the answer has begun; llama.cpp refuses both
        elif request.is_continued:
            messages.append({"role": "user", "content": GO_ON})
        return {
            "model": request.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra,
            **_sampling(request.sampling, self._limit_field),
        }


class _Reply:
    """Reads the chunks of one reply: text out, finish and usage remembered."""

    def __init__(self, upstream: Upstream) -> None:
        self.has_begun = False
        self.is_done = False
        self._upstream = upstream
        self._reason: Literal["stop", "length"] | None = None
        self._usage: Usage | None = None

    def take(self, data: str) -> str:
        """Return the text of one event, often empty. Raises ProviderRejected and ProviderGarbage."""
        if data == "[DONE]":
            self.is_done = True
            return ""
        chunk = self._upstream.parse(data)
        if not isinstance(chunk, Mapping):
            raise self._upstream.garbage()
        if chunk.get("error"):
            raise self._upstream.rejection(chunk["error"])
        self._usage = _usage(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping):
            return ""  # the usage chunk, or a notice of the upstream's own
        if choice.get("finish_reason"):
            self._reason = "length" if choice["finish_reason"] == "length" else "stop"
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, Mapping) else None
        if isinstance(delta, Mapping) and (text or delta.get("reasoning_content") or delta.get("reasoning")):
            self.has_begun = True
        return text if isinstance(text, str) else ""

    def finish(self) -> Finish:
        """Say how it ended. Raises ProviderGarbage if it only stopped."""
        if self._reason is None and not self.is_done:
            raise self._upstream.hung_up()
        return Finish(self._reason or "stop", self._usage)


def normalise_base_url(text: str) -> str:
    """Return the address under which `chat/completions` and `models` are, without a slash at the end."""
    url = text.strip().rstrip("/").removesuffix("/chat/completions").removesuffix("/models").rstrip("/")
    return url if urlsplit(url).path else f"{url}/v1"


def _sampling(sampling: Sampling, limit_field: str) -> dict[str, object]:
    fields = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        limit_field: sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _usage(value: object) -> Usage | None:
    if not isinstance(value, Mapping):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens")
    return Usage(prompt, completion) if isinstance(prompt, int) and isinstance(completion, int) else None


def _context_tokens(entry: Mapping[str, object]) -> int | None:
    """Find the context where OpenRouter, vLLM and llama.cpp put it; OpenAI does not tell."""
    meta = entry.get("meta")
    nested = meta.get("n_ctx") if isinstance(meta, Mapping) else None
    found = (entry.get("context_length"), entry.get("max_model_len"), nested)
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def _rank(entry: Mapping[str, object]) -> tuple[bool, int]:
    """Put small models first, then the newest: the first one is the default where nobody chose."""
    created = entry.get("created")
    return "mini" not in str(entry["id"]), -created if isinstance(created, int) else 0
