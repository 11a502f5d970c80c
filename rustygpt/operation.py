"""What an operation of the HTTP API takes and answers, declared beside its handler; the OpenAPI document is made of nothing else.

A declaration does not repeat what follows from it: a body, an id in the path, a caller, a change each bring their own errors along
(http/openapi.py). Tests compare it with what the handler reads and, wherever a test speaks to the server, with what it answers.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

    from rustygpt.errors import DomainError

Who = Literal["anyone", "actor", "session", "administrator", "scraper", "reader"]
"""Who may call. An actor has a session or an API key; a scraper has the token of /metrics, where there is one; a reader is anyone, or an
actor where `features.api_docs` says so."""

ErrorShape = Literal["problem", "openai"]

ATTRIBUTE: Final = "__operation__"

PROPER_NAMES: Final = {"apple": "Apple", "github": "GitHub"}
"""How summaries write the first argument that a partial gives, in place of "a provider"."""

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, path or head. *type* is anything that pydantic makes a schema of."""

    name: str
    type: Any
    description: str
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes with a status. *model* is anything that pydantic makes a schema of, None for no body, `str` for text.

    *headers* are names that http/openapi_headers.py explains; *events* is the union of what a stream sends,
    *last_data* the text with which it ends, where that is no such event.
    """

    model: Any = None
    description: str = ""
    media_type: str = "application/json"
    headers: tuple[str, ...] = ()
    events: Any = None
    last_data: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `id` is a client's name for it and never changes; `body_media_type` says what the body is written in."""

    id: str
    tag: str
    who: Who
    answers: Mapping[int, Answer]
    body: type[BaseModel] | None = None
    body_media_type: str = "application/json"
    query: tuple[Parameter, ...] = ()
    path: tuple[Parameter, ...] = ()
    headers: tuple[Parameter, ...] = ()
    errors: tuple[type[DomainError], ...] = ()
    is_idempotent: bool = False
    is_cross_site: bool = False
    error_shape: ErrorShape = "problem"
    summary: str = ""
    description: str = ""


def operation(
    id: str,  # noqa: A002 - the word of the specification
    *,
    tag: str,
    who: Who,
    answers: Mapping[int, Any],
    body: type[BaseModel] | None = None,
    body_media_type: str = "application/json",
    query: tuple[Parameter, ...] = (),
    path: tuple[Parameter, ...] = (),
    headers: tuple[Parameter, ...] = (),
    errors: tuple[type[DomainError], ...] = (),
    is_idempotent: bool = False,
    is_cross_site: bool = False,
    error_shape: ErrorShape = "problem",
) -> Callable[[Handler], Handler]:
    """Declare the operation that a handler serves; its docstring's first line is the summary, the rest the description.

    *answers*: by status, an Answer or what it is the model of. *errors*: those that do not follow from anything else said here.
    *path*: parameters that are no UUIDs. *is_idempotent*: takes Idempotency-Key. *is_cross_site*: takes what pages of other sites post.
    In *id*, `{0}` stands for the first argument that a `functools.partial` gives to the handler.
    """
    all_answers = {status: given if isinstance(given, Answer) else Answer(given) for status, given in answers.items()}

    def declare(handler: Handler) -> Handler:
        summary, _, rest = inspect.cleandoc(handler.__doc__ or "").partition("\n")
        said = Operation(
            *(id, tag, who, all_answers, body, body_media_type, query, path, headers, errors),
            *(is_idempotent, is_cross_site, error_shape),
            summary.removesuffix("."),
            rest.strip(),
        )
        setattr(handler, ATTRIBUTE, said)
        return handler

    return declare


def find_operation(endpoint: object) -> Operation | None:
    """Return what was declared of a route's endpoint, looking through partials and `__wrapped__`; None where nothing was."""
    arguments: tuple[object, ...] = ()
    while not hasattr(endpoint, ATTRIBUTE):
        if isinstance(endpoint, functools.partial):
            arguments, endpoint = endpoint.args + arguments, endpoint.func
        elif hasattr(endpoint, "__wrapped__"):
            endpoint = endpoint.__wrapped__
        else:
            return None
    found: Operation = getattr(endpoint, ATTRIBUTE)
    if not arguments:
        return found
    name = PROPER_NAMES.get(str(arguments[0]), str(arguments[0]))
    return replace(found, id=found.id.format(*arguments), summary=found.summary.replace("a provider", name, 1))
