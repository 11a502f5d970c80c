"""Bodies of /v1 as they come in: what is known is checked strictly, what is unknown is named in `warnings`, never silently dropped.

A wrong type is a 400 that names the field. Nothing here waits or asks anybody.
"""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rustygpt.assistant.providers.base import Sampling
from rustygpt.http.body import CanonicalUUID

MAX_STOPS: Final = 4
MAX_TOOLS: Final = 128
MAX_TEXTS: Final = 2_048
MAX_SEED: Final = 2**63 - 1

Model = Annotated[str, Field(min_length=1, max_length=200)]
Json = dict[str, Any]


class Lenient(BaseModel):
    """A body in which a client may write more than we know; types are not converted."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True)

    def unknown(self, path: str = "") -> list[str]:
        """Name the fields that nobody here knows and that say something, below *path*."""
        return [f"{path}{name}" for name, value in (self.model_extra or {}).items() if value is not None]


class StreamOptions(Lenient):
    """`stream_options`"""

    include_usage: bool | None = None


class ThreadPlace(BaseModel):
    """`metadata.rustygpt`: where question and answer are stored. Ours, so nothing unknown is let pass."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    conversation_id: CanonicalUUID
    parent_message_id: CanonicalUUID | None = None


class Metadata(Lenient):
    """`metadata`"""

    rustygpt: ThreadPlace | None = None


class ChatBody(Lenient):
    """`POST /v1/chat/completions`. `user` is taken for compatibility and goes nowhere."""

    model: Model
    messages: Annotated[list[Json], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    stop: Annotated[str, Field(min_length=1, max_length=1_000)] | list[str] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED - 1, le=MAX_SEED)] | None = None
    response_format: Json | None = None
    tools: Annotated[list[Json], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | Json | None = None
    user: Annotated[str, Field(max_length=1_000)] | None = None
    metadata: Metadata | None = None

    @field_validator("stop")
    @classmethod
    def _stops_say_something(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and (len(value) > MAX_STOPS or not all(0 < len(text) <= 1_000 for text in value)):
            raise ValueError(f"must be one to {MAX_STOPS} texts of 1 to 1000 characters")
        return value

    @field_validator("response_format")
    @classmethod
    def _form_is_known(cls, value: Json | None) -> Json | None:
        kind = value.get("type") if value is not None else "text"
        if kind not in ("text", "json_object", "json_schema"):
            raise ValueError("type must be text, json_object or json_schema")
        if value is not None and kind == "json_schema" and not isinstance(value.get("json_schema"), dict):
            raise ValueError("json_schema must be an object")
        return value

    @field_validator("tools")
    @classmethod
    def _tools_are_functions(cls, value: list[Json] | None) -> list[Json] | None:
        for tool in value or ():
            function = tool.get("function")
            if tool.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise ValueError("each must have the type function and a function with a name")
        return value

    @field_validator("tool_choice")
    @classmethod
    def _choice_is_a_function(cls, value: str | Json | None) -> str | Json | None:
        kind = value.get("type") if isinstance(value, dict) else "function"
        if kind not in ("function", "allowed_tools", "custom"):
            raise ValueError("must be none, auto, required or an object with a type")
        return value

    @property
    def include_usage(self) -> bool:
        """Whether a stream is to end with the counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def place(self) -> ThreadPlace | None:
        """Where to store question and answer, if anywhere."""
        return self.metadata.rustygpt if self.metadata else None

    def sampling(self) -> Sampling:
        """Return how to sample."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=tuple(stop),
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
        )

    def warnings(self) -> list[str]:
        """Name what will not be heeded, as far as the body alone tells."""
        found = self.unknown()
        if self.stream_options is not None:
            found += self.stream_options.unknown("stream_options.")
            found += [] if self.stream else ["stream_options"]
        if self.metadata is not None:
            found += self.metadata.unknown("metadata.")
        if self.max_tokens not in (None, self.max_completion_tokens) and self.max_completion_tokens is not None:
            found.append("max_tokens")
        # One answer is what everybody gets.
        return [name for name in found if not (name == "n" and (self.model_extra or {}).get("n") == 1)]


class EmbeddingsBody(Lenient):
    """`POST /v1/embeddings`"""

    model: Model
    input: str | Annotated[list[Any], Field(min_length=1, max_length=MAX_TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    user: Annotated[str, Field(max_length=1_000)] | None = None

    @field_validator("input")
    @classmethod
    def _texts_say_something(cls, value: str | list[Any]) -> str | list[Any]:
        texts = [value] if isinstance(value, str) else value
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("must be a text or a list of texts; lists of tokens mean something else to every model")
        if not all(texts):
            raise ValueError("must not be empty")
        return value

    @property
    def texts(self) -> list[str]:
        """What to embed."""
        return [self.input] if isinstance(self.input, str) else self.input


def completion_id(of: UUID) -> str:
    """Return how an answer is called."""
    return f"chatcmpl-{of.hex}"
