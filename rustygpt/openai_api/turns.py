"""The `messages` of a chat request, checked one by one: each wrong one is named by its place.

Texts in parts are joined by line feeds, as llama.cpp and vLLM do; pictures keep their place among them.
"""

from collections.abc import Mapping
from typing import Any, Final

from rustygpt.assistant.providers.base import Image, PromptMessage, PromptRole
from rustygpt.errors import FieldError, Invalid

ROLES: Final[Mapping[str, PromptRole]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
KNOWN: Final = frozenset({"role", "content", "tool_calls", "tool_call_id"})
DETAILS: Final = ("low", "high", "auto")


def read_turns(messages: list[dict[str, Any]]) -> tuple[tuple[PromptMessage, ...], list[str]]:
    """Return the prompt, and the names of fields that will not be heeded. Raises Invalid."""
    turns = tuple(_Turn(message, f"messages.{number}").read() for number, message in enumerate(messages))
    ignored = [
        f"messages.{number}.{name}"
        for number, message in enumerate(messages)
        for name, value in message.items()
        if name not in KNOWN and value is not None
    ]
    return turns, ignored


class _Turn:
    def __init__(self, message: dict[str, Any], path: str) -> None:
        self._message = message
        self._path = path

    def read(self) -> PromptMessage:
        message = self._message
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise self._wrong("role", f"must be one of {', '.join(ROLES)}")
        calls = self._tool_calls(role)
        content = message.get("content")
        if content is None and not calls:
            raise self._wrong("content", "is required")
        text, parts = self._content(content, role) if content is not None else ("", ())
        call_id = message.get("tool_call_id")
        if (role == "tool") != isinstance(call_id, str):
            raise self._wrong("tool_call_id", "is what a tool's message, and no other, names as a text")
        return PromptMessage(ROLES[role], text, parts, calls, call_id)

    def _content(self, content: object, role: str) -> tuple[str, tuple[str | Image, ...]]:
        if isinstance(content, str):
            return content, ()
        if not isinstance(content, list) or not content:
            raise self._wrong("content", "must be a text or a list of parts")
        parts = tuple(self._part(part, f"content.{number}") for number, part in enumerate(content))
        text = "\n".join(part for part in parts if isinstance(part, str))
        if not any(isinstance(part, Image) for part in parts):
            return text, ()
        if role != "user":
            raise self._wrong("content", "may hold pictures only in a user's message")
        return text, parts

    def _part(self, part: object, path: str) -> str | Image:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, dict) and kind == "text" and isinstance(part.get("text"), str):
            return str(part["text"])
        if not isinstance(part, dict) or kind != "image_url":
            raise self._wrong(path, "must be of type text with a text, or of type image_url")
        image = part.get("image_url")
        url, detail = (image.get("url"), image.get("detail")) if isinstance(image, dict) else (image, None)
        if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:image/")):
            raise self._wrong(f"{path}.image_url", "must have a url that begins with https://, http:// or data:image/")
        if detail is not None and detail not in DETAILS:
            raise self._wrong(f"{path}.image_url.detail", f"must be one of {', '.join(DETAILS)}")
        return Image(url, detail)

    def _tool_calls(self, role: str) -> tuple[dict[str, Any], ...]:
        calls = self._message.get("tool_calls")
        if calls is None or calls == []:
            return ()
        if role != "assistant" or not isinstance(calls, list):
            raise self._wrong("tool_calls", "must be a list, in an assistant's message")
        for number, call in enumerate(calls):
            function = call.get("function") if isinstance(call, dict) else None
            has_names = isinstance(function, dict) and all(isinstance(function.get(name), str) for name in ("name", "arguments"))
            if not has_names or not isinstance(call.get("id"), str):
                raise self._wrong(f"tool_calls.{number}", "must have an id, and a function with name and arguments as texts")
        return tuple(calls)

    def _wrong(self, field: str, message: str) -> Invalid:
        return Invalid(errors=(FieldError(f"{self._path}.{field}", message),))
