"""What an OpenAI-compatible server sends, piece by piece, for the scripted server to send."""

import json
from typing import Any

from tests.scripted_http import Answer

CHAT = "/v1/chat/completions"
KEY = "sk-secret-of-this-test-000"


def event(data: object) -> bytes:
    """Return one server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()) + b"\n\n"


def chunk(finish_reason: str | None = None, **delta: Any) -> bytes:
    """Return a chunk of a completion."""
    return event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def stream(*pieces: bytes, then: Any = "end") -> Answer:
    """Return a stream of events."""
    return Answer(pieces, content_type="text/event-stream", then=then)
