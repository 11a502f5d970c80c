"""`/api/admin/limits/…`: profiles and where they hold. Every change is announced, audited, and in force on all processes within 2 s."""

from dataclasses import asdict
from typing import Annotated

from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth.actor import admin_of
from rustygpt.database.call import Caller
from rustygpt.http.body import CanonicalUUID, RequestModel, read_body
from rustygpt.http.request import path_uuid
from rustygpt.http.response import json_response
from rustygpt.limits.procedures import (
    CountedBy,
    Method,
    create_limit_assignment,
    create_limit_profile,
    delete_limit_assignment,
    delete_limit_profile,
    list_limit_assignments,
    list_limit_profiles,
    update_limit_profile,
)
from rustygpt.signals import Announcer


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

    async def list_profiles(self, request: Request) -> Response:
        """Answer all profiles, by name."""
        admin_of(request)
        return json_response({"items": [asdict(row) for row in await list_limit_profiles(self._database)], "next_cursor": None})

    async def create_profile(self, request: Request) -> Response:
        """Make a profile; its name is its own, so a repeated request is a conflict and never a second row."""
        admin = admin_of(request)
        body = await read_body(request, ProfileBody, max_bytes=self._max_body_bytes)
        made = await create_limit_profile(self._database, actor=admin.user_id, **body.model_dump())
        self._announcer.signal("limits_changed")
        return json_response(asdict(made), 201)

    async def update_profile(self, request: Request) -> Response:
        """Replace what a profile says."""
        admin, profile_id = admin_of(request), path_uuid(request, "profile_id")
        body = await read_body(request, ProfileBody, max_bytes=self._max_body_bytes)
        changed = await update_limit_profile(self._database, actor=admin.user_id, profile=profile_id, **body.model_dump())
        self._announcer.signal("limits_changed")
        return json_response(asdict(changed))

    async def delete_profile(self, request: Request) -> Response:
        """Delete a profile that is assigned nowhere."""
        admin, profile_id = admin_of(request), path_uuid(request, "profile_id")
        await delete_limit_profile(self._database, actor=admin.user_id, profile=profile_id)
        self._announcer.signal("limits_changed")
        return Response(status_code=204)

    async def list_assignments(self, request: Request) -> Response:
        """Answer all assignments, by route and method."""
        admin_of(request)
        rows = await list_limit_assignments(self._database)
        return json_response({"items": [asdict(row) for row in rows], "next_cursor": None})

    async def create_assignment(self, request: Request) -> Response:
        """Let a profile hold for a route; a route has one for each method."""
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

    async def delete_assignment(self, request: Request) -> Response:
        """Free a route of its limit."""
        admin, assignment_id = admin_of(request), path_uuid(request, "assignment_id")
        await delete_limit_assignment(self._database, actor=admin.user_id, assignment=assignment_id)
        self._announcer.signal("limits_changed")
        return Response(status_code=204)
