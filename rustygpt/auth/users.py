"""`/api/admin/users…`: who may come in, and as what. Every change is in the audit log, and the last active administrator stays.

Who is disabled or sent back to wait loses live streams at once, on every process; the database is the truth for whoever misses the signal.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import structlog
from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import UserRole, admin_of
from rustygpt.auth.bodies import NewAccount
from rustygpt.auth.models import User, UserStatus
from rustygpt.auth.sign_in import SignIn
from rustygpt.auth.wire import UserPage
from rustygpt.database.call import Caller
from rustygpt.errors import BadRequest, Conflict
from rustygpt.http.body import RequestModel, read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, idempotency_key, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import UserId
from rustygpt.operation import Parameter, operation
from rustygpt.signals import Announcer

CURSOR_KIND: Final = "users"
MAX_QUERY_CHARACTERS: Final = 254
STATUSES: Final = ("active", "pending", "disabled")
QUERY: Final = Parameter("query", Annotated[str, Field(max_length=MAX_QUERY_CHARACTERS)], "A part of a name or an address.")
STATUS: Final = Parameter("status", UserStatus, "Only accounts like that.")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ChangedUser:
    """An account after a change; `ended` are the ids of sessions and API keys whose streams must end."""

    account: dict[str, Any]
    is_changed: bool
    ended: list[UUID]


class NewUserBody(NewAccount):
    """Body of `POST /api/admin/users`."""

    role: UserRole = "user"


class UserChange(RequestModel):
    """Body of `PATCH /api/admin/users/{user_id}`: what is absent stays."""

    role: UserRole | None = None
    status: Literal["active", "pending", "disabled"] | None = None

    @model_validator(mode="after")
    def _something(self) -> "UserChange":
        if self.role is None and self.status is None:
            raise ValueError("names nothing to change")
        return self


class UserRoutes:
    """For administrators."""

    def __init__(
        self, database: Caller, sign_in: SignIn, announcer: Announcer, cursors: PageCursors, max_body_bytes: int
    ) -> None:
        self._database = database
        self._sign_in = sign_in
        self._announcer = announcer
        self._cursors = cursors
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/admin/users", self.list, methods=["GET"]),
            Route("/api/admin/users", self.create, methods=["POST"]),
            Route("/api/admin/users/{user_id}", self.update, methods=["PATCH"]),
        ]

    @operation(
        "list_users",
        tag="Administration",
        who="administrator",
        query=(LIMIT, CURSOR, QUERY, STATUS),
        answers={200: UserPage},
    )
    async def list(self, request: Request) -> Response:
        """List accounts, newest first."""
        admin, limit = admin_of(request), query_limit(request)
        query, status = query_value(request, "query"), query_value(request, "status")
        if query is not None and len(query) > MAX_QUERY_CHARACTERS:
            raise BadRequest(f"The query may have at most {MAX_QUERY_CHARACTERS} characters.")
        if status is not None and status not in STATUSES:
            raise BadRequest(f"The status must be one of {', '.join(STATUSES)}.")
        (before,) = self._cursors.page(query_value(request, "cursor"), CURSOR_KIND, 1)
        rows = await list_users(
            self._database, actor=admin.user_id, query=query or None, status=status, before=before, limit=limit + 1
        )
        page = rows[:limit]
        next_cursor = self._cursors.encode(CURSOR_KIND, [page[-1].id]) if len(rows) > limit else None
        return json_response({"items": [asdict(row) for row in page], "next_cursor": next_cursor})

    @operation(
        "create_user", tag="Administration", who="administrator", body=NewUserBody, is_idempotent=True, answers={201: User}
    )
    async def create(self, request: Request) -> Response:
        """Make an account.

        It is active at once, whatever the settings say of sign-up and approval.
        """
        admin = admin_of(request)
        body = await read_body(request, NewUserBody, max_bytes=self._max_body_bytes)
        account = await add_user(
            self._database,
            actor=admin.user_id,
            email=body.email,
            display_name=body.display_name,
            password_hash=await self._sign_in.hash_password(body.password, str(admin.user_id)),
            role=body.role,
            key=idempotency_key(request),
        )
        log.info("user_created", user_id=account["id"], role=body.role, method="admin")
        return json_response(account, 201)

    @operation("update_user", tag="Administration", who="administrator", body=UserChange, answers={200: User}, errors=(Conflict,))
    async def update(self, request: Request) -> Response:
        """Give an account another role or status.

        409 for one's own status, and for what would leave no active administrator.
        """
        admin, user_id = admin_of(request), UserId(path_uuid(request, "user_id"))
        body = await read_body(request, UserChange, max_bytes=self._max_body_bytes)
        changed = await update_user(self._database, actor=admin.user_id, user=user_id, role=body.role, status=body.status)
        for credential_id in changed.ended:
            self._announcer.signal("session_revoked", str(credential_id))
        if changed.is_changed:
            account = changed.account
            log.info("user_changed", user_id=str(user_id), role=account["role"], status=account["status"])
        return json_response(changed.account)


async def list_users(
    database: Caller, *, actor: UserId, query: str | None, status: str | None, before: UserId | None, limit: int
) -> list[User]:
    """Raise Forbidden."""
    return await database.many("list_users", User, actor=actor, query=query, status=status, before=before, limit=limit)


async def add_user(
    database: Caller, *, actor: UserId, email: str, display_name: str, password_hash: str, role: UserRole, key: str | None
) -> dict[str, Any]:
    """Raise Forbidden, and Conflict when the address is taken or the key was used for something else."""
    return await database.value(
        "add_user",
        dict,
        actor=actor,
        email=email,
        display_name=display_name,
        password_hash=password_hash,
        role=role,
        key=key,
    )


async def update_user(
    database: Caller, *, actor: UserId, user: UserId, role: UserRole | None, status: UserStatus | None
) -> ChangedUser:
    """Raise Forbidden, NotFound, and Conflict for one's own status and the last active administrator."""
    return await database.one("update_user", ChangedUser, actor=actor, user=user, role=role, status=status)


async def update_user_by_operator(
    database: Caller, *, email: str, role: UserRole | None, status: UserStatus | None
) -> ChangedUser:
    """Raise NotFound, and Conflict for the last active administrator."""
    return await database.one("update_user_by_operator", ChangedUser, email=email, role=role, status=status)


async def list_users_for_operator(database: Caller) -> list[User]:
    return await database.many("list_users_for_operator", User)
