"""The first administrator: by the page, by the settings, once."""

import asyncio

import pytest

from rustygpt.auth.first_administrator import ensure_first_administrator
from rustygpt.auth.procedures import create_user
from rustygpt.settings import Settings
from rustygpt.settings_sources import SettingsError
from tests.auth.site import ADMIN, FAST_ARGON2, Site


async def test_setup_creates_the_administrator_signed_in(site: Site) -> None:
    """The one who sets up is an administrator, has the cookies and sees who they are."""
    browser = site.browser()
    assert (await browser.get("/api/setup")).json() == {"is_setup": False, "oauth": [], "signup": True}
    answer = await browser.post("/api/setup", ADMIN)
    assert answer.status_code == 201
    body = answer.json()
    assert body["role"] == body["user"]["role"] == "admin"
    assert body["id"] == body["user"]["id"]
    assert body["email"] == "Ada@Example.com"
    assert body["csrf_token"] == browser.csrf
    me = await browser.get("/api/auth/me")
    assert me.json() == {"user": body["user"], "session": body["session"]}
    assert (await browser.get("/api/setup")).json()["is_setup"] is True


async def test_two_setups_that_race_make_one_administrator(site: Site, owner) -> None:
    """Of many set-ups at once exactly one gets 201, all others 409, and one account exists."""
    bodies = [{**ADMIN, "email": f"racer{n}@example.com"} for n in range(6)]
    answers = await asyncio.gather(*(site.browser().post("/api/setup", body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"RGP.CONFLICT"}
    assert await owner.fetchval("select count(*) from rustygpt.users") == 1


async def test_setup_stays_closed_when_the_administrator_is_gone(site: Site, ada, owner) -> None:
    """Nobody becomes administrator because the table of users is empty again."""
    await owner.execute("delete from rustygpt.users")
    answer = await site.browser().post("/api/setup", ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (409, "RGP.CONFLICT")


async def test_administrator_made_by_the_operator_closes_the_setup(site: Site, database) -> None:
    """After `users create --role admin` a stranger cannot set up."""
    await create_user(database, email="op@example.com", display_name="Op", password_hash="x", role="admin", status="active")
    assert (await site.browser().post("/api/setup", ADMIN)).status_code == 409


async def test_registered_user_does_not_close_the_setup(site: Site) -> None:
    """A user who signed up before the set-up is no administrator."""
    answer = await site.browser().post("/api/auth/register", {**ADMIN, "email": "bob@example.com"})
    assert answer.json()["role"] == "user"
    assert (await site.browser().post("/api/setup", ADMIN)).status_code == 201


async def test_refused_setup_leaves_it_open(site: Site, owner) -> None:
    """A set-up with a taken address or a bad body writes nothing."""
    await site.browser().post("/api/auth/register", ADMIN)
    assert (await site.browser().post("/api/setup", ADMIN)).status_code == 409
    assert (await site.browser().post("/api/setup", {**ADMIN, "password": "short"})).status_code == 422
    assert await owner.fetchval("select set_up_at from rustygpt.installation") is None


def _settings(**given: str) -> Settings:
    return Settings.model_validate({"auth": FAST_ARGON2, **given})


async def test_settings_create_the_first_administrator_once(site: Site, database, owner) -> None:
    """The account of the settings can sign in; a second start, also a simultaneous one, changes nothing."""
    settings = _settings(admin_email="root@example.com", admin_password="from settings")
    made = await asyncio.gather(*(ensure_first_administrator(database, site.passwords, settings) for _ in range(4)))
    assert sorted(made) == [False, False, False, True]
    assert await ensure_first_administrator(database, site.passwords, settings) is False
    answer = await site.browser().log_in("root@example.com", "from settings")
    assert answer.json()["user"]["role"] == "admin"
    assert answer.json()["user"]["display_name"] == "root"
    assert await owner.fetchval("select count(*) from rustygpt.users") == 1


async def test_no_administrator_settings_do_nothing(site: Site, database, owner) -> None:
    """Without the settings the set-up stays open."""
    assert await ensure_first_administrator(database, site.passwords, _settings()) is False
    assert await owner.fetchval("select count(*) from rustygpt.users") == 0


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"admin_email": "root", "admin_password": "long enough"}, "admin_email"),
        ({"admin_email": "root@example.com", "admin_password": "x" * 1025}, "admin_password"),
        ({"admin_email": "root@example.com", "admin_password": "long enough", "admin_name": "a\tb"}, "admin_name"),
    ],
)
async def test_bad_administrator_settings_stop_the_start(site: Site, database, given, key) -> None:
    """The message names the key and never the value."""
    with pytest.raises(SettingsError) as caught:
        await ensure_first_administrator(database, site.passwords, _settings(**given))
    assert str(caught.value).startswith(f"{key}:")
    assert "root" not in str(caught.value)
    assert "xx" not in str(caught.value)
