"""What Ollama does with its own models beside running them: `/api/pull`, `/api/show` and `/api/delete`.

A pull tells its progress by lines; an error comes as a line inside a 200, and only `success` ends one well. Closing the connection
stops it, and asking again goes on where Ollama was.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from rustygpt.assistant.providers.base import ProviderRejected
from rustygpt.assistant.providers.reading import read_lines
from rustygpt.assistant.providers.upstream import MAX_EVENT_BYTES, Upstream, body_of

PULL_IDLE_SECONDS: Final = 300.0
"""Ollama says nothing while it checks what it has loaded, a minute and more for a large model from a slow disk."""
MAX_STATUS_CHARACTERS: Final = 200
HTTP_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is, over all layers that Ollama has named so far; `bytes_total` is None before the first."""

    status: str
    bytes_done: int
    bytes_total: int | None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What Ollama tells of a model; None where it does not."""

    family: str | None
    parameters: str | None
    quantization: str | None
    context_tokens: int | None


async def pull_model(upstream: Upstream, model: str) -> AsyncGenerator[PullProgress]:
    """Let Ollama fetch *model*, and yield how far it is. Raises ProviderError."""
    layers: dict[str, tuple[int, int]] = {}
    watch = upstream.watch()
    try:
        async with (
            upstream.post("pull", {"model": model, "stream": True}, watch) as response,
            aclosing(read_lines(body_of(response), MAX_EVENT_BYTES, upstream.garbage)) as lines,
        ):
            watch.restart(PULL_IDLE_SECONDS)
            while (line := await upstream.wait(watch, anext(lines, None))) is not None:
                record = upstream.parse(line)
                if not isinstance(record, Mapping):
                    raise upstream.garbage()
                if record.get("error"):
                    raise upstream.rejection(record["error"])
                yield _progress(record, layers)
                if record.get("status") == "success":
                    return
                watch.restart(PULL_IDLE_SECONDS)
    finally:
        watch.stop()
    raise upstream.hung_up()


async def show_model(upstream: Upstream, model: str) -> ModelFacts:
    """Ask what Ollama knows of *model*. Raises ProviderError."""
    answer = await upstream.ask("show", {"model": model})
    if not isinstance(answer, Mapping):
        raise upstream.garbage()
    details, info = _mapping(answer.get("details")), _mapping(answer.get("model_info"))
    context = info.get(f"{info.get('general.architecture')}.context_length")
    return ModelFacts(
        family=_text(details.get("family")),
        parameters=_text(details.get("parameter_size")),
        quantization=_text(details.get("quantization_level")),
        context_tokens=context if type(context) is int and context > 0 else None,
    )


async def delete_model(upstream: Upstream, model: str) -> bool:
    """Let Ollama delete *model*; False when it has none of this name. Raises ProviderError."""
    try:
        await upstream.delete("delete", {"model": model})
    except ProviderRejected as error:
        if error.status == HTTP_NOT_FOUND:
            return False
        raise
    return True


def _progress(record: Mapping[str, object], layers: dict[str, tuple[int, int]]) -> PullProgress:
    digest, total, completed = record.get("digest"), record.get("total"), record.get("completed", 0)
    if isinstance(digest, str) and type(total) is int and type(completed) is int and 0 <= completed <= total < 2**60:
        layers[digest] = completed, total
    status = " ".join(str(record.get("status", "")).split())[:MAX_STATUS_CHARACTERS]
    done, whole = (sum(column) for column in zip(*layers.values(), strict=True)) if layers else (0, None)
    return PullProgress(status, done or 0, whole)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value[:64] if isinstance(value, str) and value else None
