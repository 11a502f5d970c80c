"""The two cookies' attributes, by setting and by how the request came."""

from http.cookies import Morsel, SimpleCookie

import pytest

from rustygpt.settings_server import CookieSettings
from tests.auth.conftest import MakeSite
from tests.auth.site import ADMIN
from tests.person import DEADLINE_SECONDS


def _cookies(answer) -> "dict[str, Morsel[str]]":
    found: dict[str, Morsel[str]] = {}
    for line in answer.headers.get_list("set-cookie"):
        found |= SimpleCookie(line)
    return found


async def test_cookie_attributes(make_site: MakeSite) -> None:
    """The session's cookie is out of scripts' reach, the other is not; both are Lax, for all paths, until the absolute end."""
    site = make_site()
    cookies = _cookies(await site.browser().post("/api/setup", ADMIN))
    assert set(cookies) == {"SESSION_ID", "CSRF-TOKEN"}
    for cookie in cookies.values():
        assert cookie["path"] == "/"
        assert cookie["samesite"].lower() == "lax"
        assert cookie["domain"] == ""
        assert 0 <= site.session.absolute_seconds - int(cookie["max-age"]) <= DEADLINE_SECONDS
    assert cookies["SESSION_ID"]["httponly"] is True
    assert not cookies["CSRF-TOKEN"]["httponly"]
    assert len(cookies["SESSION_ID"].value) == 43


@pytest.mark.parametrize(
    ("secure", "public_url", "origin", "expected"),
    [
        ("auto", "", "http://rustygpt.test", False),
        ("auto", "", "https://rustygpt.test", True),
        ("auto", "https://chat.example.com", "http://127.0.0.1", True),
        ("auto", "http://chat.example.com", "http://chat.example.com", False),
        ("always", "", "http://rustygpt.test", True),
        ("never", "https://chat.example.com", "https://chat.example.com", False),
    ],
)
async def test_secure_cookies(make_site: MakeSite, secure, public_url: str, origin: str, expected: bool) -> None:
    """Secure by setting, else when the public URL or the request itself is https."""
    site = make_site(cookie=CookieSettings(secure=secure), public_url=public_url)
    cookies = _cookies(await site.browser(origin).post("/api/setup", ADMIN))
    assert {bool(cookie["secure"]) for cookie in cookies.values()} == {expected}


async def test_logout_expires_both_cookies(make_site: MakeSite) -> None:
    """Cleared with the attributes that they were set with, else browsers keep them."""
    site = make_site()
    browser = site.browser()
    await browser.post("/api/setup", ADMIN)
    cookies = _cookies(await browser.post("/api/auth/logout"))
    assert {(name, c.value, c["max-age"], c["path"]) for name, c in cookies.items()} == {
        ("SESSION_ID", "", "0", "/"),
        ("CSRF-TOKEN", "", "0", "/"),
    }


async def test_answers_are_not_cached(make_site: MakeSite) -> None:
    """What says who is signed in is never stored by a cache."""
    browser = make_site().browser()
    answers = [await browser.post("/api/setup", ADMIN), await browser.get("/api/auth/me"), await browser.get("/api/setup")]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}
