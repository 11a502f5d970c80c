"""What is declared of an operation is what its handler does; a route without a declaration fails here, with how to declare it."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr
from starlette.routing import Route

from rustygpt.app import create_app, routes_of
from rustygpt.auth.authenticate import PREFIXES
from rustygpt.auth.csrf import CROSS_SITE_POSTS, SAFE_METHODS
from rustygpt.http.openapi import TAGS, Undeclared, build_document, described
from rustygpt.http.openapi_errors import GUARDED, READING
from rustygpt.http.openapi_headers import HEADERS
from rustygpt.http.routing import endpoints_of
from rustygpt.operation import Who, find_operation
from rustygpt.settings import Settings
from rustygpt.signals import TransientType
from rustygpt.streaming.events import LOGGED_TYPES, ControlType
from tests.architecture.handler_reads import reads_of

APPLICATION = create_app(Settings(data_dir=Path("/nonexistent"), secret_key=SecretStr("x" * 32)), "postgres:///")
ROUTES = [route for route in routes_of(APPLICATION) if isinstance(route, Route)]
SERVED = [(method, route.path_format, endpoint) for route in ROUTES for method, endpoint in endpoints_of(route).items()]
MAX_SUMMARY = 72

by_route = pytest.mark.parametrize(("method", "path", "endpoint"), SERVED, ids=[f"{method} {path}" for method, path, _ in SERVED])


@by_route
def test_route_is_declared(method: str, path: str, endpoint: object) -> None:
    """Every route says what it takes and answers: the document has no other source."""
    declared = find_operation(endpoint)
    if declared is None:
        pytest.fail(str(Undeclared(method, path)))
    assert re.fullmatch(r"[a-z][a-z0-9_]+", declared.id), "an id is a client's name for the operation, in snake_case"
    assert declared.tag in TAGS, "tags are explained in rustygpt/http/openapi.py"
    assert declared.who in get_args(Who)
    assert 0 < len(declared.summary) <= MAX_SUMMARY, (
        "the docstring's first line is the summary; the rest follows after an empty line"
    )
    assert declared.answers, "at least one status is a success"
    assert {name for answer in declared.answers.values() for name in answer.headers} <= set(HEADERS)


@by_route
def test_declaration_is_what_the_handler_reads(method: str, path: str, endpoint: object) -> None:
    """Body, query, path, key and caller of the declaration are those that the handler's source asks for."""
    declared, read = find_operation(endpoint), reads_of(endpoint)
    assert declared is not None
    assert read.who == declared.who, "who= says whom the handler lets in"
    assert read.is_idempotent == declared.is_idempotent, "is_idempotent= says whether the handler takes an idempotency key"
    names = {parameter.name for parameter in declared.query}
    fields = set(declared.body.model_fields) if declared.body else set()
    if read.fields:  # a form, or the query read like one; one function reads both
        assert names | fields <= read.fields
        return
    assert read.query == names, "query= names every parameter that the handler reads"
    assert read.bodies == ({declared.body} if declared.body else set()), "body= is the model that read_body gets"
    ids = set(re.findall(r"\{(\w+)\}", path)) - {parameter.name for parameter in declared.path}
    assert ids <= read.path, "what is no UUID of the path is declared with path="


def test_document_names_every_route() -> None:
    """Each method of each path is in the document once, under an id of its own."""
    document = build_document(ROUTES, version="1")
    served = {(path, method.lower()) for method, path, _ in SERVED}
    assert {(path, method) for path, item in document["paths"].items() for method in item} == served
    assert len({each.operation.id for each in described(ROUTES)}) == len(served)


def test_undeclared_route_is_refused() -> None:
    """A document is not made with a hole in it."""

    async def endpoint(_request: object) -> None: ...

    with pytest.raises(Undeclared, match=r"GET /api/new is not declared: put @operation"):
        build_document([Route("/api/new", endpoint)], version="1")  # type: ignore[arg-type]


def test_shared_names_have_one_model() -> None:
    """No two models are called the same: pydantic would give both long names."""
    assert not [name for name in build_document(ROUTES, version="1")["components"]["schemas"] if "__" in name]


def test_guards_are_where_the_document_says() -> None:
    """Where callers are looked up and changes are guarded is said in two layers; both say the same."""
    assert (GUARDED, READING) == (PREFIXES, SAFE_METHODS)
    assert {each.path for each in described(ROUTES) if each.operation.is_cross_site} == CROSS_SITE_POSTS


def test_every_event_is_described() -> None:
    """The streams' schema has a shape for each type of event that a stream may send, and for no other."""
    described_types = set(build_document(ROUTES, version="1")["components"]["schemas"]["StreamEvent"]["discriminator"]["mapping"])
    assert described_types <= LOGGED_TYPES | set(get_args(ControlType)) | set(get_args(TransientType))
    assert described_types >= LOGGED_TYPES | set(get_args(ControlType))
