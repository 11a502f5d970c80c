"""The OpenAPI 3.1 document, made of the routes that serve the requests and the declarations beside their handlers.

A route without a declaration has no place in the document, and building it fails: what is served is described. Schemas are pydantic's
own, of the very models that read bodies; they stay open to new fields, which clients must tolerate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from rustygpt.http.openapi_errors import ERROR_MODELS, error_responses
from rustygpt.http.openapi_headers import HEADERS, header_references
from rustygpt.http.request import IDEMPOTENCY_KEY
from rustygpt.http.routing import endpoints_of
from rustygpt.operation import Answer, Operation, Parameter, find_operation

VERSION: Final = "3.1.1"
EVENT_STREAM: Final = "text/event-stream"
REFERENCE: Final = "#/components/schemas/{model}"

TAGS: Final = {
    "Sessions": "Set-up, signing in, staying signed in, and one's own sessions.",
    "Sign-in by providers": "GitHub and Apple. Browsers follow these addresses; programs have no use for most of them.",
    "API keys": "How programs act for a user.",
    "Conversations": "Conversations and how the assistant behaves in them.",
    "Members": "Who is in a conversation, and the links by which others join.",
    "Messages": "Posting, threads, and what the assistant replies.",
    "Streams": "Server-Sent Events: what happens, as it happens.",
    "Models": "What can write replies, and how more of it comes and goes.",
    "OpenAI": "What OpenAI's clients speak: base URL `/v1`, with an API key of scope `v1`.",
    "Administration": "For administrators, and for API keys of theirs with the scope `admin`.",
    "Probes": "What watches over the server asks.",
    "Documents": "This description, and the web page.",
}

INTRODUCTION: Final = """\
Sign in with `POST /api/auth/login` and keep the cookies, or send an API key: `Authorization: Bearer sk-…`.

With cookies, requests other than GET and HEAD repeat the cookie `CSRF-TOKEN` in the header `X-CSRF-TOKEN`; with a key they need not.
Lists take `limit` and `cursor`. Unknown body fields are refused with 422, and errors are `application/problem+json` with stable codes.
Clients should pass over fields, events and codes that they do not know: later versions may bring new ones.
"""

SECURITY_SCHEMES: Final = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "SESSION_ID",
        "description": "The session's cookie, set by signing in.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": "X-CSRF-TOKEN",
        "description": "The value of the cookie CSRF-TOKEN, or `csrf_token` of the answer to signing in. Only for what changes something.",
    },
    "api_key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "sk-…",
        "description": "An API key. Its scopes are `chat` (`/api`), `v1` (`/v1`) and `admin` (`/api/admin`, `/api/config`, and what changes `/api/models`).",
    },
    "metrics_token": {"type": "http", "scheme": "bearer", "description": "The setting metrics.token, where there is one."},
}

Mode = Literal["validation", "serialization"]


class Undeclared(LookupError):
    """A route says nothing about itself."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"{method} {path} is not declared: put @operation(…) of rustygpt/operation.py above its handler, with an id, a tag of "
            "rustygpt/http/openapi.py, who may call, the body's model, the query's parameters, what is answered with each status and "
            "which errors are its own. tests/http/test_openapi.py compares."
        )


@dataclass(frozen=True, slots=True)
class DescribedRoute:
    """A method of a path, as Starlette serves it and as the document calls it."""

    method: str
    path: str
    operation: Operation


def described(routes: Iterable[BaseRoute]) -> list[DescribedRoute]:
    """Return what the routes serve, in their order. Raises Undeclared."""
    found: list[DescribedRoute] = []
    for route in routes:
        if isinstance(route, Route):
            for method, endpoint in endpoints_of(route).items():
                operation = find_operation(endpoint)
                if operation is None:
                    raise Undeclared(method, route.path_format)
                found.append(DescribedRoute(method, route.path_format, operation))
    return found


def build_document(routes: Iterable[BaseRoute], *, version: str) -> dict[str, Any]:
    """Return the document. Raises Undeclared, and ValueError where two operations have one id."""
    operations = described(routes)
    ids = [each.operation.id for each in operations]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise ValueError(f"operations of the same id: {sorted(twice)}")
    schemas = _Schemas(operations)
    responses: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas, responses)
    used = {each.operation.tag for each in operations}
    return {
        "openapi": VERSION,
        "info": {
            "title": "RustyGPT",
            "version": version,
            "summary": "People and AI models talk in the same threaded conversations.",
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.definitions.items())),
            "responses": dict(sorted(responses.items())),
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles of fields, which only repeat their names."""

    @override
    def field_title_should_be_set(self, schema: object) -> bool:
        return False


class _Schemas:
    """All schemas of all operations, made at once so that models of one name get different ones."""

    def __init__(self, operations: list[DescribedRoute]) -> None:
        adapters: dict[int, tuple[Any, TypeAdapter[Any]]] = {}

        def adapter(model: Any) -> TypeAdapter[Any]:
            return adapters.setdefault(id(model), (model, TypeAdapter(model)))[
                1
            ]  # the model is kept, so that its id stays its own

        modes: tuple[Mode, ...] = ("validation", "serialization")
        models = [(id(model), mode, adapter(model)) for mode in modes for model in self._models(operations, mode)]
        made, definitions = TypeAdapter.json_schemas(models, ref_template=REFERENCE, schema_generator=_Untitled)
        self._made = {(key, mode): schema for (key, mode), schema in made.items()}
        self.definitions: dict[str, Any] = definitions.get("$defs", {})

    def of(self, model: Any, mode: Mode) -> dict[str, Any]:
        """Return the schema of a model, or a reference to it."""
        return dict(self._made[id(model), mode])

    @staticmethod
    def _models(operations: list[DescribedRoute], mode: Mode) -> Iterator[Any]:
        for each in operations:
            operation = each.operation
            if mode == "validation":
                yield from (parameter.type for parameter in (*operation.query, *operation.path, *operation.headers))
                yield from (IDEMPOTENCY_KEY.type, UUID)
                if operation.body is not None:
                    yield operation.body
            else:
                yield ERROR_MODELS[operation.error_shape]
                for answer in operation.answers.values():
                    yield from (model for model in (answer.model, answer.events) if model is not None)


def _operation(each: DescribedRoute, schemas: _Schemas, responses: dict[str, Any]) -> dict[str, Any]:
    operation = each.operation
    said: dict[str, Any] = {"operationId": operation.id, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        said["description"] = operation.description
    if parameters := list(_parameters(each, schemas)):
        said["parameters"] = parameters
    if operation.body is not None:
        is_required = any(field.is_required() for field in operation.body.model_fields.values())
        schema = schemas.of(operation.body, "validation")
        said["requestBody"] = {"required": is_required, "content": {operation.body_media_type: {"schema": schema}}}
    said["responses"] = {str(status): _answer(answer, status, schemas) for status, answer in operation.answers.items()}
    for response in error_responses(each.method, each.path, operation):
        if response.status in operation.answers:
            continue  # the operation says itself what comes with it
        if response.name not in responses:
            headers = header_references(response.headers)
            responses[response.name] = {
                "description": response.description,
                "headers": headers,
                "content": response.content(),
            }
            if response.shape == "problem":
                schemas.definitions[f"{response.name}Problem"] = response.narrowed(schemas.definitions["Problem"])
        said["responses"][str(response.status)] = {"$ref": f"#/components/responses/{response.name}"}
    said["security"] = _security(each)
    return said


def _parameters(each: DescribedRoute, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    operation = each.operation
    declared = {parameter.name: parameter for parameter in operation.path}
    for name in re.findall(r"\{(\w+)\}", each.path):
        default = Parameter(name, UUID, f"The id of the {name.removesuffix('_id')}.")
        yield _parameter(declared.get(name, default), "path", schemas)
    for parameter in operation.query:
        yield _parameter(parameter, "query", schemas)
    for parameter in (*operation.headers, *([IDEMPOTENCY_KEY] if operation.is_idempotent else [])):
        yield _parameter(parameter, "header", schemas)


def _parameter(parameter: Parameter, place: str, schemas: _Schemas) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": place,
        "required": parameter.is_required or place == "path",
        "description": parameter.description,
        "schema": schemas.of(parameter.type, "validation"),
    }


def _answer(answer: Answer, status: int, schemas: _Schemas) -> dict[str, Any]:
    said: dict[str, Any] = {"description": answer.description or _DESCRIPTIONS.get(status, "Done.")}
    said["headers"] = header_references(answer.headers)
    if answer.events is not None:
        media_type = answer.media_type if answer.model is None else EVENT_STREAM  # which of both, the request says
        said["content"] = {media_type: {"schema": _event(schemas.of(answer.events, "serialization"), answer.last_data)}}
    if answer.model is not None:
        said.setdefault("content", {})[answer.media_type] = {"schema": schemas.of(answer.model, "serialization")}
    return said


def _event(schema: dict[str, Any], last_data: str) -> dict[str, Any]:
    """Describe one event of a stream; until OpenAPI 3.2 has its `itemSchema`, tools take the schema of a stream for that."""
    data: dict[str, Any] = {"contentMediaType": "application/json", "contentSchema": schema}
    return {
        "type": "object",
        "description": "One event. The stream is a sequence of them.",
        "properties": {
            "id": {"type": "string", "description": "The cursor after this event; what has none is not in the log."},
            "event": {"type": "string", "description": "`type` of the data."},
            "data": {"type": "string", **({"anyOf": [{"const": last_data}, data]} if last_data else data)},
        },
        "required": ["data"],
    }


def _security(each: DescribedRoute) -> list[dict[str, list[str]]]:
    scope = "v1" if each.path.startswith("/v1/") else "admin" if each.operation.who == "administrator" else "chat"
    session: dict[str, list[str]] = {"session": []} if each.method == "GET" else {"session": [], "csrf": []}
    match each.operation.who:
        case "anyone":
            return []
        case "scraper":
            return [{}, {"metrics_token": []}]
        case "session":
            return [session]
        case "reader":
            return [{}, session, {"api_key": [scope]}]
        case "actor" | "administrator":
            return [session, {"api_key": [scope]}]


_DESCRIPTIONS: Final = {200: "Done.", 201: "Made.", 204: "Done; there is nothing to say.", 303: "Go on there."}
