"""What a newcomer by a provider becomes is a setting's to say, and a disabled account stays shut whichever way one comes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.auth.oauth.provider import TinyProvider
from tests.auth.oauth.traveller import Traveller, refused
from tests.person import Person
from tests.site import Site, serving, settings_for


@pytest.fixture
async def careful(dsn: str, data_dir: Path, provider: TinyProvider) -> AsyncIterator[Site]:
    """The application with both providers, where newcomers wait."""
    settings = settings_for(data_dir, oauth=provider.settings(), auth={"default_role": "pending"})
    async with serving(settings, dsn) as served:
        yield served


@pytest.mark.parametrize("name", ["github", "apple"])
async def test_newcomer_waits_for_approval(careful: Site, provider: TinyProvider, name: str) -> None:
    """They are signed in and pending, may sign in again meanwhile, link nothing, and go on once let in; disabled, the provider's word opens nothing."""
    async with await Person(careful.url).set_up("Ada") as ada, Traveller(careful.url, provider) as bob:
        await bob.sign_in(name)
        assert (await bob.me())["status"] == "pending"
        assert (await bob.get("/api/auth/identities")).status_code == 403
        await bob.sign_in(name)
        assert (await bob.me())["status"] == "pending"
        path = f"/api/admin/users/{bob.id}"
        assert (await ada.request("PATCH", path, json={"status": "active"})).status_code == 200
        assert len((await bob.get("/api/auth/identities")).json()["items"]) == 1
        assert (await ada.request("PATCH", path, json={"status": "disabled"})).status_code == 200
        assert refused(await bob.travel(name)) == "account_disabled"
