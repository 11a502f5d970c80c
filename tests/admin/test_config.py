"""The settings in force, for administrators alone and without a secret."""

from pathlib import Path

from tests.person import Person
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
    """A user is 403, a stranger 401, an administrator's key without the scope 403, with it 200; nothing can be posted."""
    assert (await bob.get("/api/config")).status_code == 403
    assert (await ada.post("/api/config", {})).status_code == 405
    statuses = []
    async with Person(str(ada.client.base_url)) as program:
        statuses.append((await program.get("/api/config")).status_code)
        for scopes in (["chat", "v1"], ["admin"]):
            made = (await ada.post("/api/keys", {"name": "Key", "scopes": scopes})).json()
            program.client.headers["Authorization"] = f"Bearer {made['key']}"
            statuses.append((await program.get("/api/config")).status_code)
    assert statuses == [401, 403, 200]
