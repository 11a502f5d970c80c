"""Login, registration, logout, and what they answer to bad input."""

import asyncio
from datetime import datetime

import pytest

from tests.auth.conftest import MakeSite
from tests.auth.site import ADMIN, Browser, Site


async def test_login_answers_user_session_and_csrf_token(site: Site, ada: Browser) -> None:
    """The answer has the contract's shape, the session's times fit the settings, and the address's case does not matter."""
    browser = site.browser()
    answer = await browser.log_in("ADA@example.COM")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"user", "session", "csrf_token"}
    assert set(body["session"]) == {"id", "issued_at", "expires_at", "absolute_expires_at"}
    issued, expires, absolute = (
        datetime.fromisoformat(body["session"][key]) for key in ("issued_at", "expires_at", "absolute_expires_at")
    )
    assert (expires - issued).total_seconds() == site.session.idle_seconds
    assert (absolute - issued).total_seconds() == site.session.absolute_seconds
    assert (await browser.get("/api/auth/me")).json()["user"]["email"] == "Ada@Example.com"
    assert site.count("rustygpt_auth_logins_total", method="password", result="success") == 1


async def test_unknown_address_and_wrong_password_answer_alike(site: Site, ada: Browser, monkeypatch) -> None:
    """Both answers are the same but for the request id, and both cost one Argon2 hash of the same parameters."""
    costs = []
    verify = site.passwords._hasher.verify

    def counted(known_hash, password):
        costs.append(known_hash.split("$")[1:4])
        return verify(known_hash, password)

    monkeypatch.setattr(site.passwords._hasher.__class__, "verify", staticmethod(counted))
    wrong = await site.browser().log_in("ada@example.com", "not this one")
    unknown = await site.browser().log_in("nobody@example.com", "not this one")
    malformed = await site.browser().log_in("nobody", "not this one")
    answers = [{**a.json(), "request_id": ""} for a in (wrong, unknown, malformed)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["code"] == "RGP.AUTH.INVALID_CREDENTIALS"
    assert {a.status_code for a in (wrong, unknown, malformed)} == {401}
    assert [set(a.headers) for a in (wrong, unknown)] == [set(wrong.headers)] * 2
    assert len(costs) == 3
    assert costs[0] == costs[1] == costs[2]
    assert site.count("rustygpt_auth_logins_total", method="password", result="invalid_credentials") == 3


async def test_disabled_user_is_told_only_with_the_right_password(site: Site, ada: Browser, owner) -> None:
    """423 for the right password, 401 for a wrong one; open sessions answer 423 too, and come back when enabled."""
    await owner.execute("update rustygpt.users set status = 'disabled'")
    right, wrong = await site.browser().log_in(), await site.browser().log_in(password="not this one")
    assert (right.status_code, right.json()["code"]) == (423, "RGP.AUTH.DISABLED")
    assert wrong.status_code == 401
    assert (await ada.get("/api/auth/me")).status_code == 423
    assert (await ada.get("/api/anyone")).json() == {"name": None}
    assert site.count("rustygpt_auth_logins_total", method="password", result="disabled") == 1
    await owner.execute("update rustygpt.users set status = 'active'")
    assert (await ada.get("/api/auth/me")).status_code == 200


async def test_login_takes_the_place_of_the_browsers_session(site: Site, ada: Browser) -> None:
    """A second login in one browser ends its first session and that session's streams."""
    old_id = (await ada.get("/api/auth/me")).json()["session"]["id"]
    assert (await ada.log_in()).status_code == 200
    items = (await ada.get("/api/auth/sessions")).json()["items"]
    assert len(items) == 1
    assert items[0]["id"] != old_id
    assert site.announcer.signals == [("session_revoked", old_id)]


async def test_logout_ends_session_and_cookies(site: Site, ada: Browser) -> None:
    """After a logout the token is worth nothing, the jar is empty and live streams are told."""
    token, session_id = ada.token, (await ada.get("/api/auth/me")).json()["session"]["id"]
    answer = await ada.post("/api/auth/logout")
    assert answer.status_code == 204
    assert ada.token is None
    assert ada.csrf is None
    assert site.announcer.signals == [("session_revoked", session_id)]
    again = await site.browser().get("/api/auth/me", headers={"Cookie": f"SESSION_ID={token}"})
    assert (again.status_code, again.json()["code"]) == (401, "RGP.AUTH.SESSION_EXPIRED")


async def test_logout_of_an_ended_session_forgets_the_cookies(site: Site, ada: Browser, owner) -> None:
    """Who is already out gets the same answer; who never was in must sign in."""
    await owner.execute("update rustygpt.sessions set revoked_at = now()")
    assert (await ada.post("/api/auth/logout")).status_code == 204
    assert ada.token is None
    answer = await ada.post("/api/auth/logout")
    assert (answer.status_code, answer.json()["code"]) == (401, "RGP.AUTH.REQUIRED")


async def test_registration_signs_in_a_plain_user(site: Site, ada: Browser) -> None:
    """With sign-up on, anyone becomes a user, once per address."""
    bob = site.browser()
    body = {"email": " bob@example.com ", "password": "another one", "display_name": " Bob  B "}
    answer = await bob.post("/api/auth/register", body)
    assert answer.status_code == 201
    assert answer.json()["user"]["role"] == "user"
    assert answer.json()["display_name"] == "Bob  B"
    assert (await bob.get("/api/auth/me")).json()["user"]["email"] == "bob@example.com"
    again = await site.browser().post("/api/auth/register", {**body, "email": "BOB@example.com"})
    assert (again.status_code, again.json()["code"]) == (409, "RGP.CONFLICT")


async def test_simultaneous_registrations_make_one_account(site: Site, owner) -> None:
    """Of several registrations of one address one wins, the others get 409."""
    spellings = ["bob@example.com", "BOB@example.com", "Bob@Example.com", "bob@EXAMPLE.com"]
    answers = await asyncio.gather(*(site.browser().post("/api/auth/register", {**ADMIN, "email": email}) for email in spellings))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert await owner.fetchval("select count(*) from rustygpt.users") == 1


async def test_registration_is_refused_while_signup_is_off(make_site: MakeSite, owner) -> None:
    """The default: no accounts for strangers without an invite."""
    answer = await make_site().browser().post("/api/auth/register", ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (403, "RGP.RBAC.FORBIDDEN")
    assert await owner.fetchval("select count(*) from rustygpt.users") == 0


BAD_FIELDS = [
    ({"email": "no address"}, "email"),
    ({"email": "a@b@c"}, "email"),
    ({"email": "@example.com"}, "email"),
    ({"email": "a b@example.com"}, "email"),
    ({"email": "a\u0085@example.com"}, "email"),
    ({"email": "a" * 250 + "@example.com"}, "email"),
    ({"email": 7}, "email"),
    ({"email": None}, "email"),
    ({"password": "seven77"}, "password"),
    ({"password": "x" * 1025}, "password"),
    ({"password": ["a", "b"]}, "password"),
    ({"display_name": "   "}, "display_name"),
    ({"display_name": "x" * 81}, "display_name"),
    ({"display_name": "line\nbreak"}, "display_name"),
    ({"display_name": "turned \u202e around"}, "display_name"),
    ({"display_name": "nul\0"}, "display_name"),
    ({"role": "admin"}, "role"),
]


@pytest.mark.parametrize("path", ["/api/setup", "/api/auth/register"])
async def test_bad_account_fields_are_named(site: Site, owner, path: str) -> None:
    """422 names the field, repeats no value, and writes nothing."""
    for change, field in BAD_FIELDS:
        answer = await site.browser().post(path, {**ADMIN, **change})
        assert (answer.status_code, answer.json()["code"]) == (422, "RGP.VALIDATION"), change
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert "seven77" not in answer.text
    assert await owner.fetchval("select count(*) from rustygpt.users") == 0


async def test_unreadable_bodies_are_refused(site: Site) -> None:
    """Not JSON is 400, another media type 415, too long 413, a missing field 422."""
    http = site.browser().http
    json = {"Content-Type": "application/json"}
    for path in ("/api/setup", "/api/auth/register", "/api/auth/login"):
        assert (await http.post(path, content=b"{", headers=json)).status_code == 400
        assert (await http.post(path, content=b"[]", headers=json)).status_code == 400
        assert (await http.post(path, content=b'{"email": "\\ud800"}', headers=json)).status_code == 400
        assert (await http.post(path, data={"email": "x"})).status_code == 415
        assert (await http.post(path, content=b'"' + b"x" * 70_000 + b'"', headers=json)).status_code == 413
        assert (await http.post(path, json={})).status_code == 422


async def test_names_and_addresses_beyond_ascii_are_welcome(site: Site) -> None:
    """Letters of any script and emoji with joiners are stored as typed."""
    body = {"email": "jürgen@bücher.example", "password": "pässwörd 🔑", "display_name": "Jürgen 👩‍💻 李"}
    answer = await site.browser().post("/api/auth/register", body)
    assert answer.json()["display_name"] == body["display_name"]
    decomposed = "pässwörd 🔑"
    assert (await site.browser().log_in("JÜRGEN@bücher.example", decomposed)).status_code == 200
