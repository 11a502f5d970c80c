"""What a route's handler reads of a request, found in its source: the same for every branch, and without running it."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

CALLERS = {"actor_of": "actor", "session_actor_of": "session", "admin_of": "administrator", "_require_token": "scraper"}
CALLERS |= {"_require_reader": "reader"}
STREAM_START = {"last_event_id", "since"}
"""What `requested_start` reads."""


@dataclass
class Reads:
    """`who` is None where the handler never asks."""

    query: set[str] = field(default_factory=set)
    path: set[str] = field(default_factory=set)
    bodies: set[Any] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    callers: set[str] = field(default_factory=set)
    is_idempotent: bool = False
    is_caller_optional: bool = False

    @property
    def who(self) -> str:
        """The strictest question that it asks about the caller."""
        if self.is_caller_optional or not self.callers:
            return "anyone"
        return next(kind for kind in ("administrator", "session", "scraper", "reader", "actor") if kind in self.callers)


def reads_of(endpoint: Any) -> Reads:
    """Look through what the handler calls of its own class, too."""
    while not isinstance(endpoint, MethodType):
        endpoint = endpoint.func if isinstance(endpoint, functools.partial) else endpoint.__wrapped__
    found = Reads()
    seen: set[str] = set()
    pending = [endpoint.__func__]
    while pending:
        function = pending.pop()
        if function.__name__ in seen:
            continue
        seen.add(function.__name__)
        for call in calls(function):
            note(call, function, found)
            if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "self":
                method = getattr(type(endpoint.__self__), call.func.attr, None)
                pending += [method] if isinstance(method, FunctionType) else []
        found.fields |= set(looked_up(function))
    return found


def calls(function: Callable[..., Any]) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(parsed(function)) if isinstance(node, ast.Call))


def looked_up(function: Callable[..., Any]) -> Iterator[str]:
    """Names that are looked up in what was parsed of a form or a query: `fields["x"]`, `fields.get("x")`."""
    for node in ast.walk(parsed(function)):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "fields":
            key = node.slice
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "fields.get":
            key = node.args[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def note(call: ast.Call, function: Callable[..., Any], found: Reads) -> None:
    name = call.func.id if isinstance(call.func, ast.Name) else call.func.attr if isinstance(call.func, ast.Attribute) else ""
    text = call.args[1].value if len(call.args) > 1 and isinstance(call.args[1], ast.Constant) else ""
    match name:
        case "query_limit":
            found.query.add("limit")
        case "query_value" | "query_uuid":
            found.query.add(text)
        case "requested_start":
            found.query |= STREAM_START
        case "path_uuid":
            found.path.add(text)
        case "read_body" | "read_lenient" | "receive":
            found.bodies.add(function.__globals__[ast.unparse(call.args[1])])
        case "idempotency_key":
            found.is_idempotent = True
        case "find_actor":
            found.is_caller_optional = True
        case _ if name in CALLERS:
            found.callers.add(CALLERS[name])


@functools.cache
def parsed(function: Callable[..., Any]) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))
