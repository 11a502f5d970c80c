"""A new role gives every session of the user a new token; a copy of the old one is soon worth nothing. Sessions may be bound to a client."""

import asyncio

import pytest
import structlog

from rustygpt.auth.session_guard import GRACE_SECONDS
from rustygpt.settings import SessionSettings
from tests.auth.conftest import MakeSite
from tests.auth.site import ADMIN, Browser, Site

EXPIRED = (401, "RGP.AUTH.SESSION_EXPIRED")
REASON = {"reason": "privilege_change"}
ROTATIONS = "rustygpt_auth_session_rotations_total"


def _refusal(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def _change_role(owner, role: str = "user", email: str = "ada@example.com") -> None:
    """What the administrators' route does, without an administrator who stays."""
    await owner.execute(
        "select rustygpt.insert_user('second@example.com', 'Second', null, 'admin')" if role == "user" else "select 1"
    )
    await owner.fetch("select * from rustygpt_api.update_user_by_operator($1, $2, null)", email, role)


def _old(browser: Browser) -> dict[str, str]:
    """The headers of somebody who has copied the browser's cookies."""
    return {"Cookie": f"SESSION_ID={browser.token}; CSRF-TOKEN={browser.csrf}", "X-CSRF-TOKEN": browser.csrf or ""}


async def _end_grace(owner) -> None:
    await owner.execute("update rustygpt.sessions set previous_until = previous_until - make_interval(secs => $1)", GRACE_SECONDS)


async def test_next_request_of_each_session_gets_a_new_token(site: Site, ada: Browser, owner) -> None:
    """Once, with the header; the session's id stays; other users' sessions keep theirs; hashes alone are stored."""
    phone, stranger = site.browser(), site.browser()
    await phone.log_in()
    await stranger.post("/api/auth/register", {"email": "bob@example.com", "password": "correct horse", "display_name": "Bob"})
    before = {browser: browser.token for browser in (ada, phone, stranger)}
    session = (await ada.get("/api/auth/me")).json()["session"]
    await _change_role(owner)
    for browser in (ada, phone):
        answer = await browser.get("/api/auth/me")
        assert (answer.status_code, answer.json()["user"]["role"]) == (200, "user")
        assert answer.headers["X-Session-Rotated"] == "1"
        assert browser.token != before[browser]
    again = await ada.get("/api/auth/me")
    assert "X-Session-Rotated" not in again.headers
    assert "set-cookie" not in again.headers
    assert again.json()["session"]["id"] == session["id"]
    assert "X-Session-Rotated" not in (await stranger.get("/api/auth/me")).headers
    assert stranger.token == before[stranger]
    assert site.count(ROTATIONS, **REASON) == 2
    assert (await ada.post("/api/auth/refresh")).status_code == 200, "the new CSRF token fits the new session token"
    dump = str(await owner.fetch("select s::text from rustygpt.sessions s"))
    assert not any(token in dump for token in (*before.values(), ada.token, phone.token))


async def test_old_token_is_good_for_the_grace_and_no_longer(site: Site, ada: Browser, owner) -> None:
    """Requests that were under way with it work, also changing ones, and get no cookies; afterwards a copy is dead and the owner goes on."""
    thief, headers = site.browser(), _old(ada)
    await _change_role(owner)
    await ada.get("/api/auth/me")
    for method, path in (("GET", "/api/auth/me"), ("GET", "/api/auth/sessions"), ("POST", "/api/anyone")):
        answer = await thief.send(method, path, headers=headers, csrf=False)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
    assert _refusal(await thief.send("POST", "/api/auth/refresh", headers=headers, csrf=False)) == EXPIRED
    lost = {"Cookie": headers["Cookie"].split(";")[0]}
    assert "set-cookie" not in (await thief.get("/api/auth/me", headers=lost)).headers, (
        "the old token must not come back as a cookie"
    )
    await _end_grace(owner)
    assert _refusal(await thief.get("/api/auth/me", headers=headers)) == EXPIRED
    assert (await ada.get("/api/auth/me")).status_code == 200


async def test_parallel_requests_rotate_once(site: Site, ada: Browser, owner) -> None:
    """Of twenty requests of one page one carries the new cookies, all succeed, and the page stays signed in."""
    headers = _old(ada)
    await _change_role(owner)
    pages = [site.browser() for _ in range(20)]
    answers = await asyncio.gather(*(page.get("/api/auth/me", headers=headers) for page in pages))
    assert {answer.status_code for answer in answers} == {200}
    assert sum("X-Session-Rotated" in answer.headers for answer in answers) == 1
    assert sum("set-cookie" in answer.headers for answer in answers) == 1
    assert site.count(ROTATIONS, **REASON) == 1
    winner = next(page for page in pages if page.token)
    await _end_grace(owner)
    assert (await winner.get("/api/auth/me")).status_code == 200


async def test_forged_request_takes_no_token(site: Site, ada: Browser, owner) -> None:
    """Without the CSRF token nothing is rotated, so another site cannot make the page lose its session."""
    headers = _old(ada)
    await _change_role(owner)
    answer = await site.browser().send("POST", "/api/auth/refresh", headers={"Cookie": headers["Cookie"]}, csrf=False)
    assert _refusal(answer) == (403, "RGP.AUTH.CSRF")
    assert site.count(ROTATIONS, **REASON) == 0
    assert (await ada.get("/api/auth/me")).headers["X-Session-Rotated"] == "1"


@pytest.mark.parametrize("path", ["/api/stream", "/api/nothing", "/api/anyone"])
async def test_whatever_is_asked_carries_the_cookies(site: Site, ada: Browser, owner, path: str) -> None:
    """Streams, errors and anonymous routes too."""
    token = ada.token
    await _change_role(owner)
    answer = await ada.get(path)
    assert answer.headers["X-Session-Rotated"] == "1"
    assert ada.token != token
    assert (await ada.get("/api/auth/me")).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/auth/refresh", None),
        ("/api/auth/password", {"current_password": "correct horse", "new_password": "battery staple"}),
        ("/api/auth/login", {"email": "ada@example.com", "password": "correct horse"}),
    ],
)
async def test_routes_with_cookies_of_their_own(site: Site, ada: Browser, owner, path: str, body: object) -> None:
    """Refresh, password change and login answer one set of cookies, which works, also right after a change of role."""
    await _change_role(owner)
    answer = await ada.post(path, body)
    assert answer.status_code == 200, answer.text
    assert len(answer.headers.get_list("set-cookie")) == 2
    assert (await ada.get("/api/auth/me")).status_code == 200
    await _end_grace(owner)
    assert (await ada.post("/api/auth/refresh")).status_code == 200


async def test_signing_out_right_after_a_change_of_role(site: Site, ada: Browser, owner) -> None:
    """The cookies are cleared, not renewed."""
    await _change_role(owner)
    assert (await ada.post("/api/auth/logout")).status_code == 204
    assert ada.token is None
    assert (await ada.get("/api/auth/me")).status_code == 401


async def test_second_change_within_the_grace(site: Site, ada: Browser, owner) -> None:
    """Each change rotates; the token before the last one is dead at once."""
    first = _old(ada)
    await _change_role(owner)
    await ada.get("/api/auth/me")
    second = _old(ada)
    await _change_role(owner, "admin")
    assert (await ada.get("/api/auth/me")).headers["X-Session-Rotated"] == "1"
    assert _refusal(await site.browser().get("/api/auth/me", headers=first)) == EXPIRED
    assert (await site.browser().get("/api/auth/me", headers=second)).status_code == 200


async def test_ended_session_is_not_rotated(site: Site, ada: Browser, owner) -> None:
    """Neither token of a revoked session is good for anything, grace or not."""
    old = _old(ada)
    await _change_role(owner)
    await ada.get("/api/auth/me")
    await owner.execute("update rustygpt.sessions set revoked_at = now()")
    for browser, headers in ((ada, {}), (site.browser(), old)):
        assert _refusal(await browser.get("/api/auth/me", headers=headers)) == EXPIRED


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
NEWER = "Mozilla/5.0 (X11; Linux x86_64; rv:141.2) Gecko/20100101 Firefox/141.2"
CHROME = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("bound", "agent", "is_over"),
    [
        ("off", CHROME, False),
        ("network", CHROME, False),
        ("user_agent", NEWER, False),
        ("user_agent", CHROME, True),
        ("user_agent", "", True),
        ("both", CHROME, True),
        ("both", FIREFOX, False),
    ],
)
async def test_session_shown_by_another_browser(make_site: MakeSite, bound: str, agent: str, is_over: bool) -> None:
    """Where sessions are bound, one ends for everybody when another browser shows it; a new version is the same browser."""
    site = make_site(session=SessionSettings(bind_client=bound))
    ada = site.browser(user_agent=FIREFOX)
    session = (await ada.post("/api/setup", ADMIN)).json()["session"]["id"]
    with structlog.testing.capture_logs() as logs:
        copied = await site.browser(user_agent=agent).get("/api/auth/me", headers={"Cookie": f"SESSION_ID={ada.token}"})
    assert copied.status_code == (401 if is_over else 200)
    assert (await ada.get("/api/auth/me")).status_code == (401 if is_over else 200)
    assert site.announcer.signals == ([("session_revoked", session)] if is_over else [])
    told = [entry for entry in logs if entry["event"] == "session_client_changed"]
    assert [(entry["session_id"], entry["changed"]) for entry in told] == ([(session, ["user_agent"])] if is_over else [])


@pytest.mark.parametrize(("bound", "is_over"), [("user_agent", False), ("network", True), ("both", True)])
async def test_session_shown_from_another_network(make_site: MakeSite, owner, bound: str, is_over: bool) -> None:
    """The address counts, or the /64 of IPv6."""
    site = make_site(session=SessionSettings(bind_client=bound))
    ada = site.browser()
    await ada.post("/api/setup", ADMIN)
    assert (await ada.get("/api/auth/me")).status_code == 200
    await owner.execute("update rustygpt.sessions set ip = '2001:db8::1'")
    assert (await ada.get("/api/auth/me")).status_code == (401 if is_over else 200)
