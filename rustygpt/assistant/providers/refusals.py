"""What an upstream's error becomes: a sentence fit for the user's eyes, of bounded length, in which no key and no address is left."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from rustygpt.assistant.providers.base import ProviderContextExceeded, ProviderRejected

MAX_MESSAGE_CHARACTERS: Final = 400
_KEY_LIKE: Final = re.compile(r"\b(?:sk|pk|gsk|key|xai)-[\w*.-]{6,}")
ADDRESS: Final = "[address]"
_URL: Final = re.compile(r"(?<![\w+.-])[A-Za-z][\w+.-]*://[^\s\"'<>`]*[^\s\"'<>`.,;:!?)\]}]")
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w]|\.\d)")
_HOST_AND_PORT: Final = re.compile(
    r"(?<![\w.-])(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+:\d{2,5}|[A-Za-z][A-Za-z0-9-]*:\d{4,5})(?![\w])"
)
"""A name with a dot and any port, or one without and a port of four or five digits: `llama3.2:3b` and 12:30 are no addresses."""
_IPV6_LIKE: Final = re.compile(
    r"(?<![\w:.])\[?([0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(?:\d+(?:\.\d+){3})?)(?:%\w+)?(?:\](?::\d{1,5})?)?(?![\w:])"
)
_TOO_LONG: Final = frozenset({"exceed_context_size_error", "context_length_exceeded"})


def rejection(name: str, error: object, status: int, *, secret: str) -> ProviderRejected:
    """Turn an upstream's error (text, or a mapping with `message` and `type`) into ours. *secret* is never repeated."""
    details = error if isinstance(error, Mapping) else {}
    said = details.get("message") if details else error
    text = " ".join(said.split()) if isinstance(said, str) else ""
    if secret:
        text = text.replace(secret, "[key]")
    text = _without_addresses(_KEY_LIKE.sub("[key]", text))
    if len(text) > MAX_MESSAGE_CHARACTERS:
        text = text[: MAX_MESSAGE_CHARACTERS - 1] + "…"
    if _TOO_LONG & {each for each in (details.get("type"), details.get("code")) if isinstance(each, str)}:
        length, room = details.get("n_prompt_tokens"), details.get("n_ctx")  # llama.cpp tells, others only write
        said = f"it has {length} tokens, and there is room for {room}." if length and room else f"{name} said: {text}"
        return ProviderContextExceeded(f"The conversation is too long for this model: {said}", status)
    reason = f"answered with status {status}" if status != 200 else "reported an error"
    return ProviderRejected(f"{name} {reason}: {text}" if text else f"{name} {reason}.", status)


def _without_addresses(text: str) -> str:
    """Mask URLs, IP addresses, and hosts with a port: where the server asks is not for its users."""
    for pattern in (_URL, _IPV4, _HOST_AND_PORT):
        text = pattern.sub(ADDRESS, text)
    return _IPV6_LIKE.sub(lambda found: ADDRESS if _is_ipv6(found[1]) else found[0], text)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def retry_after_seconds(header: str | None) -> float:
    """Read Retry-After's number of seconds; a date, or nothing, is 0."""
    return float(header) if header is not None and header.isascii() and header.isdecimal() and len(header) <= 6 else 0.0
