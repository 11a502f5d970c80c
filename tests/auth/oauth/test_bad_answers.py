"""Providers that err, lie, hang or drown us: the person is told in words, nothing is made, and nothing is waited for without end."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from rustygpt.auth.apple import Apple
from rustygpt.auth.github import GitHub
from rustygpt.auth.identity import Grant, Provider, ProviderName
from rustygpt.errors import OAuthFailed
from rustygpt.settings_oauth import AppleSettings, GitHubSettings
from tests.auth.oauth.conftest import NewTraveller, Owner, rows
from tests.auth.oauth.provider import Answer, TinyProvider, split
from tests.auth.oauth.traveller import Traveller, refused
from tests.site import serving, settings_for

NOTHING = {"users": 0, "identities": 0, "sessions": 0}
CALLBACK = "https://chat.example.org/callback"
PROVIDERS: tuple[ProviderName, ...] = ("github", "apple")


def fixed(response: Response) -> Answer:
    """Answer this, whatever is asked."""

    async def answer(_request: Request) -> Response:
        return response

    return answer


def made(provider: TinyProvider, name: ProviderName, seconds: float = 30) -> Provider:
    """One provider without an application around it."""
    table = provider.settings()[name]
    return GitHub(GitHubSettings(**table), seconds) if name == "github" else Apple(AppleSettings(**table), seconds)


async def refusal(provider: TinyProvider, name: ProviderName, seconds: float = 30) -> str:
    """Why a sign-in with a code that the provider gave comes to nothing."""
    asked = made(provider, name, seconds)
    verifier, nonce = "v" * 64, "n" * 43
    url = asked.authorization_url(state="s" * 43, redirect_uri=CALLBACK, code_verifier=verifier, nonce=nonce)
    code, _ = provider.consent(url)
    with pytest.raises(OAuthFailed) as caught:
        await asked.fetch_identity(Grant(code, CALLBACK, verifier, nonce))
    return caught.value.reason


TOKEN_ANSWERS: list[tuple[Any, int, str]] = [
    ({"error": "bad_verification_code", "error_description": "expired"}, 200, "provider_error"),
    ({"error": "incorrect_client_credentials"}, 200, "provider_error"),
    ({"error": {"odd": 1}}, 200, "provider_error"),
    ({"error": "invalid_grant"}, 400, "provider_error"),
    ({"error": "invalid_client"}, 401, "provider_error"),
    ({"error": "slow_down"}, 429, "provider_error"),
    ({"error": "server_error"}, 503, "provider_unavailable"),
    ({}, 200, "provider_error"),
    ([], 200, "provider_error"),
    ("text", 200, "provider_error"),
    (None, 200, "provider_error"),
    ({"access_token": "a", "token_type": "bearer", "expires_in": "soon"}, 200, "provider_error"),
]


@pytest.mark.parametrize("name", PROVIDERS)
async def test_token_errors(provider: TinyProvider, name: ProviderName) -> None:
    """Errors of the token's address with status 200, 4xx and 5xx, and answers that are no token."""
    for document, status, reason in TOKEN_ANSWERS:
        provider.answers[f"/{name}/token"] = fixed(JSONResponse(document, status))
        assert await refusal(provider, name) in ({reason} if name == "github" else {reason, "invalid_token"}), document


UNREADABLE: dict[str, Response] = {
    "HTML": HTMLResponse("<h1>Maintenance</h1>"),
    "nothing": Response(b""),
    "half a document": Response(b'{"access_token": "a', media_type="application/json"),
    "bytes": Response(b"\xff\xfe\x00", media_type="application/json"),
    "deep": Response(b"[" * 100_000, media_type="application/json"),
    "a redirect": RedirectResponse("http://127.0.0.1:9/elsewhere", 302),
    "compressed": Response(gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}),
}
PATHS = {"github": ["/github/token", "/github/user", "/github/user/emails"], "apple": ["/apple/token", "/apple/keys"]}


@pytest.mark.parametrize("kind", list(UNREADABLE))
async def test_answers_that_nobody_can_read(provider: TinyProvider, kind: str) -> None:
    """At any address of the provider: a page, nothing, garbage, a redirect (which is not followed), something packed."""
    for name in PROVIDERS:
        for path in PATHS[name]:
            provider.answers = {path: fixed(UNREADABLE[kind])}
            assert await refusal(provider, name) == "provider_error", path


async def test_huge_answers(provider: TinyProvider) -> None:
    """An answer without end is read for one mebibyte and no further."""
    sent = 0

    async def flood(_request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            nonlocal sent
            yield b'{"access_token": "'
            while True:
                sent += 65_536
                yield b"x" * 65_536
                await asyncio.sleep(0)  # the reader lives in this very loop

        return StreamingResponse(pieces(), media_type="application/json")

    for name in PROVIDERS:
        for path in PATHS[name]:
            sent = 0
            provider.answers = {path: flood}
            assert await refusal(provider, name) == "provider_error"
            assert sent < 20_000_000, "what the sockets hold, and no more"


async def test_slow_answers(provider: TinyProvider) -> None:
    """One deadline for the whole sign-in, also for a provider that sends a byte from time to time."""

    async def silence(_request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.05)

        return StreamingResponse(pieces(), media_type="application/json")

    for name in PROVIDERS:
        provider.answers = {PATHS[name][-1]: silence}
        assert await refusal(provider, name, seconds=1.0) == "provider_unavailable"


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_provider_in_trouble(provider: TinyProvider, status: int) -> None:
    """A 5xx at any address is told apart from a refusal."""
    for name in PROVIDERS:
        for path in PATHS[name]:
            provider.answers = {path: fixed(HTMLResponse("<h1>oh no</h1>", status))}
            assert await refusal(provider, name) == "provider_unavailable", path


async def test_provider_that_is_down(provider: TinyProvider, owner: Owner, dsn: str, data_dir: Path) -> None:
    """Nobody listens there: the person is back at the sign-in page, told that the provider does not answer."""
    dead = {name: {**table, "token_url": "http://127.0.0.1:9/token"} for name, table in provider.settings().items()}
    async with serving(settings_for(data_dir, oauth=dead), dsn) as site:
        person = Traveller(site.url, provider)
        for name in PROVIDERS:
            assert refused(await person.travel(name)) == "provider_unavailable"
        metrics = (await person.get("/metrics")).text
        await person.close()
    assert await rows(owner) == NOTHING
    assert 'rustygpt_auth_logins_total{method="apple",result="error"} 1.0' in metrics


NO_ADDRESS: list[Any] = [
    [],
    [{"email": "octo@example.org", "primary": True, "verified": False}],
    [{"email": "octo@example.org", "primary": False, "verified": True}],
    [{"email": "octo@example.org", "primary": "true", "verified": "true"}],
    [{"email": e, "primary": True, "verified": True} for e in ("a@example.org", "b@example.org")],
    [{"email": None, "primary": True, "verified": True}],
    [{"email": "not an address", "primary": True, "verified": True}],
    [{"primary": True, "verified": True}, 7, None],
]


async def test_no_verified_primary_address(traveller: NewTraveller, provider: TinyProvider, owner: Owner) -> None:
    """Unverified, not primary, ambiguous or no address: no account is made."""
    for provider.emails in NO_ADDRESS:
        assert refused(await traveller().travel("github")) == "email_unverified", provider.emails
    assert await rows(owner) == NOTHING


async def test_addresses_that_may_not_be_read(traveller: NewTraveller, provider: TinyProvider) -> None:
    """Who took the right to read addresses back is somebody without one, not an error."""
    provider.answers["/github/user/emails"] = fixed(JSONResponse({"message": "Not Found"}, 404))
    assert refused(await traveller().travel("github")) == "email_unverified"


async def test_apple_without_a_verified_address(traveller: NewTraveller, provider: TinyProvider, owner: Owner) -> None:
    """The same for Apple, also when the unsigned form has an address."""
    for provider.claims in ({"email_verified": "false"}, {"email_verified": None}, {"email": None}):
        answer = await traveller().travel("apple", user='{"email": "anna@example.org", "name": {"firstName": "A"}}')
        assert refused(answer) == "email_unverified", provider.claims
    assert await rows(owner) == NOTHING


async def test_user_without_an_id(provider: TinyProvider) -> None:
    """GitHub's answer must have a number for the person."""
    for provider.user in ({}, [], {"id": "4711"}, {"id": True}, {"id": -1}, {"id": 1.5}, None):
        assert await refusal(provider, "github") == "provider_error", provider.user


async def test_verifier_that_does_not_fit(provider: TinyProvider) -> None:
    """A code that somebody else's challenge was announced for is refused by the provider."""
    asked = made(provider, "github")
    url = asked.authorization_url(state="s" * 43, redirect_uri=CALLBACK, code_verifier="v" * 64, nonce="")
    assert "v" * 64 not in split(url)[1].values()
    code, _ = provider.consent(url)
    with pytest.raises(OAuthFailed, match="refused"):
        await asked.fetch_identity(Grant(code, CALLBACK, "w" * 64))
