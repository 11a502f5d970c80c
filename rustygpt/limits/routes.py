"""`/api/admin/limits/…`: profiles and where they hold. Every change is announced, audited, and in force on all processes within 2 s."""

from dataclasses import asdict
from typing import Annotated

from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import admin_of
from rustygpt.database.call import Caller
from rustygpt.errors import Conflict, NotFound
from rustygpt.http.body import CanonicalUUID, RequestModel, read_body
from rustygpt.http.request import path_uuid
from rustygpt.http.response import json_response
from rustygpt.limits.procedures import (
    Assignment,
    CountedBy,
    Method,
    Profile,
    create_limit_assignment,
    create_limit_profile,
    delete_limit_assignment,
    delete_limit_profile,
    list_limit_assignments,
    list_limit_profiles,
    update_limit_profile,
)
from rustygpt.operation import operation
from rustygpt.signals import Announcer
from rustygpt.wire import Page


class ProfileBody(RequestModel):
    """Body of `POST /api/admin/limits/profiles` and `PUT …/{profile_id}`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    requests: Annotated[int, Field(ge=1, le=1_000_000)]
    per_seconds: Annotated[int, Field(ge=1, le=86_400)]
    burst: Annotated[int, Field(ge=1, le=1_000_000)]


class AssignmentBody(RequestModel):
    """Body of `POST /api/admin/limits/assignments`. *route*: `/api/messages/{message_id}`, or `/api/auth/*`."""

    profile_id: CanonicalUUID
    route: Annotated[str, StringConstraints(pattern=r"^/[^ ?#*]{0,254}\*?$")]
    method: Method = "*"
    counted_by: CountedBy = "user"


class ProfilePage(Page):
    """All profiles, by name."""

    items: list[Profile]


class AssignmentPage(Page):
    """All assignments, by route and method."""

    items: list[Assignment]


class LimitRoutes:
    """For administrators."""

    def __init__(self, database: Caller, announcer: Announcer, max_body_bytes: int) -> None:
        self._database = database
        self._announcer = announcer
        self._max_body_bytes = max_body_bytes

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/admin/limits/profiles", self.list_profiles, methods=["GET"]),
            Route("/api/admin/limits/profiles", self.create_profile, methods=["POST"]),
            Route("/api/admin/limits/profiles/{profile_id}", self.update_profile, methods=["PUT"]),
            Route("/api/admin/limits/profiles/{profile_id}", self.delete_profile, methods=["DELETE"]),
            Route("/api/admin/limits/assignments", self.list_assignments, methods=["GET"]),
            Route("/api/admin/limits/assignments", self.create_assignment, methods=["POST"]),
            Route("/api/admin/limits/assignments/{assignment_id}", self.delete_assignment, methods=["DELETE"]),
        ]

    @operation("list_limit_profiles", tag="Administration", who="administrator", answers={200: ProfilePage})
    async def list_profiles(self, request: Request) -> Response:
        """List all profiles of rate limits, by name."""
        admin_of(request)
        return json_response({"items": [asdict(row) for row in await list_limit_profiles(self._database)], "next_cursor": None})

    @operation(
        "create_limit_profile",
        tag="Administration",
        who="administrator",
        body=ProfileBody,
        answers={201: Profile},
        errors=(Conflict,),
    )
    async def create_profile(self, request: Request) -> Response:
        """Make a profile of rate limits.

        Its name is its own, so a repeated request is a conflict and never a second row.
        """
        admin = admin_of(request)
        body = await read_body(request, ProfileBody, max_bytes=self._max_body_bytes)
        made = await create_limit_profile(self._database, actor=admin.user_id, **body.model_dump())
        self._announcer.signal("limits_changed")
        return json_response(asdict(made), 201)

    @operation(
        "update_limit_profile",
        tag="Administration",
        who="administrator",
        body=ProfileBody,
        answers={200: Profile},
        errors=(Conflict,),
    )
    async def update_profile(self, request: Request) -> Response:
        """Replace what a profile of rate limits says; in force at once."""
        admin, profile_id = admin_of(request), path_uuid(request, "profile_id")
        body = await read_body(request, ProfileBody, max_bytes=self._max_body_bytes)
        changed = await update_limit_profile(self._database, actor=admin.user_id, profile=profile_id, **body.model_dump())
        self._announcer.signal("limits_changed")
        return json_response(asdict(changed))

    @operation("delete_limit_profile", tag="Administration", who="administrator", answers={204: None}, errors=(Conflict,))
    async def delete_profile(self, request: Request) -> Response:
        """Delete a profile of rate limits that is assigned nowhere."""
        admin, profile_id = admin_of(request), path_uuid(request, "profile_id")
        await delete_limit_profile(self._database, actor=admin.user_id, profile=profile_id)
        self._announcer.signal("limits_changed")
        return Response(status_code=204)

    @operation("list_limit_assignments", tag="Administration", who="administrator", answers={200: AssignmentPage})
    async def list_assignments(self, request: Request) -> Response:
        """List where profiles of rate limits hold, by route and method."""
        admin_of(request)
        rows = await list_limit_assignments(self._database)
        return json_response({"items": [asdict(row) for row in rows], "next_cursor": None})

    @operation(
        "create_limit_assignment",
        tag="Administration",
        who="administrator",
        body=AssignmentBody,
        answers={201: Assignment},
        errors=(NotFound, Conflict),
    )
    async def create_assignment(self, request: Request) -> Response:
        """Let a profile of rate limits hold for a route.

        A route has one for each method. In force on all processes within 2 s.
        """
        admin = admin_of(request)
        body = await read_body(request, AssignmentBody, max_bytes=self._max_body_bytes)
        made = await create_limit_assignment(
            self._database,
            actor=admin.user_id,
            profile=body.profile_id,
            method=body.method,
            route=body.route,
            counted_by=body.counted_by,
        )
        self._announcer.signal("limits_changed")
        return json_response(asdict(made), 201)

    @operation("delete_limit_assignment", tag="Administration", who="administrator", answers={204: None})
    async def delete_assignment(self, request: Request) -> Response:
        """Free a route of its rate limit."""
        admin, assignment_id = admin_of(request), path_uuid(request, "assignment_id")
        await delete_limit_assignment(self._database, actor=admin.user_id, assignment=assignment_id)
        self._announcer.signal("limits_changed")
        return Response(status_code=204)
