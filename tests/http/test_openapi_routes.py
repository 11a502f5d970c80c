"""The API's description over HTTP: two spellings of one document, an ETag, and for whom it is."""

from pathlib import Path

import httpx2
import pytest
import yaml

from rustygpt import __version__
from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site, serving, settings_for


async def test_both_spellings_are_the_same_document(site: Site) -> None:
    """JSON and YAML say the same, of this version, to a stranger."""
    async with httpx2.AsyncClient(base_url=site.url, timeout=DEADLINE_SECONDS) as client:
        as_json, as_yaml = await client.get("/openapi.json"), await client.get("/openapi.yaml")
    assert (as_json.status_code, as_json.headers["content-type"]) == (200, "application/json")
    assert (as_yaml.status_code, as_yaml.headers["content-type"]) == (200, "application/yaml")
    assert yaml.safe_load(as_yaml.text) == as_json.json()
    assert (as_json.json()["openapi"], as_json.json()["info"]["version"]) == ("3.1.1", __version__)


@pytest.mark.parametrize("path", ["/openapi.json", "/openapi.yaml"])
async def test_known_document_is_not_sent_again(site: Site, path: str) -> None:
    """Who shows the ETag of the document gets 304; another, or `*` of nothing, gets the document."""
    async with httpx2.AsyncClient(base_url=site.url, timeout=DEADLINE_SECONDS) as client:
        first = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
        assert (await client.post(path)).status_code == 405


async def test_description_can_be_for_users(dsn: str, data_dir: Path) -> None:
    """With features.api_docs = "users" a stranger gets 401, and a session or a key the document."""
    settings = settings_for(data_dir, features={"api_docs": "users"})
    async with serving(settings, dsn) as site, Person(site.url) as ada, Person(site.url) as stranger:
        for path in ("/openapi.json", "/openapi.yaml"):
            refused = await stranger.get(path)
            assert (refused.status_code, refused.json()["code"]) == (401, "RGP.AUTH.REQUIRED")
        await ada.set_up("Ada")
        assert (await ada.get("/openapi.json")).status_code == 200
        key = (await ada.post("/api/keys", {"name": "Key", "scopes": ["chat"]})).json()["key"]
        answer = await stranger.get("/openapi.yaml", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 200


async def test_description_can_be_off(dsn: str, data_dir: Path) -> None:
    """With features.api_docs = "off" nothing is there, for the administrator neither."""
    async with serving(settings_for(data_dir, features={"api_docs": "off"}), dsn) as site, Person(site.url) as ada:
        await ada.set_up("Ada")
        for path in ("/openapi.json", "/openapi.yaml", "/docs"):
            answer = await ada.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "RGP.NOT_FOUND")
