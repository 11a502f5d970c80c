"""The settings in force, for administrators alone and without a secret."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.person import DEADLINE_SECONDS, Person
from tests.site import serving, settings_for

SECRETS = ("hunter2-is-a-password", "a bearer token of Prometheus", "a secret of thirty-two characters", "sk-upstream-key")


async def test_secrets_are_masked_wherever_they_stand(dsn: str, data_dir: Path) -> None:
    """Secrets are masks of one length, in lists of tables and in the password of an address too; the rest is as it is."""
    password, token, secret_key, key = SECRETS
    provider = {"kind": "openai", "name": "other", "base_url": f"http://me:{password}@127.0.0.1:9/v1", "api_key": key}
    settings = settings_for(
        data_dir,
        secret_key=secret_key,
        metrics={"token": token},
        database={"url": f"postgres://me:{password}@127.0.0.1/x"},
        oauth={"github": {"client_id": "visible", "client_secret": password}},
        assistant={"providers": (provider,)},
        server={"max_body_bytes": 12_345},
    )
    async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
        answer = await ada.get("/api/config")
        assert answer.status_code == 200
        assert not any(each in answer.text for each in SECRETS)
        shown = answer.json()["settings"]
    assert shown["metrics"]["token"] == shown["secret_key"] == shown["database"]["url"] == "********"
    assert shown["oauth"]["github"]["client_id"] == "visible"
    assert shown["oauth"]["github"]["client_secret"] == "********"
    assert shown["assistant"]["providers"][0]["base_url"] == "http://********@127.0.0.1:9/v1"
    assert shown["assistant"]["openai_api_key"] == ""
    assert (shown["server"]["max_body_bytes"], shown["data_dir"]) == (12_345, str(data_dir))


async def test_settings_are_for_administrators(ada: Person, bob: Person) -> None:
    """A user is 403, for reading and for changing; nothing that must stay can be changed."""
    assert (await bob.get("/api/config")).status_code == 403
    assert (await bob.post("/api/config", {"auth": {"signup": False}})).status_code == 403
    statuses = []
    async with Person(str(ada.client.base_url)) as program:
        statuses.append((await program.get("/api/config")).status_code)
        for scopes in (["chat", "v1"], ["admin"]):
            made = (await ada.post("/api/keys", {"name": "Key", "scopes": scopes})).json()
            program.client.headers["Authorization"] = f"Bearer {made['key']}"
            statuses.append((await program.get("/api/config")).status_code)
    assert statuses == [401, 403, 200]


NEWCOMER = {"email": "bob@example.org", "password": "correct horse battery", "display_name": "Bob"}


async def _until(fact: Any) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await fact():  # noqa: ASYNC110 - nobody signals what another process knows
            await asyncio.sleep(0.01)


async def test_changes_hold_on_all_processes(dsn: str, data_dir: Path) -> None:
    """Sign-up and quotas change here and there without a restart, are shown with what is configured, and are audited."""
    settings = settings_for(data_dir, bus={"kind": "postgres"})
    async with serving(settings, dsn) as here, serving(settings, dsn) as there, AsyncExitStack() as leaving:
        ada, stranger = Person(here.url), Person(there.url)
        for person in (ada, stranger):
            leaving.push_async_callback(person.close)
        await ada.set_up("Ada")
        answer = await ada.post("/api/config", {"auth": {"signup": False}, "limits": {"quota_generations": 3}})
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert (said["settings"]["auth"]["signup"], said["settings"]["limits"]["quota_generations"]) == (False, 3)
        assert [(each["key"], each["value"], each["configured"], each["changed_by"]) for each in said["changed"]] == [
            ("auth.signup", False, True, ada.id),
            ("limits.quota_generations", 3, -1, ada.id),
        ]
        assert (await ada.get("/api/usage")).json()["generations"]["limit"] == 3

        async def is_closed_there() -> bool:
            return (await stranger.get("/api/setup")).json()["signup"] is False

        await _until(is_closed_there)
        assert (await stranger.post("/api/auth/register", NEWCOMER)).status_code == 403
        again = await ada.post("/api/config", {"auth": {"signup": None}})
        assert [each["key"] for each in again.json()["changed"]] == ["limits.quota_generations"]

        async def is_open_there() -> bool:
            return (await stranger.post("/api/auth/register", NEWCOMER)).status_code == 201

        await _until(is_open_there)
        acts = [entry for entry in (await ada.get("/api/admin/audit")).json()["items"] if entry["action"] == "settings.changed"]
        told = [(act["subject"], act["details"]["from"], act["details"]["to"]) for act in acts]
        assert told[0] == ("auth.signup", False, True)
        assert set(told[1:]) == {("auth.signup", True, False), ("limits.quota_generations", -1, 3)}, "made in the same moment"


async def test_changes_outlive_a_restart_but_not_an_edited_configuration(dsn: str, data_dir: Path) -> None:
    """The same configuration keeps a change; another value of that key, once configured, ends it for good."""
    async with serving(settings_for(data_dir), dsn) as site, await Person(site.url).set_up("Ada") as ada:
        assert (await ada.post("/api/config", {"auth": {"signup": False, "require_approval": True}})).status_code == 200
        cookies = ada.client.cookies

    async def settings_after(**auth: Any) -> tuple[bool, bool, list[str]]:
        async with serving(settings_for(data_dir, auth=auth), dsn) as site, Person(site.url) as ada:
            ada.client.cookies = cookies
            said = (await ada.get("/api/config")).json()
            table = said["settings"]["auth"]
            return table["signup"], table["require_approval"], [each["key"] for each in said["changed"]]

    assert await settings_after() == (False, True, ["auth.require_approval", "auth.signup"])
    assert await settings_after(signup=False) == (False, True, ["auth.require_approval"])
    assert await settings_after() == (True, True, ["auth.require_approval"]), "the change was forgotten, not put aside"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": {"quota_generations": -2}}, "limits.quota_generations"),
        ({"limits": {"quota_period_seconds": 1}}, "limits.quota_period_seconds"),
        ({"limits": {"quota_tokens": "many"}}, "limits.quota_tokens"),
        ({"logging": {"level": "loud"}}, "logging.level"),
        ({"auth": {"signup": 1}}, "auth.signup"),
        ({"auth": {"argon2_time_cost": 1}}, "auth.argon2_time_cost"),
        ({"server": {"port": 1}}, "server"),
        ({}, None),
        ({"auth": {}}, None),
    ],
)
async def test_what_cannot_be_is_refused(ada: Person, body: dict[str, Any], field: str | None) -> None:
    """Values out of range, settings that stay as they are and unknown ones change nothing; the field is named."""
    before = (await ada.get("/api/config")).json()
    answer = await ada.post("/api/config", {"auth": {"require_approval": True}, **body} if field else body)
    assert (answer.status_code, answer.json()["code"]) == (422, "RGP.VALIDATION")
    if field:
        assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert (await ada.get("/api/config")).json() == before


async def test_log_level_changes_while_the_server_runs(ada: Person, capfd: pytest.CaptureFixture[str]) -> None:
    """What is less important is left out from then on, and comes back."""
    try:
        assert (await ada.post("/api/config", {"logging": {"level": "error"}})).status_code == 200
        capfd.readouterr()
        await ada.get("/api/models")
        assert "/api/models" not in "".join(capfd.readouterr())
    finally:
        assert (await ada.post("/api/config", {"logging": {"level": None}})).status_code == 200
    await ada.get("/api/models")
    assert "/api/models" in "".join(capfd.readouterr())
