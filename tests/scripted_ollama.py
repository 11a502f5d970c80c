"""Ollama's side of its protocol, scripted from its API reference (docs/api.md: chat completion, list local models).

async with scripted_server() as server:
    server.answer("/api/tags", tags("llama3.2:latest"))
    server.answer("/api/chat", chat("Hello", " there"))
"""

import json
from typing import Any

from tests.scripted_http import Answer, End

NDJSON = "application/x-ndjson"
CREATED_AT = "2026-11-21T10:00:00.000000Z"


def record(**fields: Any) -> bytes:
    """Return one line of the stream."""
    return json.dumps({"model": "llama3.2:latest", "created_at": CREATED_AT, **fields}, ensure_ascii=False).encode() + b"\n"


def delta(text: str, **message: Any) -> bytes:
    """Return a line with a piece of the reply."""
    return record(message={"role": "assistant", "content": text, **message}, done=False)


def done(reason: str = "stop", *, prompt_tokens: int | None = 26, completion_tokens: int = 2) -> bytes:
    """Return the last line. A prompt that came from the cache has no prompt_eval_count."""
    counts = {} if prompt_tokens is None else {"prompt_eval_count": prompt_tokens, "prompt_eval_duration": 130_079_000}
    durations = {"total_duration": 4_883_583_458, "load_duration": 1_334_875, "eval_duration": 4_232_710_000}
    message = {"role": "assistant", "content": ""}
    return record(message=message, done=True, done_reason=reason, eval_count=completion_tokens, **counts, **durations)


def chat(*texts: str, then: End = "end", last: bytes | None = None) -> Answer:
    """Answer `/api/chat` with one delta a text; *last* is the line that ends it, by default a good one."""
    ending = done(completion_tokens=len(texts)) if last is None else last
    return Answer((*map(delta, texts), *((ending,) if ending else ())), content_type=NDJSON, then=then)


def tags(*names: str) -> Answer:
    """Answer `/api/tags` with models called *names*."""
    details = {
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
    }
    models = [
        {
            "name": name,
            "model": name,
            "modified_at": CREATED_AT,
            "size": 2_019_393_189,
            "digest": "a80c4f17acd5",
            "details": details,
        }
        for name in names
    ]
    return Answer((json.dumps({"models": models}).encode(),))
