"""Forged requests: every changing route refuses them, with a session and without."""

from itertools import product

import pytest

from rustygpt.ids import new_uuid
from tests.auth.conftest import MakeSite
from tests.auth.site import ADMIN, ORIGIN, Browser, Site

MUTATING = [
    ("POST", "/api/setup", ADMIN),
    ("POST", "/api/auth/register", ADMIN),
    ("POST", "/api/auth/login", {"email": ADMIN["email"], "password": ADMIN["password"]}),
    ("POST", "/api/auth/logout", None),
    ("POST", "/api/auth/refresh", None),
    ("POST", "/api/auth/password", {"current_password": "correct horse", "new_password": "battery staple"}),
    ("DELETE", f"/api/auth/sessions/{new_uuid()}", None),
]


def _is_refused(answer) -> bool:
    return (answer.status_code, answer.json()["code"]) == (403, "RGP.AUTH.CSRF")


def test_the_matrix_covers_every_changing_route(site: Site) -> None:
    """A new route that changes something must be added to MUTATING."""
    changing = {
        (method, route.path)
        for route in site.app.routes
        for method in route.methods - {"GET", "HEAD", "OPTIONS"}
        if route.path != "/api/anyone"
    }
    covered = {(method, "/api/auth/sessions/{session_id}" if "sessions/" in path else path) for method, path, _ in MUTATING}
    assert covered == changing


async def test_cookie_requests_need_the_token(site: Site, ada: Browser, owner) -> None:
    """With a session: no header, a wrong header, another session's token, a planted pair, a missing cookie: 403, nothing written."""
    other = site.browser()
    await other.log_in()
    state = "select (select array_agg(u::text) from rustygpt.users u)::text || (select array_agg(s::text) from rustygpt.sessions s)::text"
    before = await owner.fetchval(state)
    session = f"SESSION_ID={ada.token}"
    attempts = [
        {"Cookie": f"{session}; CSRF-TOKEN={ada.csrf}"},
        {"Cookie": f"{session}; CSRF-TOKEN={ada.csrf}", "X-CSRF-TOKEN": ""},
        {"Cookie": f"{session}; CSRF-TOKEN={ada.csrf}", "X-CSRF-TOKEN": "wrong"},
        {"Cookie": f"{session}; CSRF-TOKEN={ada.csrf}", "X-CSRF-TOKEN": "w\u00fcrong".encode("latin-1")},
        {"Cookie": f"{session}; CSRF-TOKEN={other.csrf}", "X-CSRF-TOKEN": other.csrf},
        {"Cookie": f"{session}; CSRF-TOKEN=planted", "X-CSRF-TOKEN": "planted"},
        {"Cookie": session, "X-CSRF-TOKEN": ada.csrf},
        {"Cookie": f"{session}; CSRF-TOKEN=", "X-CSRF-TOKEN": ""},
    ]
    for (method, path, body), headers in product(MUTATING, attempts):
        answer = await site.browser().send(method, path, body, headers=headers, csrf=False)
        assert _is_refused(answer), (path, headers, answer.text)
        assert answer.headers["X-Request-Id"]
    assert await owner.fetchval(state) == before


async def test_requests_from_other_sites_are_refused(site: Site) -> None:
    """Also without a session, so that nobody can sign a visitor in: by what browsers say of the sender."""
    foreign = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://evil.rustygpt.test"},
        {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
        {"Origin": "https://evil.example"},
        {"Origin": "http://rustygpt.test:8000"},
        {"Origin": "null"},
        {"Origin": ""},
    ]
    for (method, path, body), headers in product(MUTATING, foreign):
        assert _is_refused(await site.browser().send(method, path, body, headers=headers)), (path, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": ORIGIN},
        {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://behind-a-proxy.example"},
    ],
)
async def test_own_pages_and_other_programs_sign_in(site: Site, ada: Browser, headers: dict[str, str]) -> None:
    """The dashboard and clients that are no browsers need no token to sign in, and the token afterwards."""
    browser = site.browser()
    body = {"email": ADMIN["email"], "password": ADMIN["password"]}
    assert (await browser.post("/api/auth/login", body, headers=headers)).status_code == 200
    assert (await browser.post("/api/auth/refresh", headers=headers)).status_code == 200


async def test_public_url_is_trusted_behind_a_proxy(make_site: MakeSite) -> None:
    """A proxy that rewrites Host does no harm when the public URL is set."""
    site = make_site(public_url="https://Chat.example.com/here")
    answer = await site.browser().post("/api/setup", ADMIN, headers={"Origin": "https://chat.example.com"})
    assert answer.status_code == 201


async def test_reading_needs_no_token(site: Site, ada: Browser) -> None:
    """GET and HEAD work from anywhere with the session alone; what they change is nothing."""
    headers = {"Cookie": f"SESSION_ID={ada.token}", "Sec-Fetch-Site": "cross-site"}
    assert (await site.browser().get("/api/auth/me", headers=headers)).status_code == 200
    assert (await site.browser().send("HEAD", "/api/auth/sessions", headers=headers, csrf=False)).status_code == 200


async def test_lost_csrf_cookie_comes_back(site: Site, ada: Browser) -> None:
    """A browser that lost or mangled the readable cookie gets it with the next look at itself."""
    csrf = ada.csrf
    ada.http.cookies.delete("CSRF-TOKEN")
    assert _is_refused(await ada.post("/api/auth/refresh"))
    await ada.get("/api/auth/me")
    assert ada.csrf == csrf
    assert (await ada.post("/api/auth/refresh")).status_code == 200


async def test_dead_sessions_need_no_token(site: Site, ada: Browser, owner) -> None:
    """A dead cookie makes nobody an actor, so login and registration work with it, and the rest says that it is dead."""
    await owner.execute("update rustygpt.sessions set revoked_at = now()")
    cookie = {"Cookie": f"SESSION_ID={ada.token}"}
    assert (await site.browser().post("/api/auth/refresh", headers=cookie, csrf=False)).status_code == 401
    body = {"email": ADMIN["email"], "password": ADMIN["password"]}
    assert (await site.browser().post("/api/auth/login", body, headers=cookie, csrf=False)).status_code == 200


async def test_refusals_are_counted_under_their_route(site: Site, ada: Browser) -> None:
    """What is refused before any route sees it counts for the route that it would have been; an address that is none stays unmatched."""
    assert (await ada.post("/api/auth/password", {}, csrf=False)).status_code == 403
    assert (await ada.post("/api/nothing", {}, csrf=False)).status_code == 403
    for route in ("/api/auth/password", "unmatched"):
        assert site.count("http_requests_total", method="POST", route=route, status="403") == 1
