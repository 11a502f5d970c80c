"""Set-up, sign-in and sessions over HTTP. What is answered here never holds a token or a hash; the session's token is in its cookie."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth import procedures
from rustygpt.auth.actor import SessionActor, actor_of, session_actor_of
from rustygpt.auth.answers import caller_of, session_answer, sign_in_answer, user_answer
from rustygpt.auth.bodies import LoginBody, NewAccount, PasswordBody, Registration
from rustygpt.auth.csrf import CSRF_COOKIE, csrf_token
from rustygpt.auth.device import device_of
from rustygpt.auth.models import ListedSession
from rustygpt.auth.sessions import ROTATED, SessionCookies
from rustygpt.auth.sign_in import SignedIn, SignIn
from rustygpt.auth.wire import ActiveSessionPage, Me, Registered, SetupState
from rustygpt.auth.wire import SignedIn as SignedInAnswer
from rustygpt.database.pool import Database
from rustygpt.errors import AccountDisabled, Conflict, Forbidden, InvalidCredentials, NotFound, SessionExpired
from rustygpt.http.body import read_body
from rustygpt.http.cursors import PageCursors
from rustygpt.http.request import CURSOR, LIMIT, path_uuid, query_limit, query_value
from rustygpt.http.response import json_response
from rustygpt.ids import SessionId
from rustygpt.live_settings import HasAuth
from rustygpt.operation import Answer, operation

MAX_BODY_BYTES: Final = 65_536
"""Far more than an address, two passwords and a name can take."""
CURSOR_KIND: Final = "sessions"


class AuthRoutes:
    """Routes of accounts and sessions. *oauth_providers* are the names of those by which one can sign in.

    *max_body_bytes* is the server's limit, where that is below MAX_BODY_BYTES.
    """

    def __init__(
        self,
        database: Database,
        sign_in: SignIn,
        cookies: SessionCookies,
        cursors: PageCursors,
        live: HasAuth,
        *,
        oauth_providers: Sequence[str] = (),
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._database = database
        self._sign_in = sign_in
        self._cookies = cookies
        self._cursors = cursors
        self._live = live
        self._oauth_providers = list(oauth_providers)
        self._max_body_bytes = min(max_body_bytes, MAX_BODY_BYTES)

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [
            Route("/api/setup", self.setup_state, methods=["GET"]),
            Route("/api/setup", self.set_up, methods=["POST"]),
            Route("/api/auth/register", self.register, methods=["POST"]),
            Route("/api/auth/login", self.log_in, methods=["POST"]),
            Route("/api/auth/logout", self.log_out, methods=["POST"]),
            Route("/api/auth/refresh", self.refresh, methods=["POST"]),
            Route("/api/auth/me", self.me, methods=["GET"]),
            Route("/api/auth/sessions", self.list_sessions, methods=["GET"]),
            Route("/api/auth/sessions/{session_id}", self.revoke_session, methods=["DELETE"]),
            Route("/api/auth/password", self.change_password, methods=["POST"]),
        ]

    @operation("read_setup", tag="Sessions", who="anyone", answers={200: SetupState})
    async def setup_state(self, _request: Request) -> Response:
        """Say whether there is an administrator, and which ways in there are."""
        is_set_up = await procedures.is_set_up(self._database)
        return json_response({"is_setup": is_set_up, "oauth": self._oauth_providers, "signup": self._live.auth.signup})

    @operation(
        "set_up",
        tag="Sessions",
        who="anyone",
        body=NewAccount,
        answers={201: Answer(Registered, headers=("Set-Cookie",))},
        errors=(Conflict,),
    )
    async def set_up(self, request: Request) -> Response:
        """Create the first administrator, and sign in.

        409 once that was done.
        """
        body = await read_body(request, NewAccount, max_bytes=self._max_body_bytes)
        signed_in = await self._sign_in.set_up(body.email, body.password, body.display_name, caller_of(request))
        return self._created(request, signed_in)

    @operation(
        "register",
        tag="Sessions",
        who="anyone",
        body=Registration,
        answers={201: Answer(Registered, headers=("Set-Cookie",))},
        errors=(Forbidden, NotFound, Conflict),
    )
    async def register(self, request: Request) -> Response:
        """Create an account, and sign in.

        With an invite it joins that conversation; without one it is 403 while sign-up is off.
        """
        body = await read_body(request, Registration, max_bytes=self._max_body_bytes)
        account, caller = (body.email, body.password, body.display_name), caller_of(request)
        if body.invite_token is None:
            return self._created(request, await self._sign_in.register(*account, caller))
        return self._created(request, await self._sign_in.register_with_invite(*account, body.invite_token, caller))

    @operation(
        "log_in",
        tag="Sessions",
        who="anyone",
        body=LoginBody,
        answers={200: Answer(SignedInAnswer, headers=("Set-Cookie",))},
        errors=(InvalidCredentials, AccountDisabled, Conflict),
    )
    async def log_in(self, request: Request) -> Response:
        """Sign in by e-mail address and password.

        The new session takes the place of the one that the request came with.
        """
        body = await read_body(request, LoginBody, max_bytes=self._max_body_bytes)
        signed_in = await self._sign_in.log_in(body.email, body.password, caller_of(request))
        return self._with_cookies(request, json_response(sign_in_answer(signed_in)), signed_in)

    @operation("log_out", tag="Sessions", who="session", answers={204: Answer(headers=("Set-Cookie",))})
    async def log_out(self, request: Request) -> Response:
        """Sign out: end the session and its streams.

        Also takes a session that has ended: the browser then just forgets it.
        """
        try:
            actor = session_actor_of(request)
        except (SessionExpired, AccountDisabled):
            return self._signed_out(request)
        await self._sign_in.log_out(actor)
        return self._signed_out(request)

    @operation(
        "refresh_session",
        tag="Sessions",
        who="session",
        answers={200: Answer(SignedInAnswer, headers=("Set-Cookie", "X-Session-Rotated"))},
    )
    async def refresh(self, request: Request) -> Response:
        """Replace the session's token."""
        signed_in = await self._sign_in.refresh(session_actor_of(request))
        return self._with_cookies(request, json_response(sign_in_answer(signed_in), headers=ROTATED), signed_in)

    @operation("read_me", tag="Sessions", who="actor", answers={200: Me})
    async def me(self, request: Request) -> Response:
        """Say who is asking.

        A browser that lost its CSRF cookie gets it back. For an API key there is no session.
        """
        actor = actor_of(request)
        if not isinstance(actor, SessionActor):
            user_of_key = await procedures.read_user(self._database, actor=actor.user_id)
            return json_response({"user": asdict(user_of_key), "session": None})
        user = await self._sign_in.me(actor)
        response = json_response({"user": user_answer(user), "session": session_answer(user)})
        if actor.is_token_current and request.cookies.get(CSRF_COOKIE) != csrf_token(actor.token):
            self._cookies.put(response, request, actor.token, user.absolute_expires_at)
        return response

    @operation("list_sessions", tag="Sessions", who="session", query=(LIMIT, CURSOR), answers={200: ActiveSessionPage})
    async def list_sessions(self, request: Request) -> Response:
        """List one's own live sessions, newest first."""
        actor, limit = session_actor_of(request), query_limit(request)
        (before,) = self._cursors.page(query_value(request, "cursor"), CURSOR_KIND, 1)
        rows = await procedures.list_sessions(self._database, actor=actor.user_id, before=before, limit=limit + 1)
        page = rows[:limit]
        more = len(rows) > limit
        next_cursor = self._cursors.encode(CURSOR_KIND, [page[-1].session_id]) if more else None
        return json_response({"items": [_listed(row, actor) for row in page], "next_cursor": next_cursor})

    @operation("revoke_session", tag="Sessions", who="session", answers={204: None})
    async def revoke_session(self, request: Request) -> Response:
        """End one of one's own sessions and its streams."""
        actor = session_actor_of(request)
        session_id = SessionId(path_uuid(request, "session_id"))
        await self._sign_in.end(actor, session_id)
        return self._signed_out(request) if session_id == actor.session_id else Response(status_code=204)

    @operation(
        "change_password",
        tag="Sessions",
        who="session",
        body=PasswordBody,
        answers={200: Answer(SignedInAnswer, headers=("Set-Cookie", "X-Session-Rotated"))},
        errors=(Conflict,),
    )
    async def change_password(self, request: Request) -> Response:
        """Change the password.

        This session gets a new token, all others end.
        """
        actor = session_actor_of(request)
        body = await read_body(request, PasswordBody, max_bytes=self._max_body_bytes)
        signed_in = await self._sign_in.change_password(actor, body.current_password, body.new_password)
        return self._with_cookies(request, json_response(sign_in_answer(signed_in), headers=ROTATED), signed_in)

    def _created(self, request: Request, signed_in: SignedIn) -> Response:
        # The contract's "201 user, signed in": the user, and beside it what a login answers.
        answer = {**user_answer(signed_in.user), **sign_in_answer(signed_in)}
        return self._with_cookies(request, json_response(answer, status=201), signed_in)

    def _with_cookies(self, request: Request, response: Response, signed_in: SignedIn) -> Response:
        self._cookies.put(response, request, signed_in.token, signed_in.user.absolute_expires_at)
        return response

    def _signed_out(self, request: Request) -> Response:
        response = Response(status_code=204)
        self._cookies.clear(response, request)
        return response


def _listed(row: ListedSession, actor: SessionActor) -> dict[str, Any]:
    fields = asdict(row)
    return {
        "id": fields.pop("session_id"),
        "is_current": row.session_id == actor.session_id,
        "device": device_of(row.user_agent),
        **fields,
    }
