"""`/api/usage` and `/api/admin/users/{user_id}/quota`: what one may have written, and what one has. Every change is audited and at once in force."""

from datetime import datetime
from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from rustygpt.auth.actor import actor_of, admin_of
from rustygpt.database.call import Caller
from rustygpt.http.body import RequestModel, read_body
from rustygpt.http.request import path_uuid
from rustygpt.http.response import json_response
from rustygpt.ids import UserId
from rustygpt.limits.quotas import Quota, clear_quota, read_quota, read_quota_of, set_quota
from rustygpt.operation import operation

Amount = Annotated[int, Field(ge=0, le=1_000_000_000_000)]


class QuotaBody(RequestModel):
    """Body of `PUT /api/admin/users/{user_id}/quota`; null is no limit, 0 nothing at all."""

    generations: Amount | None
    tokens: Amount | None


class Share(TypedDict):
    """How much there is of something, and how much is left."""

    limit: Annotated[int | None, Field(description="Null is no limit.")]
    used: int
    reserved: Annotated[int, Field(description="For replies that are not finished.")]
    remaining: int | None


class QuotaState(TypedDict):
    """What somebody may have written, and has."""

    generations: Share
    tokens: Share
    is_default: Annotated[bool, Field(description="Whether the general quotas hold.")]
    period_seconds: float
    started_at: Annotated[datetime | None, Field(description="Null while no period runs.")]
    resets_at: datetime | None


class QuotaRoutes:
    """One's own use for everybody, that of others and their limits for administrators."""

    def __init__(self, database: Caller, max_body_bytes: int) -> None:
        self._database = database
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/usage", self.own, methods=["GET"]),
            Route("/api/admin/users/{user_id}/quota", self.read, methods=["GET"]),
            Route("/api/admin/users/{user_id}/quota", self.put, methods=["PUT"]),
            Route("/api/admin/users/{user_id}/quota", self.delete, methods=["DELETE"]),
        ]

    @operation("read_usage", tag="Models", who="actor", answers={200: QuotaState})
    async def own(self, request: Request) -> Response:
        """Read one's own quotas of replies and tokens, and what is used of them."""
        return json_response(_answer(await read_quota(self._database, actor=actor_of(request).user_id)))

    @operation("read_user_quota", tag="Administration", who="administrator", answers={200: QuotaState})
    async def read(self, request: Request) -> Response:
        """Read somebody's quotas, and what is used of them."""
        return await self._show(request, admin_of(request).user_id)

    @operation("set_user_quota", tag="Administration", who="administrator", body=QuotaBody, answers={200: QuotaState})
    async def put(self, request: Request) -> Response:
        """Give somebody quotas of their own, in place of the general ones."""
        admin, user = admin_of(request), UserId(path_uuid(request, "user_id"))
        body = await read_body(request, QuotaBody, max_bytes=self._max_body_bytes)
        await set_quota(self._database, actor=admin.user_id, user=user, generations=body.generations, tokens=body.tokens)
        return await self._show(request, admin.user_id)

    @operation("clear_user_quota", tag="Administration", who="administrator", answers={204: None})
    async def delete(self, request: Request) -> Response:
        """Let the general quotas hold for somebody again."""
        admin = admin_of(request)
        await clear_quota(self._database, actor=admin.user_id, user=UserId(path_uuid(request, "user_id")))
        return Response(status_code=204)

    async def _show(self, request: Request, admin: UserId) -> Response:
        return json_response(
            _answer(await read_quota_of(self._database, actor=admin, user=UserId(path_uuid(request, "user_id"))))
        )


def _answer(quota: Quota) -> QuotaState:
    return {
        "generations": _part(quota.generation_limit, quota.generations_used, quota.generations_reserved),
        "tokens": _part(quota.token_limit, quota.tokens_used, quota.tokens_reserved),
        "is_default": quota.is_default,
        "period_seconds": quota.period_seconds,
        "started_at": quota.started_at,
        "resets_at": quota.resets_at,
    }


def _part(limit: int | None, used: int, reserved: int) -> Share:
    remaining = None if limit is None else max(0, limit - used - reserved)
    return {"limit": limit, "used": used, "reserved": reserved, "remaining": remaining}
