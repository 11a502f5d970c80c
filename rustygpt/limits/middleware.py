"""Counts requests under their limit before any route sees them. Outside the database nothing is counted, so no number of processes exceeds it.

It fails open: a limiter that cannot ask lets everybody in, says so in the log once per episode, and counts it.
"""

import asyncio
import math
from collections.abc import Awaitable
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rustygpt.auth.actor import find_actor
from rustygpt.database.call import Caller
from rustygpt.errors import DomainError, Limit, RateLimited
from rustygpt.http.client_address import network_of
from rustygpt.http.problem import PROFILE_HEADER, limit_headers, problem_response
from rustygpt.limits.procedures import Assignment, Decision, take_http_request
from rustygpt.limits.table import LimitTable
from rustygpt.observability.metrics import Metrics

log = structlog.get_logger(__name__)

ASK_SECONDS: Final = 2.0
"""A database that is slower than this is as good as none: the request has to wait for it anyway."""


class RateLimitMiddleware:
    """To stand behind AuthenticationMiddleware, which says who asks, and ClientAddressMiddleware, which says from where."""

    def __init__(self, app: ASGIApp, *, database: Caller, table: LimitTable, metrics: Metrics) -> None:
        self._app = app
        self._database = database
        self._table = table
        self._metrics = metrics
        self._is_failing = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # No coroutine of ours where nothing is limited: it would lie under each of ten thousand idle streams.
        assignment = self._table.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        return self._app(scope, receive, send) if assignment is None else self._serve(assignment, scope, receive, send)

    async def _serve(self, assignment: Assignment, scope: Scope, receive: Receive, send: Send) -> None:
        decision = await self._decide(assignment, scope)
        if decision is None:
            await self._app(scope, receive, send)
            return
        limit = Limit(assignment.profile, decision.burst, decision.remaining, math.ceil(decision.reset_seconds))
        if not decision.is_allowed:
            seconds = max(1, math.ceil(decision.retry_seconds))
            error = RateLimited(f'The limit "{assignment.profile}" is reached.', limit=limit, retry_after_seconds=seconds)
            await problem_response(error, scope)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = MutableHeaders(scope=message)
                if PROFILE_HEADER not in own:  # else the route refused by a limit of its own
                    own.update(limit_headers(limit))
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _decide(self, assignment: Assignment, scope: Scope) -> Decision | None:
        """Count the request; None when that could not be done, or the profile has just been deleted."""
        count = self._metrics.rate_limited
        try:
            async with asyncio.timeout(ASK_SECONDS):
                decision = await take_http_request(
                    self._database, profile=assignment.profile_id, subject=_subject(assignment, scope)
                )
        except (DomainError, TimeoutError) as error:
            count(assignment.route, "failed_open")
            if not self._is_failing:
                log.warning("rate_limiter_fails_open", reason=str(error) or "the database did not answer in time")
            self._is_failing = True
            return None
        self._is_failing = False
        if decision is not None:
            count(assignment.route, "allowed" if decision.is_allowed else "limited")
        return decision


def _subject(assignment: Assignment, scope: Scope) -> str:
    actor = find_actor(scope) if assignment.counted_by == "user" else None
    if actor is not None:
        return f"user:{actor.user_id}"
    client = scope.get("client")
    return f"ip:{network_of(client[0]) if client else ''}"
