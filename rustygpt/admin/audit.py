"""`GET /api/admin/audit`: what was done by right of an office, newest first. Nothing here can change it."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import admin_of
from rustygpt.database.call import Caller
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, query_limit, query_uuid, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import UserId
from rustygpt.operation import Parameter, operation
from rustygpt.wire import Page

CURSOR_KIND: Final = "audit"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `actor_id` is None once the account is gone; `subject` is the name or id of what it was done to."""

    id: UUID
    at: datetime
    actor_id: UserId | None
    actor_email: str | None
    action: str
    subject: str
    details: dict[str, Any]


class AuditPage(Page):
    """Acts, newest first."""

    items: list[AuditEntry]


ACTOR_ID: Final = Parameter("actor_id", UUID, "Only what this one did.")


class AuditRoutes:
    """For administrators."""

    def __init__(self, database: Caller, cursors: PageCursors) -> None:
        self._database = database
        self._cursors = cursors

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [Route("/api/admin/audit", self.list, methods=["GET"])]

    @operation(
        "list_audit_log", tag="Administration", who="administrator", query=(LIMIT, CURSOR, ACTOR_ID), answers={200: AuditPage}
    )
    async def list(self, request: Request) -> Response:
        """List what was done by right of an office, newest first."""
        admin, limit = admin_of(request), query_limit(request)
        (before,) = self._cursors.page(query_value(request, "cursor"), CURSOR_KIND, 1)
        rows = await list_audit_log(
            self._database, actor=admin.user_id, of=query_uuid(request, "actor_id"), before=before, limit=limit + 1
        )
        page = rows[:limit]
        next_cursor = self._cursors.encode(CURSOR_KIND, [page[-1].id]) if len(rows) > limit else None
        return json_response({"items": [asdict(row) for row in page], "next_cursor": next_cursor})


async def list_audit_log(
    database: Caller, *, actor: UserId, of: UUID | None, before: UUID | None, limit: int
) -> list[AuditEntry]:
    """Raise Forbidden."""
    return await database.many("list_audit_log", AuditEntry, actor=actor, of=of, before=before, limit=limit)
