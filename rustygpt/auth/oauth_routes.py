"""GitHub and Apple over HTTP. Every way back ends in a 303 to our own page; what went wrong is one word in its address, and nothing is made.

The cookie OAUTH_STATE binds a sign-in to the browser that began it. Apple's answer is a POST from Apple's site, with which a browser sends
only cookies that say SameSite=None, and those must be Secure; over plain http, where there is no Secure, it is Lax (docs/how-to/sign-in.md).
"""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import BaseModel, Field, StringConstraints
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rustygpt.auth import procedures, procedures_oauth
from rustygpt.auth.actor import find_actor, session_actor_of
from rustygpt.auth.answers import caller_of, sign_in_answer
from rustygpt.auth.csrf import is_from_elsewhere
from rustygpt.auth.identity import PROVIDERS, Grant, Provider, ProviderName
from rustygpt.auth.local_path import DEFAULT, local_path
from rustygpt.auth.oauth import MAX_CODE_CHARACTERS, Completion, OAuth
from rustygpt.auth.oauth_failure import oauth_failed
from rustygpt.auth.sessions import SessionCookies
from rustygpt.auth.wire import AuthorizationUrl, Identities
from rustygpt.auth.wire import SignedIn as SignedInAnswer
from rustygpt.database.pool import Database
from rustygpt.errors import AccountDisabled, BadRequest, Conflict, DomainError, Forbidden, NotFound, OAuthFailed, Unavailable
from rustygpt.http.body import RequestModel, read_body
from rustygpt.http.form import MEDIA_TYPE as FORM
from rustygpt.http.form import query_fields, read_form
from rustygpt.http.response import json_response
from rustygpt.ids import SessionId
from rustygpt.operation import Answer, Parameter, operation

STATE_COOKIE: Final = "OAUTH_STATE"
STATE_SECONDS: Final = 600
MAX_FORM_BYTES: Final = 65_536
TAG: Final = "Sign-in by providers"
REDIRECT_TO: Final = Parameter("redirect_to", str, "A path of this site to go to in the end; anything else is the start page.")
INVITE: Final = Parameter(
    "invite_token", str, "An invite: with it a newcomer gets in though sign-up is off, and joins its conversation."
)
PROVIDER: Final = Parameter("provider", ProviderName, "The provider's name.")
CALLBACK_PARAMETERS: Final = (
    Parameter("state", str, "What the sign-in began with."),
    Parameter("code", str, "What the server redeems at the provider."),
    Parameter("error", str, "Why there is no code."),
)
BACK: Final = Answer(None, "To the page of success, or to the sign-in page with `error`.", headers=("Location", "Set-Cookie"))


class ManualBody(RequestModel):
    """Body of `POST /api/oauth/{provider}/manual`."""

    code: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CODE_CHARACTERS)]
    redirect_uri: Annotated[str, StringConstraints(min_length=1, max_length=2_048)]
    code_verifier: Annotated[str | None, Field(min_length=43, max_length=128)] = None


class CallbackForm(BaseModel):
    """What Apple posts. Anything else in it is passed over."""

    state: str | None = None
    code: str | None = None
    error: str | None = None
    user: Annotated[str | None, Field(description="JSON with the name, at the first sign-in only.")] = None


class OAuthRoutes:
    """`/api/oauth…` and `/api/auth/identities…`. *public_url* is the origin at which users reach the server, or empty."""

    def __init__(
        self,
        database: Database,
        oauth: OAuth,
        cookies: SessionCookies,
        *,
        public_url: str = "",
        is_manual_enabled: bool = False,
    ) -> None:
        self._database = database
        self._oauth = oauth
        self._cookies = cookies
        self._public_url = public_url
        self._is_manual_enabled = is_manual_enabled

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top; a provider that is off answers 404."""
        found: list[Route] = []
        for name in PROVIDERS:
            path = f"/api/oauth/{name}"
            found += [
                Route(path, partial(self.begin, name), methods=["GET"]),
                Route(f"{path}/callback", partial(self.come_back, name), methods=["GET"]),
                Route(f"{path}/manual", partial(self.sign_in_by_hand, name), methods=["POST"]),
            ]
        return [
            *found,
            Route("/api/oauth/apple/callback", partial(self.come_back_by_form, "apple"), methods=["POST"]),
            Route("/api/auth/identities", self.list, methods=["GET"]),
            Route("/api/auth/identities/{provider}", self.unlink, methods=["DELETE"]),
        ]

    @operation(
        "begin_{0}_sign_in",
        tag=TAG,
        who="anyone",
        query=(REDIRECT_TO, INVITE),
        answers={
            200: Answer(AuthorizationUrl, "For `Accept: application/json`.", headers=("Set-Cookie",)),
            303: Answer(None, "To the provider, or to the sign-in page.", headers=("Location", "Set-Cookie")),
        },
        errors=(NotFound, Forbidden, OAuthFailed),
    )
    async def begin(self, name: ProviderName, request: Request) -> Response:
        """Send the browser to a provider.

        Who is signed in links an account. `Accept: application/json` gets the address instead.
        """
        provider = self._oauth.require_provider(name)
        wants_json = "application/json" in request.headers.get("accept", "") and not _wants_html(request)
        try:
            fields = query_fields(request)
        except BadRequest:
            fields = {}
        redirect_to = local_path(fields.get("redirect_to"))
        try:
            beginning = await self._oauth.begin(
                name,
                redirect_uri=self._redirect_uri(provider, request),
                redirect_to=redirect_to,
                browser_token=request.cookies.get(STATE_COOKIE, ""),
                session_id=self._linking_session(request),
                invite_token=fields.get("invite_token"),
            )
        except OAuthFailed as error:
            if wants_json:
                raise
            return self._failed(name, error, redirect_to)
        url = beginning.authorization_url
        response = json_response({"authorization_url": url}) if wants_json else _see_other(url)
        self._set_state_cookie(response, request, name, beginning.browser_token)
        return response

    @operation("complete_{0}_sign_in", tag=TAG, who="anyone", query=CALLBACK_PARAMETERS, answers={303: BACK})
    async def come_back(self, name: ProviderName, request: Request) -> Response:
        """Take a provider's answer.

        A session and the way to the page of success, or the way to the sign-in page with the reason.
        """
        return await self._come_back(name, request)

    @operation(
        "complete_{0}_sign_in_by_form",
        tag=TAG,
        who="anyone",
        body=CallbackForm,
        body_media_type=FORM,
        is_cross_site=True,
        answers={303: BACK},
    )
    async def come_back_by_form(self, name: ProviderName, request: Request) -> Response:
        """Take a provider's answer, as a form that its page posts.

        A session and the way to the page of success, or the way to the sign-in page with the reason.
        """
        return await self._come_back(name, request)

    async def _come_back(self, name: ProviderName, request: Request) -> Response:
        redirect_to = DEFAULT
        try:
            is_form = request.method == "POST"
            fields = await read_form(request, max_bytes=MAX_FORM_BYTES) if is_form else query_fields(request)
            state = await self._oauth.take_state(name, fields.get("state", ""), request.cookies.get(STATE_COOKIE, ""))
            redirect_to = local_path(state.redirect_to)
            if "error" in fields or "code" not in fields:
                raise oauth_failed("access_denied" if fields.get("error") in _DENIALS else "provider_error")
            grant = Grant(fields["code"], state.redirect_uri, state.code_verifier, state.nonce, fields.get("user", ""))
            completion = await self._oauth.complete(
                name, grant, caller_of(request), session_id=state.session_id, invite_hash=state.invite_hash
            )
        except DomainError as error:
            return self._failed(name, error, redirect_to)
        query = {"user_id": str(completion.user_id), **_destination(redirect_to)}
        return self._with_session(request, _see_other(f"/auth/success?{urlencode(query)}"), completion)

    @operation(
        "redeem_{0}_code",
        tag=TAG,
        who="anyone",
        body=ManualBody,
        answers={200: Answer(SignedInAnswer, headers=("Set-Cookie",))},
        errors=(NotFound, Forbidden, OAuthFailed, AccountDisabled, Conflict),
    )
    async def sign_in_by_hand(self, name: ProviderName, request: Request) -> Response:
        """Sign in with a code of a provider that was got elsewhere.

        For tests: no state, no nonce, and therefore off unless `oauth.manual_enabled` says so.
        """
        if not self._is_manual_enabled:
            raise NotFound
        self._oauth.require_provider(name)
        body = await read_body(request, ManualBody, max_bytes=MAX_FORM_BYTES)
        grant = Grant(body.code, body.redirect_uri, body.code_verifier)
        try:
            completion = await self._oauth.complete(name, grant, caller_of(request), session_id=None, invite_hash=None)
        except DomainError as error:
            if self._oauth.count_failure(name, error) == "provider_unavailable":
                raise Unavailable("The provider does not answer.", retry_after_seconds=5) from None
            raise
        if completion.signed_in is None:
            raise AssertionError("a sign-in without a linking session opens one")
        return self._with_session(request, json_response(sign_in_answer(completion.signed_in)), completion)

    @operation("list_identities", tag=TAG, who="session", answers={200: Identities})
    async def list(self, request: Request) -> Response:
        """List one's own accounts at providers."""
        actor = session_actor_of(request)
        rows = await procedures_oauth.list_identities(self._database, actor=actor.user_id)
        credentials = await procedures.find_own_credentials(self._database, actor=actor.user_id)
        has_password = credentials is not None and credentials.password_hash is not None
        return json_response({"items": [asdict(row) for row in rows], "next_cursor": None, "has_password": has_password})

    @operation("unlink_identity", tag=TAG, who="session", path=(PROVIDER,), answers={204: None}, errors=(NotFound, Conflict))
    async def unlink(self, request: Request) -> Response:
        """Forget an account at a provider; 409 for the last way in."""
        actor = session_actor_of(request)
        name = next((each for each in PROVIDERS if each == request.path_params["provider"]), None)
        if name is None:
            raise NotFound
        await procedures_oauth.unlink_identity(self._database, actor=actor.user_id, provider=name, usable=self._oauth.names)
        return Response(status_code=204)

    def _linking_session(self, request: Request) -> SessionId | None:
        """Return the session whose user links an account, or None. Raises Forbidden for API keys, and OAuthFailed: cross_site.

        From elsewhere nobody may begin a link: at a provider where the visitor was signed in to an attacker's account, it would open
        the visitor's account to the attacker.
        """
        if find_actor(request) is None:
            return None
        actor = session_actor_of(request)
        if is_from_elsewhere(request, self._public_url):
            raise oauth_failed("cross_site")
        return actor.session_id

    def _redirect_uri(self, provider: Provider, request: Request) -> str:
        if provider.redirect_uri:
            return provider.redirect_uri
        origin = self._public_url or str(URL(scheme=request.url.scheme, netloc=request.url.netloc))
        return f"{origin}/api/oauth/{provider.name}/callback"

    def _failed(self, name: ProviderName, error: DomainError, redirect_to: str) -> Response:
        reason = self._oauth.count_failure(name, error)
        return _see_other(f"/login?{urlencode({'error': reason, **_destination(redirect_to)})}")

    def _with_session(self, request: Request, response: Response, completion: Completion) -> Response:
        if (signed_in := completion.signed_in) is not None:
            self._cookies.put(response, request, signed_in.token, signed_in.user.absolute_expires_at)
        return response

    def _set_state_cookie(self, response: Response, request: Request, name: ProviderName, token: str) -> None:
        is_secure = self._cookies.is_secure(request)
        response.set_cookie(
            STATE_COOKIE,
            token,
            max_age=STATE_SECONDS,
            path=f"/api/oauth/{name}",
            secure=is_secure,
            httponly=True,
            samesite="none" if name == "apple" and is_secure else "lax",
        )


_DENIALS: Final = frozenset({"access_denied", "user_cancelled_authorize"})


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _destination(redirect_to: str) -> dict[str, Any]:
    return {} if redirect_to == DEFAULT else {"redirect_to": redirect_to}


def _see_other(location: str) -> Response:
    return Response(status_code=303, headers={"Location": location, "Cache-Control": "no-store"})
