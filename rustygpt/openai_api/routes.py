"""`/v1/models`, `/v1/chat/completions` and `/v1/embeddings`: HTTP in, one answer, HTTP out.

Whoever asks is a user with a key of scope v1, or a session and its CSRF token; their quota and their place in the queue are the same as everywhere.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.assistant.catalogue import ModelUnknown
from rustygpt.assistant.providers.base import CompletionRequest, ModelInfo, Provider, ProviderError
from rustygpt.auth.actor import Actor, actor_of
from rustygpt.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from rustygpt.http.body import read_lenient
from rustygpt.http.openai_error import OpenAIError, openai_error_response
from rustygpt.http.request import idempotency_key
from rustygpt.http.response import json_response
from rustygpt.ids import new_uuid
from rustygpt.limits.quotas import reserved_quota
from rustygpt.openai_api.completion import QUOTA_MARGIN_SECONDS, Completion, Desk
from rustygpt.openai_api.exchange import Exchange, Label
from rustygpt.openai_api.failures import failure_of
from rustygpt.openai_api.shapes import CHAT_ANSWER, EmbeddingList, ModelEntry, ModelList
from rustygpt.openai_api.stoppable_work import StoppableWork
from rustygpt.openai_api.stored import StoredAnswer, Threads
from rustygpt.openai_api.turns import read_turns
from rustygpt.openai_api.usage import estimate_text_tokens
from rustygpt.openai_api.wire import ChatBody, EmbeddingsBody, completion_id
from rustygpt.operation import Parameter, operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from rustygpt.assistant.catalogue import Catalogue
    from rustygpt.openai_api.open_answers import OpenAnswers
    from rustygpt.settings_streaming import SseSettings

CREATED: Final = 0
"""Nobody tells when a model was made, and clients want a number."""


class OpenAIRoutes:
    """`/v1/…`"""

    def __init__(
        self,
        desk: Desk,
        catalogue: Catalogue,
        answers: OpenAnswers,
        threads: Threads,
        sse: SseSettings,
        max_body_bytes: int,
    ) -> None:
        self._desk = desk
        self._catalogue = catalogue
        self._answers = answers
        self._threads = threads
        self._sse = sse
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
            Route("/v1/chat/completions", _Endpoint(self._chat), methods=["POST"]),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
        ]

    @operation("v1_list_models", tag="OpenAI", who="actor", answers={200: ModelList}, error_shape="openai")
    async def models(self, request: Request) -> Response:
        """List what can be run now.

        Of two models with the same id the later has its provider's name before it.
        """
        actor_of(request)
        seen: set[str] = set()
        data = []
        for model in await self._catalogue.models():
            name = model.id if model.id not in seen else f"{model.provider}/{model.id}"
            seen.add(model.id)
            data.append(_model(model, name))
        return json_response({"object": "list", "data": data})

    @operation(
        "v1_get_model",
        tag="OpenAI",
        who="actor",
        path=(Parameter("model", str, "An id, or provider/id; it may hold slashes."),),
        answers={200: ModelEntry},
        errors=(NotFound,),
        error_shape="openai",
    )
    async def model(self, request: Request) -> Response:
        """Show one model, under any of its names."""
        actor_of(request)
        name = request.path_params["model"]
        for model in await self._catalogue.models():
            if name in (model.id, f"{model.provider}/{model.id}", model.id.removesuffix(":latest")):
                return json_response(_model(model, name))
        return openai_error_response(failure_of(ModelUnknown(f"There is no model called {name[:200]!r} here.")))

    @operation(
        "v1_create_embeddings",
        tag="OpenAI",
        who="actor",
        body=EmbeddingsBody,
        answers={200: EmbeddingList},
        errors=(NotFound,),
        error_shape="openai",
    )
    async def embeddings(self, request: Request) -> Response:
        """Turn texts into vectors."""
        actor = actor_of(request)
        with self._answers.watched(actor) as watch:
            body = await read_lenient(request, EmbeddingsBody, max_bytes=self._max_body_bytes)
            warnings = body.unknown()
            try:
                provider, model = await self._catalogue.resolve(body.model, "embed")
                async with StoppableWork(watch):
                    vectors, tokens, is_estimated = await self._embed(actor, provider, model, body.texts)
            except ProviderError as error:
                return openai_error_response(failure_of(error))
        is_packed = body.encoding_format == "base64"
        usage = {"prompt_tokens": tokens, "total_tokens": tokens, **({"estimated": True} if is_estimated else {})}
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if is_packed else vector}
            for index, vector in enumerate(vectors)
        ]
        answer = {"object": "list", "data": data, "model": body.model, "usage": usage}
        return json_response({**answer, "warnings": warnings} if warnings else answer)

    async def _embed(
        self, actor: Actor, provider: Provider, model: str, texts: list[str]
    ) -> tuple[tuple[tuple[float, ...], ...], int, bool]:
        desk, estimate = self._desk, estimate_text_tokens(texts)
        desk.seats.require_room(provider.name, actor.user_id)
        async with (
            desk.seats.taken(provider.name, actor.user_id),
            reserved_quota(
                desk.database,
                actor=actor.user_id,
                prompt_tokens=estimate,
                reply_tokens=0,
                seconds=desk.settings.deadline_seconds + QUOTA_MARGIN_SECONDS,
            ) as spent,
        ):
            found = await provider.embed(model, texts)
            tokens = estimate if found.prompt_tokens is None else found.prompt_tokens
            spent.is_used, spent.tokens = True, tokens
        if found.prompt_tokens is not None:
            desk.metrics.generation_tokens_total.labels("prompt").inc(tokens)
        return found.vectors, tokens, found.prompt_tokens is None

    @operation(
        "v1_create_chat_completion",
        tag="OpenAI",
        who="actor",
        body=ChatBody,
        answers={200: CHAT_ANSWER},
        errors=(NotFound, Forbidden, Conflict),
        is_idempotent=True,
        error_shape="openai",
    )
    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a model answer, streamed or whole.

        Fields that are not heeded are named in `warnings`. Hanging up stops the model. With `metadata.rustygpt` question and answer are stored
        in a thread; then `Idempotency-Key` keeps a repeated request from asking twice.
        """
        request = Request(scope, receive)
        actor = actor_of(request)
        with self._answers.watched(actor) as watch:
            body = await read_lenient(request, ChatBody, max_bytes=self._max_body_bytes)
            asked = await self._ask(actor, request, body)
            if isinstance(asked, OpenAIError):
                await openai_error_response(asked)(scope, receive, send)
                return
            answer, label = asked
            watch.attach(answer)
            exchange = Exchange(scope, receive, send, self._sse)
            if body.stream:
                await exchange.stream(answer, label, include_usage=body.include_usage)
            else:
                await exchange.whole(answer, label)

    async def _ask(self, actor: Actor, request: Request, body: ChatBody) -> tuple[Completion | StoredAnswer, Label] | OpenAIError:
        """Return the answer that is to be run, and what it is called."""
        turns, ignored = read_turns(body.messages)
        try:
            provider, model = await self._catalogue.resolve(body.model)
        except ProviderError as error:
            return failure_of(error)
        asked = CompletionRequest(
            model, turns, body.sampling(), tuple(body.tools or ()), body.tool_choice, body.response_format, is_verbatim=True
        )
        warnings = [*body.warnings(), *ignored]
        if body.place is not None:
            warnings += [*asked.parameters(), *(["messages"] if len(turns) > 1 else [])]
            stored = await self._threads.ask(actor, body.place, turns, model=body.model, key=idempotency_key(request))
            extra = {"rustygpt": stored.place, **({"warnings": warnings} if warnings else {})}
            return stored, Label(completion_id(stored.message_id), model, extra)
        if asked.has_images and not provider.capabilities.sees_images:
            raise Invalid(errors=(FieldError("messages", f"hold a picture, which models of {provider.name} cannot see"),))
        warnings += asked.unsupported(provider.capabilities)
        label = Label(completion_id(new_uuid()), model, {"warnings": warnings} if warnings else {})
        return Completion(self._desk, provider, asked, actor.user_id), label


class _Endpoint:
    """A raw ASGI endpoint; Starlette would wrap a plain function in its Request and Response."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.__wrapped__ = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.__wrapped__(scope, receive, send)


def _model(model: ModelInfo, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": CREATED,
        "owned_by": model.provider,
        "context_length": model.context_tokens,
        "uses": sorted(model.uses),
    }


def _packed(vector: tuple[float, ...]) -> str:
    """Return the vector as base64 of little-endian 32-bit floats, which OpenAI's clients ask for by default."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
