"""Ollama by its native API: `/api/chat` in NDJSON, `/api/embed`, `/api/tags` and `/api/ps`.

Its OpenAI-compatible face lacks options and hides why a reply ended. An error in the middle comes as an `{"error": …}` line
inside a 200, and only a line with `done: true` ends a reply well.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from rustygpt.assistant.providers.base import (
    ALL_PARAMETERS,
    Capabilities,
    CompletionRequest,
    Delta,
    Embeddings,
    Loading,
    ModelInfo,
    PromptMessage,
    ProviderError,
    Sampling,
    StreamItem,
    ToolCallDelta,
)
from rustygpt.assistant.providers.ollama_wire import (
    chat_body,
    keep_alive_field,
    options,
    read_finish,
    read_model,
    read_tool_calls,
)
from rustygpt.assistant.providers.openai_wire import is_vector
from rustygpt.assistant.providers.reading import read_lines
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, MAX_VECTORS_BYTES, Patience, Upstream, body_of

ASSUMED_LOADED_SECONDS: Final = 60.0
"""A model that answered so lately is taken for loaded; else Ollama is asked first, so that a long loading can be told."""
LOADED_SECONDS: Final = 1.0


class OllamaProvider:
    """One Ollama server. *models*, if any, is the list that is offered instead of the server's own.

    *context_tokens* is `num_ctx` of every request, 0 leaves it to the server; *keep_alive* likewise, "" for the server's own.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str = "",
        models: Sequence[str] = (),
        patience: Patience | None = None,
        context_tokens: int = 0,
        keep_alive: str = "",
    ) -> None:
        self.name = name
        self._upstream = Upstream(name, normalise_base_url(base_url), api_key.strip(), patience)
        self._models = tuple(models)
        self._context_tokens = context_tokens
        self._keep_alive = keep_alive
        self._answered_at: dict[str, float] = {}

    @property
    def upstream(self) -> Upstream:
        """The server, for what it can do beside answering (ollama_library.py)."""
        return self._upstream

    @property
    def capabilities(self) -> Capabilities:
        """All but tool_choice, which Ollama has no word for."""
        return Capabilities(parameters=ALL_PARAMETERS - {"tool_choice"}, embeds=True, sees_images=True)

    async def open(self) -> None:
        """Make the HTTP client; nothing is sent yet."""
        await self._upstream.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the configured models, else the pulled ones, latest first. Raises ProviderError."""
        context = self._context_tokens or None
        if self._models:
            return tuple(ModelInfo(model, self.name, context) for model in self._models)
        found = [read_model(entry, self.name, context) for entry in await self._entries("tags")]
        return tuple(model for model in found if model is not None)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamItem]:
        """Yield the reply; see Provider."""
        upstream, clock = self._upstream, asyncio.get_running_loop().time
        body = chat_body(request, provider=self.name, context_tokens=self._context_tokens, keep_alive=self._keep_alive)
        if not await self._is_loaded(request.model):
            yield Loading()
        calls, finish = 0, None
        watch = upstream.watch()
        try:
            async with (
                upstream.post("chat", body, watch) as response,
                aclosing(read_lines(body_of(response), MAX_EVENT_BYTES, upstream.garbage)) as lines,
            ):
                while finish is None and (line := await upstream.wait(watch, anext(lines, None))) is not None:
                    record = self._record(line)
                    message = record.get("message")
                    fields = message if isinstance(message, Mapping) else {}
                    if isinstance(text := fields.get("content"), str) and text:
                        yield Delta(text)
                    if made := read_tool_calls(fields.get("tool_calls"), calls):
                        calls += len(made)
                        yield ToolCallDelta(made)
                    if record.get("done") is True:
                        finish = read_finish(record, has_called=calls > 0)
                    elif text or made or fields.get("thinking"):
                        watch.restart(upstream.patience.idle_seconds)
                await upstream.read_out(watch, lines)
        finally:
            watch.stop()
        if finish is None:
            raise upstream.hung_up()
        self._answered_at[request.model] = clock()
        yield finish

    async def embed(self, model: str, texts: Sequence[str]) -> Embeddings:
        """Ask `POST /api/embed`; a text that is too long is an error, never cut in silence. See Provider."""
        body = {
            "model": model,
            "input": list(texts),
            "truncate": False,
            "options": options(Sampling(), self._context_tokens),
            **keep_alive_field(self._keep_alive),
        }
        answer = await self._upstream.ask("embed", body, MAX_VECTORS_BYTES)
        if not isinstance(answer, Mapping):
            raise self._upstream.garbage()
        if answer.get("error"):
            raise self._upstream.rejection(answer["error"])
        vectors, tokens = answer.get("embeddings"), answer.get("prompt_eval_count")
        if not isinstance(vectors, list) or len(vectors) != len(texts) or not all(map(is_vector, vectors)):
            raise self._upstream.garbage()
        return Embeddings(tuple(map(tuple, vectors)), tokens if isinstance(tokens, int) else None)

    async def count_tokens(self, model: str, messages: Sequence[PromptMessage]) -> int | None:
        """Return None: Ollama has no way to count."""
        return None

    async def _is_loaded(self, model: str) -> bool:
        """Say whether *model* is in memory, or whether that cannot be told."""
        if asyncio.get_running_loop().time() - self._answered_at.get(model, float("-inf")) < ASSUMED_LOADED_SECONDS:
            return True
        try:
            async with asyncio.timeout(LOADED_SECONDS):
                entries = await self._entries("ps")
        except (ProviderError, TimeoutError):
            return True
        return any(model in (entry.get("model"), entry.get("name")) for entry in entries)

    async def _entries(self, path: str) -> list[Mapping[str, object]]:
        answer = await self._upstream.get(path)
        entries = answer.get("models") if isinstance(answer, Mapping) else None
        if not isinstance(entries, list):
            raise self._upstream.garbage()
        return [entry for entry in entries if isinstance(entry, Mapping)]

    def _record(self, line: bytes) -> Mapping[str, object]:
        record = self._upstream.parse(line)
        if not isinstance(record, Mapping):
            raise self._upstream.garbage()
        if record.get("error"):
            raise self._upstream.rejection(record["error"])
        return record


def normalise_base_url(text: str) -> str:
    """Return the address of the API for what people write: with `/api`, `/v1`, slashes at the end, or without a scheme."""
    url = text.strip().rstrip("/").removesuffix("/api").removesuffix("/v1").rstrip("/")
    return f"{url if '://' in url else f'http://{url}'}/api"
