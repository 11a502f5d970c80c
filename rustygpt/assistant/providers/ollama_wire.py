"""Ollama's shapes, as sent and as read, out of and into OpenAI's, which requests and items have. Nothing here waits."""

from collections.abc import Mapping
from typing import Any

import orjson

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Finish,
    Image,
    Json,
    ModelInfo,
    ModelUse,
    PromptMessage,
    ProviderRejected,
    Sampling,
    Usage,
)
from rustygpt.ids import new_uuid


def chat_body(request: CompletionRequest, *, provider: str, context_tokens: int, keep_alive: str) -> dict[str, object]:
    """Return the body of `POST /api/chat`; only what was set is in it. Raises ProviderRejected for pictures by address."""
    names = _tool_names(request.messages)
    fields: dict[str, object] = {
        "model": request.model,
        "messages": [_message(message, names, provider) for message in request.messages],
        "stream": True,
        "options": options(request.sampling, context_tokens),
    }
    if request.tools and request.tool_choice != "none":
        fields["tools"] = list(request.tools)
    if (form := _format(request.response_format)) is not None:
        fields["format"] = form
    return fields | keep_alive_field(keep_alive)


def options(sampling: Sampling, context_tokens: int) -> dict[str, object]:
    """Return Ollama's `options`; *context_tokens* 0 leaves `num_ctx` to the server."""
    fields = {
        "num_ctx": context_tokens or None,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "num_predict": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    return {name: value for name, value in fields.items() if value is not None}


def keep_alive_field(keep_alive: str) -> dict[str, object]:
    """Return `keep_alive` as Ollama wants it: a duration such as 10m, or a whole number of seconds; empty leaves it out."""
    if not keep_alive:
        return {}
    return {"keep_alive": int(keep_alive) if keep_alive.lstrip("-").isdecimal() else keep_alive}


def read_tool_calls(value: object, first_index: int) -> tuple[Json, ...]:
    """Read the calls of one line: Ollama sends each whole, with its arguments as an object, and mostly without an id."""
    calls = value if isinstance(value, list) else []
    functions = [call.get("function") for call in calls if isinstance(call, Mapping)]
    return tuple(
        {
            "index": index,
            "id": f"call_{new_uuid().hex}",
            "type": "function",
            "function": {"name": function.get("name"), "arguments": orjson.dumps(function.get("arguments") or {}).decode()},
        }
        for index, function in enumerate((each for each in functions if isinstance(each, Mapping)), first_index)
    )


def read_finish(line: Mapping[str, object], *, has_called: bool) -> Finish:
    """Read the last line."""
    prompt, completion = line.get("prompt_eval_count"), line.get("eval_count")
    # A prompt that was all in the cache is reported without prompt_eval_count.
    usage = Usage(prompt if isinstance(prompt, int) else 0, completion) if isinstance(completion, int) else None
    if has_called:
        return Finish("tool_calls", usage)
    return Finish("length" if line.get("done_reason") == "length" else "stop", usage)


def read_model(entry: Mapping[str, object], provider: str, context_tokens: int | None) -> ModelInfo | None:
    """Read one entry of `/api/tags`; None for what neither chats nor embeds."""
    name = entry.get("model") or entry.get("name")
    capabilities, details = entry.get("capabilities"), entry.get("details")
    uses: set[ModelUse] = set()
    if isinstance(capabilities, list):
        uses |= {"chat"} if "completion" in capabilities else set()
        uses |= {"embed"} if "embedding" in capabilities else set()
    else:  # an older Ollama: the family tells
        uses.add("embed" if isinstance(details, Mapping) and "bert" in str(details.get("family")) else "chat")
    size = entry.get("size")
    size_bytes = size if type(size) is int and size > 0 else None
    return (
        ModelInfo(name, provider, context_tokens, frozenset(uses), size_bytes)
        if isinstance(name, str) and name and uses
        else None
    )


def _message(message: PromptMessage, names: Mapping[str, str], provider: str) -> dict[str, object]:
    body: dict[str, object] = {"role": message.role, "content": message.content}
    if images := [_base64(part, provider) for part in message.parts if isinstance(part, Image)]:
        body["images"] = images
    if message.tool_calls:
        body["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id is not None and (name := names.get(message.tool_call_id)):
        body["tool_name"] = name
    return body


def _base64(image: Image, provider: str) -> str:
    head, comma, data = image.url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ProviderRejected(f"{provider} takes pictures only as data: URLs with base64.", 400)
    return data


def _tool_call(call: Json) -> dict[str, object]:
    function = call.get("function") or {}
    return {"function": {"name": function.get("name"), "arguments": _object(function.get("arguments"))}}


def _object(text: object) -> Any:
    """OpenAI writes a call's arguments as JSON in a string, Ollama as an object; what a model made that is no JSON stays a string."""
    try:
        return orjson.loads(text) if isinstance(text, str) else text or {}
    except orjson.JSONDecodeError:
        return text


def _tool_names(messages: tuple[PromptMessage, ...]) -> dict[str, str]:
    calls = [call for message in messages for call in message.tool_calls]
    return {str(call.get("id")): str((call.get("function") or {}).get("name", "")) for call in calls}


def _format(response_format: Json | None) -> object:
    """OpenAI's response_format as Ollama's format: "json", a schema, or nothing for text."""
    kind = response_format.get("type") if response_format else None
    if kind == "json_object":
        return "json"
    if kind == "json_schema" and response_format is not None:
        return (response_format.get("json_schema") or {}).get("schema")
    return None
