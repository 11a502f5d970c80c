"""Sessions over time: idle and absolute ends, rotation, eviction, revocation, the list of devices."""

import asyncio
import hashlib
from datetime import datetime

import structlog

from rustygpt.auth.procedures import count_active_sessions, ended_credentials
from rustygpt.ids import SessionId, new_uuid
from rustygpt.settings import SessionSettings
from tests.auth.conftest import MakeSite
from tests.auth.site import ADMIN, Browser, Site


async def _session_id(browser: Browser) -> str:
    return (await browser.get("/api/auth/me")).json()["session"]["id"]


async def _age(owner, interval: str) -> None:
    """Let time pass: move every session's instants into the past."""
    await owner.execute(
        """update rustygpt.sessions set issued_at = issued_at - $1::text::interval, last_seen_at = last_seen_at - $1::text::interval,
           expires_at = expires_at - $1::text::interval, absolute_expires_at = absolute_expires_at - $1::text::interval""",
        interval,
    )


def _refusal(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


EXPIRED = (401, "RGP.AUTH.SESSION_EXPIRED")


async def test_database_holds_hashes_only(site: Site, ada: Browser, owner) -> None:
    """No column of any table holds the token, its CSRF token or the password; the hash is SHA-256."""
    row = await owner.fetchrow("select * from rustygpt.sessions")
    assert row["token_hash"] == hashlib.sha256(ada.token.encode()).digest()
    for table in ("sessions", "users"):
        dump = str(await owner.fetch(f"select t::text from rustygpt.{table} t"))
        assert not any(secret in dump for secret in (ada.token, ada.csrf, ADMIN["password"]))
    assert (await owner.fetchval("select password_hash from rustygpt.users")).startswith("$argon2id$v=19$m=8,t=1,p=1$")


async def test_idle_session_ends(site: Site, ada: Browser, owner) -> None:
    """Without a request for the idle time the session is over, and anonymous routes still work with its cookie."""
    await _age(owner, "7 hours 59 minutes")
    assert (await ada.get("/api/auth/me")).status_code == 200
    await _age(owner, "8 hours 1 second")
    assert _refusal(await ada.get("/api/auth/me")) == EXPIRED
    assert (await ada.get("/api/anyone")).json() == {"name": None}
    assert (await ada.log_in()).status_code == 200, "the login form must work with a dead cookie in the jar"


async def test_active_session_ends_at_its_absolute_limit(site: Site, ada: Browser, owner) -> None:
    """However active, a session never outlives its absolute limit."""
    for _ in range(23):
        await _age(owner, "7 hours")
        assert (await ada.get("/api/auth/me")).status_code == 200
    session = (await ada.get("/api/auth/me")).json()["session"]
    assert session["expires_at"] == session["absolute_expires_at"], "168 h - 23 x 7 h: the last stretch is shorter than 8 h"
    await _age(owner, "7 hours")
    assert _refusal(await ada.get("/api/auth/me")) == EXPIRED


async def test_activity_is_written_once_a_minute(site: Site, ada: Browser, owner) -> None:
    """Requests in quick succession write nothing; one after a minute moves the idle limit."""
    version = "select xmin::text from rustygpt.sessions"
    before = await owner.fetchval(version)
    for _ in range(3):
        await ada.get("/api/auth/me")
    assert await owner.fetchval(version) == before
    await _age(owner, "61 seconds")
    aged = await owner.fetchval("select expires_at from rustygpt.sessions")
    await ada.get("/api/auth/me")
    assert (await owner.fetchval("select expires_at from rustygpt.sessions") - aged).total_seconds() >= 61


async def test_opening_a_stream_is_no_activity(site: Site, ada: Browser, owner) -> None:
    """A browser that reopens its streams all day is idle all the same."""
    await _age(owner, "7 hours")
    assert (await ada.get("/api/stream")).status_code == 200
    await _age(owner, "1 hour")
    assert _refusal(await ada.get("/api/stream")) == EXPIRED


async def test_polling_for_ended_sessions_keeps_none_alive(site: Site, ada: Browser, database, owner) -> None:
    """Live streams learn which sessions ended, revoked, expired, disabled or gone alike, and nothing is written."""
    mine, unknown = SessionId(await _session_id(ada)), SessionId(new_uuid())
    version = "select xmin::text from rustygpt.sessions"
    await _age(owner, "7 hours")
    before = await owner.fetchval(version)

    async def ended() -> set[str]:
        return {str(row.credential_id) for row in await ended_credentials(database, credentials=[mine, unknown])}

    assert await ended() == {str(unknown)}
    assert await owner.fetchval(version) == before
    await owner.execute("update rustygpt.users set status = 'disabled'")
    assert await ended() == {str(mine), str(unknown)}
    await owner.execute("update rustygpt.users set status = 'active'")
    await _age(owner, "1 hour 1 second")
    assert await ended() == {str(mine), str(unknown)}


async def test_refresh_rotates_the_token(site: Site, ada: Browser) -> None:
    """The old token dies, the new one is the same session; CSRF changes with it."""
    old_token, old_csrf, session_id = ada.token, ada.csrf, await _session_id(ada)
    answer = await ada.post("/api/auth/refresh")
    assert answer.status_code == 200
    assert answer.headers["X-Session-Rotated"] == "1"
    assert answer.json()["session"]["id"] == session_id
    assert answer.json()["csrf_token"] == ada.csrf != old_csrf
    assert ada.token != old_token
    assert await _session_id(ada) == session_id
    old = {"Cookie": f"SESSION_ID={old_token}; CSRF-TOKEN={old_csrf}", "X-CSRF-TOKEN": old_csrf}
    assert _refusal(await site.browser().get("/api/auth/me", headers=old)) == EXPIRED
    assert _refusal(await site.browser().post("/api/auth/refresh", headers=old)) == EXPIRED
    assert site.announcer.signals == [], "a rotation ends no stream"
    assert site.count("rustygpt_auth_session_rotations_total", reason="refresh") == 1


async def test_refreshes_that_race_leave_one_token(site: Site, ada: Browser) -> None:
    """Of simultaneous rotations one wins; the session goes on with its token."""
    cookie = f"SESSION_ID={ada.token}; CSRF-TOKEN={ada.csrf}"
    headers = {"Cookie": cookie, "X-CSRF-TOKEN": ada.csrf}
    browsers = [site.browser() for _ in range(4)]
    answers = await asyncio.gather(*(browser.post("/api/auth/refresh", headers=headers) for browser in browsers))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    winner = browsers[[answer.status_code for answer in answers].index(200)]
    assert (await winner.get("/api/auth/me")).status_code == 200


async def test_refresh_moves_the_idle_limit_only(site: Site, ada: Browser, owner) -> None:
    """A rotation counts as activity and does not prolong the absolute limit."""
    await _age(owner, "7 hours")
    before = (await site.browser().get("/api/auth/me", headers={"Cookie": f"SESSION_ID={ada.token}"})).json()["session"]
    after = (await ada.post("/api/auth/refresh")).json()["session"]
    assert after["absolute_expires_at"] == before["absolute_expires_at"]
    assert after["expires_at"] >= before["expires_at"]


async def test_oldest_session_is_evicted(make_site: MakeSite) -> None:
    """One more login than allowed ends the oldest session and tells its streams; the others go on."""
    site = make_site(session=SessionSettings(max_sessions=3))
    browsers = [site.browser() for _ in range(4)]
    await browsers[0].post("/api/setup", ADMIN)
    first = await _session_id(browsers[0])
    for browser in browsers[1:]:
        assert (await browser.log_in()).status_code == 200
    assert [(await browser.get("/api/auth/me")).status_code for browser in browsers] == [401, 200, 200, 200]
    assert site.announcer.signals == [("session_revoked", first)]


async def test_simultaneous_logins_respect_the_limit(make_site: MakeSite, database, owner) -> None:
    """Logins at the same instant count one after the other; each is told its session, also one that the next has ended already."""
    site = make_site(session=SessionSettings(max_sessions=5))
    await site.browser().post("/api/setup", ADMIN)
    answers = await asyncio.gather(*(site.browser().log_in() for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert await count_active_sessions(database) == 5
    rows = await owner.fetch("select id::text, issued_at, expires_at, absolute_expires_at from rustygpt.sessions")
    stored = {row["id"]: tuple(row)[1:] for row in rows}
    sessions = [answer.json()["session"] for answer in answers]
    assert len({session["id"] for session in sessions}) == 20
    for session in sessions:
        times = tuple(datetime.fromisoformat(session[key]) for key in ("issued_at", "expires_at", "absolute_expires_at"))
        assert times == stored[session["id"]]


async def test_list_shows_own_live_sessions(site: Site, ada: Browser, owner) -> None:
    """Device, address and times of one's own sessions, newest first, the present one marked, ended ones left out."""
    phone, old = site.browser(user_agent="Mozilla/5.0 (iPhone; CPU) Version/26 Safari/605"), site.browser(user_agent="x" * 900)
    await old.log_in()
    await old.post("/api/auth/logout")
    await phone.log_in()
    await site.browser().post("/api/auth/register", {**ADMIN, "email": "bob@example.com"})
    page = (await ada.get("/api/auth/sessions")).json()
    assert page["next_cursor"] is None
    assert [(item["device"], item["is_current"]) for item in page["items"]] == [
        ("Safari on iPhone", False),
        ("Firefox on Linux", True),
    ]
    assert page["items"][0]["ip"] == "127.0.0.1"
    assert set(page["items"][0]) == {
        *("id", "is_current", "device", "user_agent", "ip"),
        *("issued_at", "last_seen_at", "expires_at", "absolute_expires_at"),
    }
    assert await owner.fetchval("select max(char_length(user_agent)) from rustygpt.sessions") == 256


async def test_list_pages_by_cursor(site: Site, ada: Browser) -> None:
    """Pages follow each other without gap or repetition; a made-up cursor and a bad limit are 400."""
    for _ in range(4):
        await site.browser().log_in()
    everything = [item["id"] for item in (await ada.get("/api/auth/sessions")).json()["items"]]
    seen, cursor = [], None
    while True:
        page = (await ada.get("/api/auth/sessions", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        seen += [item["id"] for item in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == everything
    assert len(seen) == 5
    for query in ({"cursor": "made-up"}, {"limit": "0"}, {"limit": "201"}, {"limit": "x"}):
        assert _refusal(await ada.get("/api/auth/sessions", params=query)) == (400, "RGP.BAD_REQUEST")


async def test_revoking_another_session_ends_it(site: Site, ada: Browser) -> None:
    """The revoked browser is out at once, its streams are told, and this browser stays in."""
    phone = site.browser()
    await phone.log_in()
    phone_id = await _session_id(phone)
    assert (await ada.send("DELETE", f"/api/auth/sessions/{phone_id}")).status_code == 204
    assert _refusal(await phone.get("/api/auth/me")) == EXPIRED
    assert (await ada.get("/api/auth/me")).status_code == 200
    assert site.announcer.signals == [("session_revoked", phone_id)]
    again = await ada.send("DELETE", f"/api/auth/sessions/{phone_id}")
    assert _refusal(again) == (404, "RGP.NOT_FOUND")


async def test_revoking_the_present_session_signs_out(site: Site, ada: Browser) -> None:
    """It is a logout: the cookies go too."""
    assert (await ada.send("DELETE", f"/api/auth/sessions/{await _session_id(ada)}")).status_code == 204
    assert ada.token is None
    assert _refusal(await ada.get("/api/auth/me")) == (401, "RGP.AUTH.REQUIRED")


async def test_foreign_and_unknown_sessions_cannot_be_told_apart(site: Site, ada: Browser) -> None:
    """Another user's session answers 404 like one that never was, and lives on; a malformed id is 400."""
    bob = site.browser()
    await bob.post("/api/auth/register", {**ADMIN, "email": "bob@example.com"})
    foreign = await ada.send("DELETE", f"/api/auth/sessions/{await _session_id(bob)}")
    unknown = await ada.send("DELETE", f"/api/auth/sessions/{new_uuid()}")
    assert _refusal(foreign) == _refusal(unknown) == (404, "RGP.NOT_FOUND")
    assert foreign.json()["detail"] == unknown.json()["detail"]
    assert (await bob.get("/api/auth/me")).status_code == 200
    assert _refusal(await ada.send("DELETE", "/api/auth/sessions/1")) == (400, "RGP.BAD_REQUEST")


WORTHLESS_COOKIES = [
    ("", "RGP.AUTH.REQUIRED"),
    ("SESSION_ID=", "RGP.AUTH.REQUIRED"),
    ("SESSION_ID=nonsense", "RGP.AUTH.SESSION_EXPIRED"),
    ("SESSION_ID=" + "A" * 43, "RGP.AUTH.SESSION_EXPIRED"),
    ("SESSION_ID=" + "A" * 5000, "RGP.AUTH.SESSION_EXPIRED"),
    ("SESSION_ID=\u00e9\u00e9", "RGP.AUTH.SESSION_EXPIRED"),
]


async def test_worthless_cookies_are_nobody(site: Site) -> None:
    """401 on every route for the signed in, with the reason; anonymous routes do not care."""
    for cookie, code in WORTHLESS_COOKIES:
        headers = {"Cookie": cookie.encode("latin-1")} if cookie else {}
        for path in ("/api/auth/me", "/api/auth/sessions", "/api/stream"):
            assert _refusal(await site.browser().get(path, headers=headers)) == (401, code), cookie
        assert (await site.browser().get("/api/setup", headers=headers)).status_code == 200


async def test_other_schemes_are_none_of_ours(site: Site, ada: Browser) -> None:
    """A header Authorization of another scheme than Bearer does not stand against the session."""
    basic = await ada.get("/api/auth/me", headers={"Authorization": "Basic YTpi"})
    assert basic.status_code == 200, "a proxy's own sign-in is none of ours"


async def test_pages_cost_no_look_up(site: Site, ada: Browser, database) -> None:
    """Paths outside the API answer with the database closed; those inside say that it is away, unless they need nobody."""
    await database.close()
    assert (await ada.get("/page")).status_code == 200
    answer = await ada.get("/api/auth/me")
    assert _refusal(answer) == (503, "RGP.UNAVAILABLE")
    assert "Retry-After" in answer.headers
    assert (await ada.get("/api/anyone")).status_code == 200
    await database.open()
    assert (await ada.get("/api/auth/me")).status_code == 200


async def test_long_ended_sessions_are_forgotten(site: Site, ada: Browser, owner) -> None:
    """A login clears what ended a month ago, and keeps what ended lately."""
    await site.browser().log_in()
    await owner.execute(
        "update rustygpt.sessions set revoked_at = now() - interval '31 days' where expires_at = (select min(expires_at) from rustygpt.sessions)"
    )
    await site.browser().log_in()
    assert await owner.fetchval("select count(*) from rustygpt.sessions") == 2


async def test_canonical_line_names_the_actor(site: Site, ada: Browser) -> None:
    """Requests are logged with the actor's id and without token, cookie or address."""
    with structlog.testing.capture_logs() as lines:
        me = await ada.get("/api/auth/me")
        await ada.log_in(password="wrong password")
    assert lines[0]["actor_id"] == me.json()["user"]["id"]
    written = str(lines)
    assert not any(secret in written for secret in (ada.token, ada.csrf, "ada@example.com", "wrong password"))
