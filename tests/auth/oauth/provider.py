"""GitHub and Apple in small, on a real socket: strict where the tests' other stand-in is not (PKCE, Apple's client secret), wrong on demand."""

import asyncio
import base64
import functools
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rustygpt.cli.listener import open_listener

GITHUB_CLIENT, GITHUB_SECRET = "Iv1.tests", "a github client secret"
APPLE_CLIENT, APPLE_TEAM, APPLE_KEY_ID = "org.example.tests", "TEAM123456", "KEY1234567"
DEFAULT_USER = {"id": 4711, "login": "octo", "name": "Octo Cat"}
DEFAULT_EMAILS = [
    {"email": "other@example.org", "primary": False, "verified": True},
    {"email": "octo@example.org", "primary": True, "verified": True},
]
CLIENT_KEY = ECKey.generate_key("P-256", private=True)
START_SECONDS = 30

Answer = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class TinyProvider:
    """`answers` replaces what a path answers; `claims` changes what an id_token says (None leaves the claim out)."""

    url: str = ""
    user: Any = field(default_factory=lambda: dict(DEFAULT_USER))
    emails: Any = field(default_factory=lambda: list(DEFAULT_EMAILS))
    apple_subject: str = "000123.abc.0456"
    apple_email: str = "anna@example.org"
    claims: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    client_key: ECKey = field(default_factory=lambda: CLIENT_KEY)
    signing_key: RSAKey = field(default_factory=lambda: new_signing_key("first"))
    published: list[RSAKey] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)

    def settings(self) -> dict[str, Any]:
        """The table [oauth] of an application that takes this for GitHub and Apple."""
        pem = self.client_key.as_pem(private=True).decode()
        github = {"client_id": GITHUB_CLIENT, "client_secret": GITHUB_SECRET, "api_url": f"{self.url}/github"}
        apple = {"client_id": APPLE_CLIENT, "team_id": APPLE_TEAM, "key_id": APPLE_KEY_ID, "private_key": pem}
        apple |= {"keys_url": f"{self.url}/apple/keys", "issuer": f"{self.url}/apple"}
        for name, table in (("github", github), ("apple", apple)):
            table |= {"auth_url": f"{self.url}/{name}/authorize", "token_url": f"{self.url}/{name}/token"}
        return {"github": github, "apple": apple}

    def consent(self, authorization_url: str) -> tuple[str, str]:
        """Do what a person does at the provider: return code and state. Fails for an address that breaks the protocol."""
        address, query = split(authorization_url)
        assert query["response_type"] == "code"
        assert len(query["state"]) >= 43
        if address.endswith("/github/authorize"):
            assert query["client_id"] == GITHUB_CLIENT
            assert query["code_challenge_method"] == "S256"
            assert len(query["code_challenge"]) == 43
            assert set(query["scope"].split()) == {"read:user", "user:email"}
        else:
            assert query["client_id"] == APPLE_CLIENT
            assert query["response_mode"] == "form_post"
            assert len(query["nonce"]) >= 43
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return code, query["state"]

    def received(self, path: str) -> list[dict[str, str]]:
        """The forms (or headers, of a GET) that came to *path*."""
        return [fields for asked, fields in self.requests if asked == path]

    async def github_token(self, request: Request) -> Response:
        form = await read(request)
        granted = self._codes.pop(form.get("code", ""), None)
        if (form.get("client_id"), form.get("client_secret")) != (GITHUB_CLIENT, GITHUB_SECRET):
            return JSONResponse({"error": "incorrect_client_credentials"})
        if granted is None or granted["redirect_uri"] != form.get("redirect_uri"):
            return JSONResponse({"error": "bad_verification_code"})  # with status 200, as GitHub does
        if challenge(form.get("code_verifier", "")) != granted["code_challenge"]:
            return JSONResponse({"error": "bad_verification_code"})
        token = f"gho_{secrets.token_urlsafe(16)}"
        self._tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "bearer", "scope": "read:user,user:email"})

    async def github_user(self, request: Request) -> Response:
        return self._for_bearer(request, self.user)

    async def github_emails(self, request: Request) -> Response:
        return self._for_bearer(request, self.emails)

    def _for_bearer(self, request: Request, document: Any) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return JSONResponse(document) if token in self._tokens else JSONResponse({"message": "Bad credentials"}, 401)

    async def apple_token(self, request: Request) -> Response:
        form = await read(request)
        granted = self._codes.pop(form.get("code", ""), None)
        statement = jwt.decode(form.get("client_secret", ""), self.client_key, algorithms=["ES256"])
        claims, now = statement.claims, time.time()
        is_ours = (claims["iss"], claims["sub"], claims["aud"]) == (APPLE_TEAM, APPLE_CLIENT, f"{self.url}/apple")
        is_now = claims["iat"] <= now < claims["exp"] <= now + 15_777_000
        if statement.header.get("kid") != APPLE_KEY_ID or not is_ours or not is_now:
            return JSONResponse({"error": "invalid_client"}, 400)
        if granted is None or granted["redirect_uri"] != form.get("redirect_uri"):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse(
            {"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "id_token": self.id_token(granted["nonce"])}
        )

    def id_token(self, nonce: str) -> str:
        """An id_token as Apple would sign it now, with `claims` laid over it."""
        now = int(time.time())
        said = {"iss": f"{self.url}/apple", "aud": APPLE_CLIENT, "sub": self.apple_subject, "iat": now, "exp": now + 600}
        said |= {"nonce": nonce, "email": self.apple_email, "email_verified": "true", **self.claims}
        claims = {name: value for name, value in said.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": self.signing_key.kid}, claims, self.signing_key, algorithms=["RS256"])

    async def apple_keys(self, request: Request) -> Response:
        keys = [key.as_dict(private=False) | {"use": "sig", "alg": "RS256"} for key in self.published or [self.signing_key]]
        return JSONResponse({"keys": keys})


@functools.cache
def new_signing_key(key_id: str) -> RSAKey:
    """An RSA key as Apple signs with; the same for the same id, as making one takes half a second."""
    return RSAKey.generate_key(2048, {"kid": key_id}, private=True)


def challenge(verifier: str) -> str:
    """RFC 7636, section 4.2: S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def split(url: str) -> tuple[str, dict[str, str]]:
    """An address without its query, and its query; nothing may stand there twice."""
    parts = urlsplit(url)
    query = parse_qs(parts.query, strict_parsing=bool(parts.query))
    assert all(len(values) == 1 for values in query.values())
    return parts._replace(query="").geturl(), {name: values[0] for name, values in query.items()}


async def read(request: Request) -> dict[str, str]:
    """A posted form."""
    return {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}


@asynccontextmanager
async def tiny_provider() -> AsyncIterator[TinyProvider]:
    """Serve on a free port of loopback."""
    provider = TinyProvider()
    endpoints = {
        "/github/token": provider.github_token,
        "/github/user": provider.github_user,
        "/github/user/emails": provider.github_emails,
        "/apple/token": provider.apple_token,
        "/apple/keys": provider.apple_keys,
    }

    async def answer(request: Request) -> Response:
        path = request.url.path
        provider.requests.append((path, await read(request) if request.method == "POST" else dict(request.headers)))
        return await (provider.answers.get(path) or endpoints[path])(request)

    app = Starlette(routes=[Route(path, answer, methods=["GET", "POST"]) for path in endpoints])
    async with served(app) as provider.url:
        yield provider


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application at the yielded address."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    with open_listener("127.0.0.1", 0) as listener:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(server._serve([listener]))  # not serve(): the signals are the test runner's
            try:
                async with asyncio.timeout(START_SECONDS):
                    while not server.started:  # noqa: ASYNC110 - uvicorn signals it to nobody
                        await asyncio.sleep(0)
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                await asyncio.wait([task], timeout=START_SECONDS)
