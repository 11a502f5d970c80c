"""Links by which people join a conversation. A token is shown once, to who made it; the database holds its SHA-256 alone.

What a link gives is decided when it is used: by then it may be revoked, used up or too old, and its maker may have lost the right to give it.
"""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import actor_of
from rustygpt.conversations.models import AcceptInvite, CreateInvite
from rustygpt.conversations.wire import Accepted, InvitePage, NewInvite
from rustygpt.database.call import Caller
from rustygpt.errors import Conflict, Forbidden, NotFound
from rustygpt.http.body import read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, idempotency_key, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import ConversationId, Position, UserId
from rustygpt.operation import operation
from rustygpt.signals import Announcer
from rustygpt.tokens import is_token, new_token, token_hash

CURSOR_KIND: Final = "invites"
MAX_INVITES: Final = 100
"""Open ones of one conversation."""

_ALL: Final = "/api/conversations/{conversation_id}/invites"

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InviteRow:
    """One invite in a list, with the sort key."""

    id: UUID
    invite: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AcceptedInvite:
    """The conversation as the newcomer sees it; `position` is None for who was in it already."""

    conversation: dict[str, Any]
    position: int | None


class InviteRoutes:
    """Make, list, revoke and accept invites. *public_url* is the origin at which users reach the server, or empty."""

    def __init__(
        self, database: Caller, announcer: Announcer, cursors: PageCursors, max_body_bytes: int, *, public_url: str = ""
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._cursors = cursors
        self._max_body_bytes = max_body_bytes
        self._public_url = public_url

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route(_ALL, self.list, methods=["GET"]),
            Route(_ALL, self.create, methods=["POST"]),
            Route("/api/invites/accept", self.accept, methods=["POST"]),
            Route("/api/invites/{invite_id}/revoke", self.revoke, methods=["POST"]),
        ]

    @operation("list_invites", tag="Members", who="actor", query=(LIMIT, CURSOR), answers={200: InvitePage}, errors=(Forbidden,))
    async def list(self, request: Request) -> Response:
        """List the invites by which somebody can still join.

        Newest first, and never with a token. For owners and admins.
        """
        actor, limit = actor_of(request), query_limit(request)
        (before,) = self._cursors.page(query_value(request, "cursor"), CURSOR_KIND, 1)
        rows = await list_invites(
            self._database,
            actor=actor.user_id,
            conversation=ConversationId(path_uuid(request, "conversation_id")),
            before=before,
            limit=limit + 1,
        )
        page = rows[:limit]
        next_cursor = self._cursors.encode(CURSOR_KIND, [page[-1].id]) if len(rows) > limit else None
        return json_response({"items": [row.invite for row in page], "next_cursor": next_cursor})

    @operation(
        "create_invite",
        tag="Members",
        who="actor",
        body=CreateInvite,
        is_idempotent=True,
        answers={201: NewInvite},
        errors=(Forbidden, Conflict),
    )
    async def create(self, request: Request) -> Response:
        """Make an invite.

        `token` and `url` are shown this once; the same Idempotency-Key again is therefore a 409. For owners and admins.
        """
        actor = actor_of(request)
        conversation = ConversationId(path_uuid(request, "conversation_id"))
        body = await read_body(request, CreateInvite, max_bytes=self._max_body_bytes)
        token = new_token()
        invite = await create_invite(
            self._database,
            actor=actor.user_id,
            conversation=conversation,
            token_hash=token_hash(token),
            email=body.email,
            role=body.role,
            max_uses=body.max_uses,
            ttl_seconds=body.ttl_seconds,
            key=idempotency_key(request),
        )
        log.info("invite_created", user_id=str(actor.user_id), invite_id=invite["id"], role=body.role, max_uses=body.max_uses)
        origin = self._public_url or str(URL(scheme=request.url.scheme, netloc=request.url.netloc))
        return json_response({**invite, "token": token, "url": f"{origin}/invite/{token}"}, 201)

    @operation(
        "accept_invite",
        tag="Members",
        who="actor",
        body=AcceptInvite,
        answers={200: Accepted},
        errors=(NotFound, Forbidden, Conflict),
    )
    async def accept(self, request: Request) -> Response:
        """Join a conversation by an invite.

        Who is a member already stays what they are, and no use is counted.
        """
        actor = actor_of(request)
        body = await read_body(request, AcceptInvite, max_bytes=self._max_body_bytes)
        if not is_token(body.token):
            raise NotFound("There is no such invite.")
        accepted = await accept_invite(self._database, actor=actor.user_id, token_hash=token_hash(body.token))
        if accepted.position is not None:
            self._announcer.wake(Position(accepted.position))
        conversation = accepted.conversation
        answer = {"conversation_id": conversation["id"], "role": conversation["role"], "joined": accepted.position is not None}
        return json_response({**answer, "conversation": conversation})

    @operation("revoke_invite", tag="Members", who="actor", answers={204: None}, errors=(Forbidden,))
    async def revoke(self, request: Request) -> Response:
        """Revoke an invite.

        Nobody joins by it any more; twice is once.
        """
        actor, invite_id = actor_of(request), path_uuid(request, "invite_id")
        await revoke_invite(self._database, actor=actor.user_id, invite=invite_id)
        log.info("invite_revoked", user_id=str(actor.user_id), invite_id=str(invite_id))
        return Response(status_code=204)


async def create_invite(
    database: Caller,
    *,
    actor: UserId,
    conversation: ConversationId,
    token_hash: bytes,
    email: str | None,
    role: str,
    max_uses: int,
    ttl_seconds: int,
    key: str | None,
) -> dict[str, Any]:
    """Raise NotFound, Forbidden, and Conflict at MAX_INVITES and for a repeated *key*."""
    return await database.value(
        "create_invite",
        dict,
        actor=actor,
        conversation=conversation,
        token_hash=token_hash,
        email=email,
        role=role,
        max_uses=max_uses,
        ttl_seconds=ttl_seconds,
        max_invites=MAX_INVITES,
        key=key,
    )


async def list_invites(
    database: Caller, *, actor: UserId, conversation: ConversationId, before: UUID | None, limit: int
) -> list[InviteRow]:
    """Raise NotFound, Forbidden."""
    return await database.many("list_invites", InviteRow, actor=actor, conversation=conversation, before=before, limit=limit)


async def revoke_invite(database: Caller, *, actor: UserId, invite: UUID) -> None:
    """Raise NotFound, Forbidden."""
    await database.void("revoke_invite", actor=actor, invite=invite)


async def accept_invite(database: Caller, *, actor: UserId, token_hash: bytes) -> AcceptedInvite:
    """Raise NotFound, Forbidden, Conflict."""
    return await database.one("accept_invite", AcceptedInvite, actor=actor, token_hash=token_hash)
