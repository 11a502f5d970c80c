"""Ollama by its native API: `/api/chat` in NDJSON and `/api/tags`.

Its OpenAI-compatible face lacks options and hides why a reply ended. An error in the middle comes as an `{"error": …}` line
inside a 200, and only a line with `done: true` ends a reply well.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing

from rustygpt.assistant.providers.base import CompletionRequest, Delta, Finish, ModelInfo, Sampling, Usage
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, Patience, Upstream


class OllamaProvider:
    """One Ollama server. *models*, if any, is the list that is offered instead of the server's own."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str = "",
        models: Sequence[str] = (),
        patience: Patience | None = None,
    ) -> None:
        self.name = name
        self._upstream = Upstream(name, normalise_base_url(base_url), api_key.strip(), patience)
        self._models = tuple(models)

    async def open(self) -> None:
        """Make the HTTP client; nothing is sent yet."""
        await self._upstream.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._upstream.close()

    async def models(self) -> tuple[ModelInfo, ...]:
        """List the configured models, else the pulled ones that can chat, latest first. Raises ProviderError."""
        if self._models:
            return tuple(ModelInfo(id=model, provider=self.name) for model in self._models)
        answer = await self._upstream.get("tags")
        entries = answer.get("models") if isinstance(answer, Mapping) else None
        if not isinstance(entries, list):
            raise self._upstream.garbage()
        found = [entry for entry in entries if isinstance(entry, Mapping) and _can_chat(entry)]
        names = [name for entry in found if isinstance(name := entry.get("model") or entry.get("name"), str)]
        return tuple(ModelInfo(id=name, provider=self.name) for name in names)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Delta | Finish]:
        """Yield the reply; see Provider."""
        clock = asyncio.get_running_loop().time
        patience = self._upstream.patience
        deadline = clock() + patience.first_token_seconds
        async with (
            self._upstream.post("chat", _body(request), deadline) as response,
            aclosing(self._lines(response.aiter_bytes())) as lines,
        ):
            while (line := await self._upstream.next_of(lines, deadline)) is not None:
                message = line.get("message")
                fields = message if isinstance(message, Mapping) else {}
                if isinstance(text := fields.get("content"), str) and text:
                    yield Delta(text)
                if line.get("done") is True:
                    yield _finish(line)
                    return
                if text or fields.get("thinking"):
                    deadline = clock() + patience.idle_seconds
        raise self._upstream.hung_up()

    async def _lines(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Mapping[str, object]]:
        """Cut the body at line feeds, so that a code point split over chunks is whole again. Raises ProviderError."""
        pending = bytearray()
        async for chunk in chunks:
            *lines, rest = (pending + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield self._record(bytes(line))
            pending = rest
            if len(pending) > MAX_EVENT_BYTES:
                raise self._upstream.garbage()
        if pending.strip():
            yield self._record(bytes(pending))

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


def _body(request: CompletionRequest) -> dict[str, object]:
    return {
        "model": request.model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "stream": True,
        "options": _options(request.sampling),
    }


def _options(sampling: Sampling) -> dict[str, object]:
    fields = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "num_predict": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _finish(line: Mapping[str, object]) -> Finish:
    prompt, completion = line.get("prompt_eval_count"), line.get("eval_count")
    # A prompt that was all in the cache is reported without prompt_eval_count.
    usage = Usage(prompt if isinstance(prompt, int) else 0, completion) if isinstance(completion, int) else None
    return Finish("length" if line.get("done_reason") == "length" else "stop", usage)


def _can_chat(entry: Mapping[str, object]) -> bool:
    """Leave out embedding models: by capabilities where Ollama lists them, else by the family."""
    capabilities, details = entry.get("capabilities"), entry.get("details")
    if isinstance(capabilities, list):
        return "completion" in capabilities
    return not (isinstance(details, Mapping) and "bert" in str(details.get("family")))
