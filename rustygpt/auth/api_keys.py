"""API keys: how programs act for a user. A key is shown once, when it is made; the database holds its SHA-256 alone.

Only a session makes, lists and revokes keys: a key that leaks cannot make itself a successor.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import structlog
from pydantic import AfterValidator, AwareDatetime, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import Scope, session_actor_of
from rustygpt.auth.bodies import DisplayName
from rustygpt.auth.models import FoundKey, ListedKey
from rustygpt.auth.wire import ApiKeyPage, NewApiKey
from rustygpt.database.pool import Database
from rustygpt.http.body import RequestModel, read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, idempotency_key, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import ApiKeyId, UserId
from rustygpt.operation import operation
from rustygpt.signals import Announcer
from rustygpt.tokens import is_token, new_token, token_hash

log = structlog.get_logger(__name__)

PREFIX: Final = "sk-"
HINT_CHARACTERS: Final = 8
"""`sk-` and five of 43 random characters: enough to tell one's keys apart, and no help in guessing."""
MAX_KEYS: Final = 100
CURSOR_KIND: Final = "api_keys"


def _future_in_utc(value: datetime) -> datetime:
    try:
        in_utc = value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be a time in the years 1 to 9999, in UTC") from None
    if in_utc <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return in_utc


class KeyBody(RequestModel):
    """Body of `POST /api/keys`."""

    name: DisplayName
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=3)]
    expires_at: Annotated[AwareDatetime, AfterValidator(_future_in_utc)] | None = None


class ApiKeyRoutes:
    """`/api/keys…`"""

    def __init__(self, database: Database, announcer: Announcer, cursors: PageCursors, max_body_bytes: int) -> None:
        self._database = database
        self._announcer = announcer
        self._cursors = cursors
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/keys", self.list, methods=["GET"]),
            Route("/api/keys", self.create, methods=["POST"]),
            Route("/api/keys/{key_id}", self.revoke, methods=["DELETE"]),
        ]

    @operation("list_api_keys", tag="API keys", who="session", query=(LIMIT, CURSOR), answers={200: ApiKeyPage})
    async def list(self, request: Request) -> Response:
        """List one's own live API keys, newest first."""
        actor, limit = session_actor_of(request), query_limit(request)
        (before,) = self._cursors.page(query_value(request, "cursor"), CURSOR_KIND, 1)
        rows = await list_api_keys(self._database, actor=actor.user_id, before=before, limit=limit + 1)
        page = rows[:limit]
        more = len(rows) > limit
        next_cursor = self._cursors.encode(CURSOR_KIND, [page[-1].key_id]) if more else None
        return json_response({"items": [_key(row) for row in page], "next_cursor": next_cursor})

    @operation("create_api_key", tag="API keys", who="session", body=KeyBody, is_idempotent=True, answers={201: NewApiKey})
    async def create(self, request: Request) -> Response:
        """Make an API key.

        `key` is shown this once; the same Idempotency-Key again is therefore a 409.
        """
        actor = session_actor_of(request)
        body = await read_body(request, KeyBody, max_bytes=self._max_body_bytes)
        key = PREFIX + new_token()
        made = await create_api_key(
            self._database,
            actor=actor.user_id,
            name=body.name,
            key_hash=token_hash(key),
            hint=key[:HINT_CHARACTERS],
            scopes=sorted(set(body.scopes)),
            expires_at=body.expires_at,
            request_key=idempotency_key(request),
        )
        log.info("api_key_created", user_id=str(actor.user_id), key_id=str(made.key_id), scopes=made.scopes)
        return json_response({**_key(made), "key": key}, 201)

    @operation("revoke_api_key", tag="API keys", who="session", answers={204: None})
    async def revoke(self, request: Request) -> Response:
        """Revoke one of one's own API keys; its live streams end."""
        actor = session_actor_of(request)
        key_id = ApiKeyId(path_uuid(request, "key_id"))
        await revoke_api_key(self._database, actor=actor.user_id, key=key_id)
        self._announcer.signal("session_revoked", str(key_id))
        log.info("api_key_revoked", user_id=str(actor.user_id), key_id=str(key_id))
        return Response(status_code=204)


def is_api_key(text: str) -> bool:
    """Say whether *text* has a key's shape; what has not never reaches the database."""
    return text.startswith(PREFIX) and is_token(text.removeprefix(PREFIX))


async def create_api_key(
    database: Database,
    *,
    actor: UserId,
    name: str,
    key_hash: bytes,
    hint: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
    request_key: str | None,
) -> ListedKey:
    """Raise Forbidden, Invalid, or Conflict at MAX_KEYS and for a repeated *request_key*."""
    return await database.one(
        "create_api_key",
        ListedKey,
        actor=actor,
        name=name,
        key_hash=key_hash,
        hint=hint,
        scopes=scopes,
        expires_at=expires_at,
        max_keys=MAX_KEYS,
        request_key=request_key,
    )


async def list_api_keys(database: Database, *, actor: UserId, before: ApiKeyId | None, limit: int) -> list[ListedKey]:
    return await database.many("list_api_keys", ListedKey, actor=actor, before=before, limit=limit)


async def revoke_api_key(database: Database, *, actor: UserId, key: ApiKeyId) -> None:
    """Raise NotFound."""
    await database.void("revoke_api_key", actor=actor, key=key)


async def find_api_key(database: Database, *, key_hash: bytes) -> FoundKey | None:
    return await database.optional("find_api_key", FoundKey, key_hash=key_hash)


def _key(row: ListedKey) -> dict[str, Any]:
    fields = asdict(row)
    return {"id": fields.pop("key_id"), **fields}
