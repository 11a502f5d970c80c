"""What schemathesis loads: it asks as one of our people, about things that are there, and finds out what nobody may see.

Which world it is in is said by the file that RUSTYGPT_FUZZ_WORLD names. Ids that it made up are mostly replaced by real ones, else
every answer would be a 404; whatever is no id is left as it was made.
"""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import schemathesis

WORLD: dict[str, Any] = json.loads(Path(os.environ["RUSTYGPT_FUZZ_WORLD"]).read_text(encoding="utf-8"))
IDS: dict[str, Iterator[str]] = {name: itertools.cycle(values) for name, values in WORLD["ids"].items() if values}
SPARES: Iterator[dict[str, Any]] = iter(WORLD["spares"])
INVITES: Iterator[str] = itertools.cycle(WORLD["invites"] or [""])
LOGINS: Iterator[str] = itertools.cycle(WORLD["logins"])
PASSWORD = "correct horse battery"
ALIASES = {"parent_id": "message_id", "around": "message_id", "actor_id": "user_id"}
FOR_STRANGERS = {"log_in", "set_up", "register"}
"""Operations that put another session into the place of the one that they are asked with."""
USES_UP = {"log_out", "refresh_session", "change_password", "revoke_session"}
"""Operations after which a session may not be good for anything."""
KEPT_EVERY = 5
"""Every fifth made-up id stays."""

_calls = itertools.count(1)


def _real(name: str, value: object) -> object:
    values = IDS.get(ALIASES.get(name, name))
    if values is None or not _is_id(value) or next(_calls) % KEPT_EVERY == 0:
        return value
    return next(values)


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value.lower()
    except ValueError:
        return False


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Put real ids into the request and somebody's credentials beside it."""
    for container in (case.path_parameters, case.query, case.body):
        if isinstance(container, dict):
            for name, value in list(container.items()):
                container[name] = _real(name, value)
    name = case.operation.definition.raw.get("operationId", "")
    if case.path_parameters.get("model") and next(_calls) % 2:
        case.path_parameters["model"] = "demo"
    credentials = {} if name in FOR_STRANGERS else WORLD["headers"]
    if name in USES_UP and credentials:
        spare = next(SPARES, {"headers": {}, "session_id": ""})
        credentials = spare["headers"]
        if name == "revoke_session" and _is_id(case.path_parameters["session_id"]):
            case.path_parameters["session_id"] = spare["session_id"]
    if isinstance(case.body, dict) and next(_calls) % 2:
        _make_likely(name, case.body)
    for header, text in credentials.items():
        case.headers[header] = text


def _make_likely(name: str, body: dict[str, Any]) -> None:
    """Replace what only chance could make right: secrets, and the names of models."""
    likely = {"password": lambda: PASSWORD, "new_password": lambda: PASSWORD, "model": lambda: "demo"}
    if name == "log_in":
        likely["email"] = lambda: next(LOGINS)
    if name in ("accept_invite", "register"):
        likely |= {"token": lambda: next(INVITES), "invite_token": lambda: next(INVITES)}
    for field, make in likely.items():
        if isinstance(body.get(field), str) and body[field]:
            body[field] = make()
    if name == "change_password":
        body.pop("current_password", None)  # our people came by no password


@schemathesis.check
def nothing_foreign(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """No answer holds what only somebody else may see."""
    for mark in WORLD["marks"]:
        if mark.encode() in response.content:
            raise AssertionError(f"{case.method} {case.path} tells {WORLD['kind']} what is somebody else's: {mark}")


@schemathesis.check
def strangers_get_nothing(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """Whoever is nobody gets nothing but a refusal where somebody has to ask."""
    raw = case.operation.definition.raw
    ways = raw.get("security", [])
    needs_somebody = ways and all("session" in way or "api_key" in way for way in ways) and case.method != "OPTIONS"
    if WORLD["kind"] == "stranger" and needs_somebody and response.status_code < 400:
        raise AssertionError(f"{case.method} {case.path} answers a stranger {response.status_code}")
