"""Any server that speaks OpenAI's chat completions: OpenAI itself, llama.cpp, vLLM, LM Studio, OpenRouter and so on.

A stream ends well only when the upstream says so, by a finish_reason or by [DONE]; a connection that merely ends is an error.
What a reasoning model thinks is never shown, but it counts as a sign of life.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from httpx2 import HTTPError

from rustygpt.assistant.providers.base import (
    Capabilities,
    CompletionRequest,
    Embeddings,
    ModelInfo,
    PromptMessage,
    StreamItem,
)
from rustygpt.assistant.providers.openai_wire import (
    LimitField,
    ReplyReader,
    completion_body,
    message_body,
    read_embeddings,
    uses_of,
)
from rustygpt.assistant.providers.reading import Events, Watch
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, MAX_VECTORS_BYTES, Patience, Upstream, body_of

PUBLIC_BASE_URL: Final = "https://api.openai.com/v1"
AFTER_FINISH_SECONDS: Final = 5.0


class OpenAIProvider:
    """One OpenAI-compatible upstream.

    *base_url* may be written with or without `/v1` and a slash at the end. *models*, if any, is the list that is offered
    instead of the upstream's own: for servers without `GET /models`, or to offer a few out of hundreds. *is_llama_cpp*: the
    server is a llama.cpp, which writes on where a last message of the assistant's stops, and counts tokens. *context_tokens* is that
    of models of which the upstream does not tell it; 0 is not known.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str = "",
        models: Sequence[str] = (),
        patience: Patience | None = None,
        is_llama_cpp: bool = False,
        context_tokens: int = 0,
    ) -> None:
        self.name = name
        self._is_llama_cpp = is_llama_cpp
        self._context_tokens = context_tokens or None
        base = normalise_base_url(base_url)
        self._upstream = Upstream(name, base, api_key.strip(), patience)
        self._models = tuple(models)
        # OpenAI's reasoning models refuse max_tokens; most other servers know nothing else.
        self._limit_field: LimitField = "max_completion_tokens" if base == PUBLIC_BASE_URL else "max_tokens"

    @property
    def capabilities(self) -> Capabilities:
        """All that the protocol has: what a server or model behind it cannot do, it refuses by itself."""
        return Capabilities(embeds=True, sees_images=True, counts_tokens=self._is_llama_cpp)

    async def open(self) -> None:
        """Make the HTTP client; nothing is sent yet."""
        await self._upstream.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the configured models, else those of `GET /models` that can chat or embed. Raises ProviderError."""
        if self._models:
            return tuple(
                ModelInfo(model, self.name, self._context_tokens, uses_of(model) or frozenset({"chat"})) for model in self._models
            )
        answer = await self._upstream.get("models")
        data = answer.get("data") if isinstance(answer, Mapping) else None
        if not isinstance(data, list):
            raise self._upstream.garbage()
        entries = [entry for entry in data if isinstance(entry, Mapping) and isinstance(entry.get("id"), str) and entry["id"]]
        return tuple(
            ModelInfo(entry["id"], self.name, _context_tokens(entry) or self._context_tokens, uses)
            for entry in sorted(entries, key=_rank)
            if (uses := uses_of(entry["id"]))
        )

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamItem]:
        """Yield the reply; see Provider."""
        upstream = self._upstream
        body = completion_body(request, self._limit_field, is_prefilled=self._is_llama_cpp)
        idle_seconds, reply = upstream.patience.idle_seconds, ReplyReader(upstream)
        watch = upstream.watch()
        try:
            async with upstream.post("chat/completions", body, watch) as response:
                await upstream.require_events(response, watch)
                chunks, events = body_of(response), Events(MAX_EVENT_BYTES, upstream.garbage)
                # By hand, not by layers of generators: each costs every token half a microsecond.
                while not reply.is_finished and not reply.is_done:
                    try:
                        chunk = await watch.wait(chunks.__anext__())
                    except StopAsyncIteration:
                        break
                    for data in events.feed(chunk):
                        if (item := reply.take(data)) is not None:
                            yield item
                    if reply.has_begun:
                        watch.restart(idle_seconds)
                await self._read_usage(watch, chunks, events, reply)
                await upstream.read_out(watch, chunks)
            yield reply.finish()
        except TimeoutError:
            raise upstream.stopped() from None
        finally:
            watch.stop()

    async def _read_usage(self, watch: Watch, chunks: AsyncIterator[bytes], events: Events, reply: ReplyReader) -> None:
        """The model has stopped; its usage may follow. A server that then keeps the connection open has ended well all the same."""
        watch.restart(AFTER_FINISH_SECONDS)
        with suppress(TimeoutError, HTTPError, StopAsyncIteration):
            while reply.is_finished and not reply.is_done:
                for data in events.feed(await watch.wait(chunks.__anext__())):
                    reply.take(data)

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Ask `POST /embeddings`; see Provider."""
        body = {"model": model, "input": list(texts), "encoding_format": "float"}
        answer = await self._upstream.ask("embeddings", body, MAX_VECTORS_BYTES)
        return read_embeddings(answer, len(texts), self._upstream)

    async def count_tokens(self, model: str, messages: Sequence[PromptMessage]) -> int | None:
        """Ask llama.cpp; the protocol itself has no way. See Provider."""
        if not self._is_llama_cpp:
            return None
        body = {"model": model, "messages": [message_body(message) for message in messages]}
        answer = await self._upstream.ask("chat/completions/input_tokens", body)
        count = answer.get("input_tokens") if isinstance(answer, Mapping) else None
        if not isinstance(count, int):
            raise self._upstream.garbage()
        return count


def normalise_base_url(text: str) -> str:
    """Return the address under which `chat/completions` and `models` are, without a slash at the end."""
    url = text.strip().rstrip("/").removesuffix("/chat/completions").removesuffix("/models").rstrip("/")
    return url if urlsplit(url).path else f"{url}/v1"


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
