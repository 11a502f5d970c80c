"""What an upstream's error becomes: a sentence fit for the user's eyes, of bounded length, in which no key is left."""

import re
from collections.abc import Mapping
from typing import Final

from rustygpt.assistant.providers.base import ProviderContextExceeded, ProviderRejected

MAX_MESSAGE_CHARACTERS: Final = 400
_KEY_LIKE: Final = re.compile(r"\b(?:sk|pk|gsk|key|xai)-[\w*.-]{6,}")
_TOO_LONG: Final = frozenset({"exceed_context_size_error", "context_length_exceeded"})


def rejection(name: str, error: object, status: int, *, secret: str) -> ProviderRejected:
    """Turn an upstream's error (text, or a mapping with `message` and `type`) into ours. *secret* is never repeated."""
    details = error if isinstance(error, Mapping) else {}
    said = details.get("message") if details else error
    text = " ".join(said.split()) if isinstance(said, str) else ""
    if secret:
        text = text.replace(secret, "[key]")
    text = _KEY_LIKE.sub("[key]", text)
    if len(text) > MAX_MESSAGE_CHARACTERS:
        text = text[: MAX_MESSAGE_CHARACTERS - 1] + "…"
    if _TOO_LONG & {each for each in (details.get("type"), details.get("code")) if isinstance(each, str)}:
        length, room = details.get("n_prompt_tokens"), details.get("n_ctx")  # llama.cpp tells, others only write
        said = f"it has {length} tokens, and there is room for {room}." if length and room else f"{name} said: {text}"
        return ProviderContextExceeded(f"The conversation is too long for this model: {said}", status)
    reason = f"answered with status {status}" if status != 200 else "reported an error"
    return ProviderRejected(f"{name} {reason}: {text}" if text else f"{name} {reason}.", status)


def retry_after_seconds(header: str | None) -> float:
    """Read Retry-After's number of seconds; a date, or nothing, is 0."""
    return float(header) if header is not None and header.isascii() and header.isdecimal() and len(header) <= 6 else 0.0
