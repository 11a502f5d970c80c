"""The chunks of one streamed answer, as bytes: what is the same in all of them is encoded once.

First delta with the role, deltas, one empty delta with the reason, the counts where they were asked for, [DONE]; or an error and nothing more.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from rustygpt.assistant.providers.base import FinishReason, Json
from rustygpt.http.openai_error import OpenAIError
from rustygpt.openai_api.usage import Counted

DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"
LOADING: Final = b": the model is being loaded\n\n"


class Chunks:
    """Encodes the chunks of the answer *answer_id* by *model*, begun at *created* (Unix seconds)."""

    def __init__(self, answer_id: str, model: str, created: int, *, include_usage: bool, extra: dict[str, Any]) -> None:
        self._fields = {"id": answer_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._extra = extra
        # OpenAI has usage in every chunk where it was asked for: null until the last.
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}
        empty = {"index": 0, "delta": {"content": ""}, "finish_reason": None}
        whole = self._event({**self._fields, "choices": [empty], **self._usage})
        self._head, _, self._tail = whole.partition(b'""')

    def role(self) -> bytes:
        """Return the first delta; it also carries what is ours: warnings, and where the answer is stored."""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        return self._event({**self._fields, "choices": [choice], **self._usage, **self._extra})

    def text(self, content: str) -> bytes:
        """Return a delta of text."""
        return self._head + orjson.dumps(content) + self._tail

    def calls(self, tool_calls: Sequence[Json]) -> bytes:
        """Return a delta of pieces of tool calls."""
        choice = {"index": 0, "delta": {"tool_calls": list(tool_calls)}, "finish_reason": None}
        return self._event({**self._fields, "choices": [choice], **self._usage})

    def end(self, reason: FinishReason, counted: Counted) -> bytes:
        """Return all that ends a good answer."""
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        parts = [self._event({**self._fields, "choices": [choice], **self._usage})]
        if self._usage:
            parts.append(self._event({**self._fields, "choices": [], "usage": counted.body()}))
        return b"".join((*parts, DONE))

    @staticmethod
    def error(error: OpenAIError) -> bytes:
        """Return what ends an answer that has failed."""
        return b"data: %s\n\n" % error.body()

    @staticmethod
    def _event(data: dict[str, Any]) -> bytes:
        return b"data: %s\n\n" % orjson.dumps(data)
