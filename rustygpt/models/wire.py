"""What models and jobs look like in answers and events, and the form of an upload."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from rustygpt.http.body import RequestModel
from rustygpt.models.failure import FailureCode
from rustygpt.models.shelf import ModelState
from rustygpt.operation import Answer
from rustygpt.wire import Page


class PullBody(RequestModel):
    """`POST /api/models/pull`. *source*: a name in Ollama's library, an http(s) address, or `hf:org/repo/file.gguf`.

    *name*: what to call a file, by default its own name. *sha256*: what the file must have.
    """

    source: Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
    name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    sha256: Annotated[str, Field(min_length=64, max_length=64)] | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class UploadForm(RequestModel):
    """`POST /api/models`: a form with one file. *name*: what to call it, by default its own name. *sha256*: what it must have."""

    file: Annotated[bytes, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]
    name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    sha256: Annotated[str, Field(min_length=64, max_length=64)] | None = None


class Model(TypedDict):
    """Something that can write replies, or embed texts."""

    id: str
    provider: str
    uses: Annotated[list[str], Field(description="What it is good for: `chat`, `embed`.")]
    context_tokens: Annotated[int | None, Field(description="What it is run with; null where the provider does not tell.")]
    is_default: bool
    state: Annotated[ModelState, Field(description="`loaded` when the process that answers knows that it is in memory.")]
    size_bytes: Annotated[int | None, Field(description="Of its file.")]
    memory_bytes: Annotated[int | None, Field(description="What it takes now, null while it is not loaded, or elsewhere.")]
    source: Annotated[str | None, Field(description="Where its file was pulled from, `upload`, or null.")]
    parameters: Annotated[str | None, Field(description="How many weights, such as `8.0B`; null where that is not known.")]
    quantization: str | None
    is_removable: bool


class ModelDetails(Model):
    """All that is known of a model; null is what nobody says."""

    architecture: str | None
    title: Annotated[str | None, Field(description="What the file calls itself.")]
    trained_context_tokens: int | None
    sha256: str | None
    added_at: datetime | None


class ProviderHealth(TypedDict):
    """How a provider is. One that fails is asked again by itself, and fails alone."""

    name: str
    state: Literal["ok", "failing"]
    reason: Annotated[str | None, Field(description="Why it fails, for people.")]
    model_count: int
    asked_at: datetime


class Models(TypedDict):
    """What can be asked now."""

    items: Annotated[list[Model], Field(description="What can write replies.")]
    others: Annotated[list[Model], Field(description="What embeds texts only.")]
    default_model: str | None
    notice: Annotated[str, Field(description="Which one answers, why, and how to change it.")]
    providers: list[ProviderHealth]


class Job(TypedDict):
    """A pull of a model."""

    id: UUID
    kind: Literal["file", "ollama"]
    source: Annotated[str, Field(description="What was asked for, without what follows a ? in an address.")]
    provider: str
    model: Annotated[str, Field(description="What it will be called.")]
    state: Literal["queued", "running", "done", "error", "cancelled"]
    bytes_done: int
    bytes_total: Annotated[int | None, Field(description="Null while nobody knows.")]
    code: Annotated[FailureCode | None, Field(description="Why it failed.")]
    message: Annotated[str, Field(description="What it does, or why it failed, for people.")]
    is_cancelling: bool
    requested_by: Annotated[UUID | None, Field(description="Null: whoever runs the server.")]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(Page):
    """Jobs, newest first."""

    items: list[Job]


class JobFailure(TypedDict):
    """Why a job's stream ended before the job."""

    code: str
    message: str


JOB: Final = Answer(
    Job,
    "The job; to who accepts `text/event-stream`, the job each time that it has changed: `progress` until it is over, then "
    "`job.done`, `job.error` or `job.cancelled`.",
    events=Job | JobFailure,
)
