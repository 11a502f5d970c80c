"""Which account somebody gets: nobody gets into another's by an address, and nobody locks themselves out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.auth.oauth.conftest import NewTraveller, Owner, rows
from tests.auth.oauth.provider import TinyProvider
from tests.auth.oauth.traveller import HTML, Traveller, reached, refused
from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site, serving, settings_for


def _code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def _linked(person: Traveller) -> list[str]:
    answer = await person.get("/api/auth/identities")
    assert answer.status_code == 200, answer.text
    return [item["provider"] for item in answer.json()["items"]]


# --- addresses


@pytest.mark.parametrize("name", ["github", "apple"])
async def test_address_that_somebody_typed_opens_nothing(
    traveller: NewTraveller, ada: Traveller, provider: TinyProvider, owner: Owner, name: str
) -> None:
    """An account made with a password has an address nobody verified: the provider's verified one does not get in, nor link itself."""
    provider.emails = [{"email": ada.email.upper(), "primary": True, "verified": True}]
    provider.apple_email = ada.email.upper()
    before = await rows(owner)
    assert refused(await traveller().travel(name)) == "email_taken"
    assert await rows(owner) == before
    assert await owner.fetchval("select email_verified_at from rustygpt.users") is None


async def test_unverified_address_of_a_verified_account_opens_nothing(
    traveller: NewTraveller, provider: TinyProvider, owner: Owner
) -> None:
    """The other way round: the account's address is verified, the one that comes is not."""
    await traveller().sign_in("github")
    provider.apple_email = "octo@example.org"
    provider.claims = {"email_verified": "false"}
    assert refused(await traveller().travel("apple")) == "email_unverified"
    assert await owner.fetchval("select count(*) from rustygpt.identities") == 1


async def test_address_verified_on_both_sides_links(traveller: NewTraveller, provider: TinyProvider, owner: Owner) -> None:
    """GitHub verified the address of this account, and now Apple says the same: it is one person."""
    octo = await traveller().sign_in("github")
    provider.apple_email = "OCTO@Example.org"
    anna = await traveller().sign_in("apple")
    assert anna.id == octo.id
    assert await _linked(anna) == ["github", "apple"]
    assert await owner.fetchval("select count(*) from rustygpt.users") == 1


async def test_second_identity_of_one_provider_does_not_replace_the_first(
    traveller: NewTraveller, provider: TinyProvider
) -> None:
    """An address that moved to another account at GitHub does not bring that account in."""
    await traveller().sign_in("github")
    provider.user["id"] = 4712
    assert refused(await traveller().travel("github")) == "already_linked"


async def test_linking_an_own_address_verifies_it(
    traveller: NewTraveller, ada: Traveller, provider: TinyProvider, owner: Owner
) -> None:
    """Who links a provider that verified the account's address may come by other providers of that address too."""
    provider.emails = [{"email": ada.email, "primary": True, "verified": True}]
    provider.apple_email = ada.email
    assert reached(await ada.travel("github"))[0] == "/auth/success"
    assert await owner.fetchval("select email_verified_at from rustygpt.users") is not None
    assert (await traveller().sign_in("apple")).id == ada.id


# --- linking


@pytest.mark.parametrize("name", ["github", "apple"])
async def test_signing_in_while_signed_in_links(traveller: NewTraveller, ada: Traveller, owner: Owner, name: str) -> None:
    """The session goes on, also where its cookie does not come back with Apple's post; from now on the provider is a way in."""
    before = (await ada.get("/api/auth/sessions")).json()["items"]
    path, query = reached(await ada.travel(name))
    assert (path, query) == ("/auth/success", {"user_id": ada.id})
    assert [each["id"] for each in (await ada.get("/api/auth/sessions")).json()["items"]] == [each["id"] for each in before]
    assert await _linked(ada) == [name]
    assert reached(await ada.travel(name))[0] == "/auth/success", "once more changes nothing"
    assert (await traveller().sign_in(name)).id == ada.id
    assert await owner.fetchval("select count(*) from rustygpt.users") == 1


async def test_identity_of_somebody_else_is_not_linked(traveller: NewTraveller, ada: Traveller) -> None:
    """It stays with the account that it has."""
    octo = await traveller().sign_in("github")
    assert refused(await ada.travel("github")) == "identity_taken"
    assert (await traveller().sign_in("github")).id == octo.id
    assert await _linked(ada) == []


async def test_session_that_ended_links_nothing(traveller: NewTraveller, ada: Traveller, owner: Owner) -> None:
    """Who signed out on the way is not linked; nor is anybody else's session made of it."""
    code, state = ada.provider.consent(await ada.go("github"))
    assert (await ada.post("/api/auth/logout")).status_code == 204
    assert refused(await ada.come_back("github", {"code": code, "state": state})) == "session_ended"
    assert await owner.fetchval("select count(*) from rustygpt.identities") == 0


async def test_other_sites_begin_no_link(ada: Traveller) -> None:
    """A link on a foreign page leads a signed-in browser nowhere; from our own pages and the address bar it does."""
    foreign = [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Referer": "http://evil.example/page"}]
    for headers in foreign:
        answer = await ada.get("/api/oauth/github", headers=HTML | headers)
        assert reached(answer) == ("/login", {"error": "cross_site"})
        answer = await ada.get("/api/oauth/github", headers={"Accept": "application/json"} | headers)
        assert _code(answer) == (401, "RGP.AUTH.OAUTH_FAILED")
    for headers in (
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Referer": f"{ada.client.base_url}/settings"},
    ):
        assert (await ada.get("/api/oauth/github", headers=HTML | headers)).headers["location"].startswith(ada.provider.url)


async def test_key_is_no_way_to_link(ada: Traveller, site: Site, owner: Owner) -> None:
    """A program with a key begins, lists and unlinks nothing."""
    key = (await ada.post("/api/keys", {"name": "A program", "scopes": ["chat"]})).json()["key"]
    bearer = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=site.url, timeout=DEADLINE_SECONDS) as program:
        for method, path in (
            ("GET", "/api/oauth/github"),
            ("GET", "/api/auth/identities"),
            ("DELETE", "/api/auth/identities/github"),
        ):
            assert _code(await program.request(method, path, headers=bearer)) == (403, "RGP.RBAC.FORBIDDEN")
    assert await owner.fetchval("select count(*) from rustygpt.oauth_states") == 0


# --- unlinking and passwords


async def test_unlinking(traveller: NewTraveller, ada: Traveller) -> None:
    """With a password beside it an identity can go, and is no way in any more; the page learns whether there is a password."""
    await ada.travel("github")
    assert (await ada.get("/api/auth/identities")).json()["has_password"] is True
    assert (await ada.request("DELETE", "/api/auth/identities/github")).status_code == 204
    assert _code(await ada.request("DELETE", "/api/auth/identities/github")) == (404, "RGP.NOT_FOUND")
    assert _code(await ada.request("DELETE", "/api/auth/identities/google")) == (404, "RGP.NOT_FOUND")
    assert (await traveller().sign_in("github")).id != ada.id


async def test_last_way_in_stays(traveller: NewTraveller, provider: TinyProvider) -> None:
    """Without a password the only identity stays; with a second one, either may go, but of two that go at once one stays."""
    octo = await traveller().sign_in("github")
    assert (await octo.get("/api/auth/identities")).json()["has_password"] is False
    assert _code(await octo.request("DELETE", "/api/auth/identities/github")) == (409, "RGP.CONFLICT")
    await octo.travel("apple")
    answers = await asyncio.gather(*(octo.request("DELETE", f"/api/auth/identities/{name}") for name in ("github", "apple")))
    assert sorted(answer.status_code for answer in answers) == [204, 409]
    assert len(await _linked(octo)) == 1


async def test_identity_of_a_provider_that_is_off_is_no_way_in(provider: TinyProvider, dsn: str, data_dir: Path) -> None:
    """What cannot be used does not count as a second way."""
    async with serving(settings_for(data_dir, oauth=provider.settings()), dsn) as site:
        octo = await Traveller(site.url, provider).sign_in("github")
        await octo.travel("apple")
    async with serving(settings_for(data_dir, oauth={"github": provider.settings()["github"]}), dsn) as site:
        octo.client.base_url = httpx2.URL(site.url)
        assert await _linked(octo) == ["github", "apple"]
        assert _code(await octo.request("DELETE", "/api/auth/identities/github")) == (409, "RGP.CONFLICT")
        assert (await octo.request("DELETE", "/api/auth/identities/apple")).status_code == 204
        await octo.close()


async def test_first_password(traveller: NewTraveller, site: Site) -> None:
    """Who came by a provider cannot sign in by any password, sets one without a current one, and may unlink then."""
    octo = await traveller().sign_in("github")
    login = {"email": "octo@example.org", "password": "correct horse"}
    stranger = Person(site.url)
    assert _code(await stranger.post("/api/auth/login", login)) == (401, "RGP.AUTH.INVALID_CREDENTIALS")
    wrong = {"current_password": "anything", "new_password": "correct horse"}
    assert _code(await octo.post("/api/auth/password", wrong)) == (422, "RGP.VALIDATION")
    assert (await octo.post("/api/auth/password", {"new_password": "correct horse"})).status_code == 200
    assert (await stranger.post("/api/auth/login", login)).status_code == 200
    answer = await octo.post("/api/auth/password", {"new_password": "battery staple"})
    assert _code(answer) == (422, "RGP.VALIDATION"), "now there is a current one"
    assert (await octo.request("DELETE", "/api/auth/identities/github")).status_code == 204
    await stranger.close()


async def test_two_first_passwords_that_race(traveller: NewTraveller) -> None:
    """Of two that set the first password at once, one does."""
    octo = await traveller().sign_in("github")
    answers = await asyncio.gather(*(octo.post("/api/auth/password", {"new_password": f"correct horse {n}"}) for n in range(3)))
    assert sum(answer.status_code == 200 for answer in answers) == 1


# --- who may come


async def test_disabled_account(traveller: NewTraveller, owner: Owner, provider: TinyProvider) -> None:
    """A disabled account is entered neither by its identity nor by another one of its address."""
    await traveller().sign_in("github")
    await owner.execute("update rustygpt.users set status = 'disabled'")
    before = await rows(owner)
    assert refused(await traveller().travel("github")) == "account_disabled"
    provider.apple_email = "octo@example.org"
    assert refused(await traveller().travel("apple")) == "account_disabled"
    assert await rows(owner) == before


@pytest.fixture
async def closed_site(dsn: str, data_dir: Path, provider: TinyProvider) -> AsyncIterator[Site]:
    """The application without sign-up, and with the way by hand."""
    oauth = {**provider.settings(), "manual_enabled": True}
    async with serving(settings_for(data_dir, oauth=oauth, auth={"signup": False}), dsn) as served:
        yield served


async def test_sign_up_that_is_off(closed_site: Site, provider: TinyProvider, owner: Owner) -> None:
    """Strangers get no account; who has one links and comes."""
    ada, stranger = Traveller(closed_site.url, provider), Traveller(closed_site.url, provider)
    await ada.set_up("Ada")
    assert refused(await stranger.travel("github")) == "signup_disabled"
    assert (await rows(owner))["users"] == 1
    await ada.travel("github")
    assert (await stranger.sign_in("github")).id == ada.id
    await ada.close()
    await stranger.close()


# --- by hand


async def test_code_by_hand(closed_site: Site, provider: TinyProvider) -> None:
    """With the setting, a code with its verifier is redeemed and answered like a login; errors are problems."""
    ada = Traveller(closed_site.url, provider)
    await ada.set_up("Ada")
    for name in ("github", "apple"):
        await ada.travel(name)
    person = Traveller(closed_site.url, provider)
    for name in ("github", "apple"):
        verifier = "v" * 64
        url = closed_url(provider, name, verifier)
        code, _ = provider.consent(url)
        body = {
            "code": code,
            "redirect_uri": "https://here.example/cb",
            **({"code_verifier": verifier} if name == "github" else {}),
        }
        answer = await person.post(f"/api/oauth/{name}/manual", body)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"user", "session", "csrf_token"}
        assert answer.json()["user"]["id"] == ada.id
        assert _code(await person.post(f"/api/oauth/{name}/manual", body)) == (401, "RGP.AUTH.OAUTH_FAILED")
    for bad in ({}, {"code": "", "redirect_uri": "x"}, {"code": "a", "redirect_uri": "x", "code_verifier": "short"}, {"code": 1}):
        assert _code(await person.post("/api/oauth/github/manual", bad)) == (422, "RGP.VALIDATION")
    provider.user["id"] = 5000
    provider.emails = []
    await ada.close()
    await person.close()


def closed_url(provider: TinyProvider, name: str, verifier: str) -> str:
    """The address that somebody with our settings would have made."""
    from rustygpt.auth.oauth import build_providers
    from rustygpt.settings_oauth import OAuthSettings

    made = build_providers(OAuthSettings.model_validate(provider.settings()))
    address = {"state": "s" * 43, "redirect_uri": "https://here.example/cb", "nonce": "n" * 43}
    return next(each for key, each in made.items() if key == name).authorization_url(code_verifier=verifier, **address)


async def test_way_by_hand_is_off_by_default(ada: Traveller) -> None:
    """It skips the check of who asked for the code, so nobody has it without asking for it."""
    for name in ("github", "apple"):
        answer = await ada.post(f"/api/oauth/{name}/manual", {"code": "a", "redirect_uri": "https://x.example"})
        assert _code(answer) == (404, "RGP.NOT_FOUND")
