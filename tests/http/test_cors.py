"""Pages of other origins: nothing without a setting, the named ones with it, and with cookies only where that is said too."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from rustygpt.settings_server import CorsSettings
from tests.person import Person
from tests.site import Site, serving, settings_for

OURS, OTHERS = "https://app.example.org", "https://evil.example.org"


@pytest.fixture
async def site(request: pytest.FixtureRequest, dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The whole application with `[server.cors]` as parametrised."""
    async with serving(settings_for(data_dir, server={"cors": request.param}), dsn) as served:
        yield served


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[Person]:
    """The administrator, signed in."""
    person = await Person(site.url).set_up("Ada")
    yield person
    await person.close()


async def _preflight(person: Person, origin: str, method: str = "POST", headers: str = "content-type") -> httpx2.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return await person.request("OPTIONS", "/api/conversations", headers=asked)


def _said(answer: httpx2.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("site", [{}], indirect=True)
async def test_nothing_is_said_without_a_setting(ada: Person) -> None:
    """By default no answer has a CORS header, and a page elsewhere that acts with the cookies is refused."""
    for answer in (await ada.get("/api/conversations", headers={"Origin": OTHERS}), await _preflight(ada, OTHERS)):
        assert _said(answer) == set()
    refused = await ada.post("/api/conversations", {"title": "No"}, headers={"Origin": OTHERS})
    assert (refused.status_code, refused.json()["code"]) == (403, "RGP.AUTH.CSRF")


@pytest.mark.parametrize("site", [{"allow_origins": (OURS,)}], indirect=True)
async def test_named_origin_may_use_keys_and_streams(ada: Person, site: Site) -> None:
    """A named origin gets permission for the API's own headers, errors included; others get none; cookies are not for it."""
    allowed = await _preflight(ada, OURS, "PATCH", "authorization, idempotency-key, last-event-id, x-csrf-token")
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, OURS)
    assert allowed.headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in allowed.headers
    assert allowed.headers["x-request-id"]
    for refused, reason in (
        (await _preflight(ada, OTHERS), "Disallowed CORS origin."),
        (await _preflight(ada, OURS, headers="x-made-up"), "Disallowed CORS headers."),
    ):
        problem = refused.json()
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
        assert (problem["code"], problem["detail"], problem["instance"]) == ("RGP.BAD_REQUEST", reason, "/api/conversations")
        assert problem["request_id"] == refused.headers["x-request-id"]
    refused = await ada.post("/api/conversations", {"title": "No"}, headers={"Origin": OURS})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (403, OURS), "an error can be read"
    key = (await ada.post("/api/keys", {"name": "Page", "scopes": ["chat"]})).json()["key"]
    program = Person(site.url)
    program.client.headers.update({"Authorization": f"Bearer {key}", "Origin": OURS})
    made = await program.post("/api/conversations", {"title": "Yes"})
    assert (made.status_code, made.headers["access-control-allow-origin"]) == (201, OURS)
    assert "X-Request-Id" in made.headers["access-control-expose-headers"]
    async with program.stream("/api/stream") as stream:
        await stream.until_type("stream.ready")
    await program.close()


@pytest.mark.parametrize("site", [{"allow_origins": (OURS,), "allow_credentials": True}], indirect=True)
async def test_named_origin_may_act_with_cookies_where_that_is_said(ada: Person) -> None:
    """With allow_credentials a page of the named origin acts like ours, CSRF token and all; others still may not."""
    made = await ada.post("/api/conversations", {"title": "Yes"}, headers={"Origin": OURS})
    assert (made.status_code, made.headers["access-control-allow-credentials"]) == (201, "true")
    for headers in ({"Origin": OTHERS}, {"Origin": OURS, "X-CSRF-TOKEN": "wrong"}):
        assert (await ada.post("/api/conversations", {"title": "No"}, headers=headers)).status_code == 403


@pytest.mark.parametrize("site", [{"allow_origins": ("*",)}], indirect=True)
async def test_any_origin_may_read_without_cookies(ada: Person) -> None:
    """With "*" every origin is allowed, never with credentials."""
    answer = await ada.get("/api/setup", headers={"Origin": OTHERS})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "fields",
    [
        {"allow_origins": ("app.example.org",)},
        {"allow_origins": ("https://app.example.org/",)},
        {"allow_origins": ("https://app.example.org/path",)},
        {"allow_origins": ("",)},
        {"allow_origins": ("*",), "allow_credentials": True},
        {"max_age_seconds": -1},
    ],
)
def test_bad_settings_are_refused(fields: dict[str, Any]) -> None:
    """What is no origin, and credentials for everybody, stop the start."""
    with pytest.raises(ValidationError):
        CorsSettings(**fields)
