"""Who comes back must be the browser that left, once, in time: everything else ends at the sign-in page and makes nothing."""

import asyncio

import pytest

from rustygpt.database.pool import Database
from tests.auth.oauth.conftest import NewTraveller, Owner, rows
from tests.auth.oauth.provider import TinyProvider
from tests.auth.oauth.traveller import HTML, Traveller, reached, refused
from tests.person import DEADLINE_SECONDS

PROVIDERS = pytest.mark.parametrize("name", ["github", "apple"])
NOTHING = {"users": 0, "identities": 0, "sessions": 0}


async def _left(person: Traveller, name: str) -> dict[str, str]:
    """What the provider gives to somebody who has just left."""
    code, state = person.provider.consent(await person.go(name))
    return {"code": code, "state": state}


@PROVIDERS
async def test_denied_consent(traveller: NewTraveller, owner: Owner, name: str) -> None:
    """Who says no at the provider is back at the sign-in page, and the state is used up."""
    for error in ("access_denied", "user_cancelled_authorize"):
        person = traveller()
        fields = await _left(person, name)
        answer = await person.come_back(name, {"error": error, "state": fields["state"]})
        assert refused(answer) == "access_denied"
        assert refused(await person.come_back(name, fields)) == "invalid_state"
    assert await rows(owner) == NOTHING


@PROVIDERS
async def test_other_errors_of_the_provider(traveller: NewTraveller, owner: Owner, name: str) -> None:
    """An error that is no denial, one beside a code, and an answer with neither are the provider's fault."""
    for fields in ({"error": "server_error"}, {"error": "<b>", "code": "x"}, {}):
        person = traveller()
        state = (await _left(person, name))["state"]
        assert refused(await person.come_back(name, {"state": state, **fields})) == "provider_error"
    assert await rows(owner) == NOTHING


@PROVIDERS
async def test_wrong_or_missing_state(traveller: NewTraveller, owner: Owner, name: str) -> None:
    """A state that nobody gave out."""
    for state in (None, "", "wrong", "x" * 43, "x" * 5_000, "\x00" * 43, "é" * 43):
        person = traveller()
        fields = await _left(person, name)
        wrong = {"code": fields["code"]} | ({} if state is None else {"state": state})
        assert refused(await person.come_back(name, wrong)) == "invalid_state", state
    assert await rows(owner) == NOTHING


@PROVIDERS
async def test_state_given_twice_counts_as_none(traveller: NewTraveller, name: str) -> None:
    """No two readers of an address may see different states."""
    person = traveller()
    fields = await _left(person, name)
    url = f"/api/oauth/{name}/callback?code={fields['code']}&state={fields['state']}&state={fields['state']}"
    assert refused(await person.client.get(url)) == "invalid_state"


@PROVIDERS
async def test_replayed_answer(traveller: NewTraveller, owner: Owner, name: str) -> None:
    """The same answer again, from the same browser, opens nothing; the session of the first time stays."""
    person = traveller()
    fields = await _left(person, name)
    assert reached(await person.come_back(name, fields))[0] == "/auth/success"
    assert refused(await person.come_back(name, fields)) == "invalid_state"
    assert (await person.get("/api/auth/me")).status_code == 200
    assert await rows(owner) == {"users": 1, "identities": 1, "sessions": 1}


@PROVIDERS
async def test_expired_state(traveller: NewTraveller, owner: Owner, name: str) -> None:
    """Ten minutes by the database's clock."""
    person = traveller()
    fields = await _left(person, name)
    await owner.execute("update rustygpt.oauth_states set created_at = created_at - interval '10 minutes 1 second'")
    assert refused(await person.come_back(name, fields)) == "expired_state"
    assert await rows(owner) == NOTHING


@PROVIDERS
async def test_other_browser(traveller: NewTraveller, owner: Owner, name: str) -> None:
    """Whoever is given somebody else's way back is not signed in as them: without the cookie, with their own, with a made-up one."""
    attacker, victim = traveller(), traveller()
    fields = await _left(attacker, name)
    assert refused(await victim.come_back(name, fields)) == "invalid_state"
    await victim.go(name)
    assert refused(await victim.come_back(name, fields)) == "invalid_state"
    victim.client.cookies.clear()
    for cookie in ("x", "x" * 43):
        victim.client.cookies.set("OAUTH_STATE", cookie)
        assert refused(await victim.come_back(name, fields)) == "invalid_state"
    assert await rows(owner) == NOTHING
    assert reached(await attacker.come_back(name, fields))[0] == "/auth/success", "trying did not use it up"


async def test_state_of_another_provider(traveller: NewTraveller, owner: Owner) -> None:
    """A state for GitHub is none for Apple, although both cookies are there."""
    person = traveller()
    await person.go("apple")
    fields = await _left(person, "github")
    assert refused(await person.come_back("apple", fields)) == "invalid_state"
    assert await rows(owner) == NOTHING


@PROVIDERS
async def test_two_answers_with_one_state_race(traveller: NewTraveller, owner: Owner, name: str) -> None:
    """Of many that bring the same answer at once, one is signed in."""
    person = traveller()
    fields = await _left(person, name)
    answers = await asyncio.gather(*(person.come_back(name, fields) for _ in range(6)))
    paths = sorted(reached(answer)[0] for answer in answers)
    assert paths == ["/auth/success", *["/login"] * 5]
    assert {refused(a) for a in answers if reached(a)[0] == "/login"} == {"invalid_state"}
    assert await rows(owner) == {"users": 1, "identities": 1, "sessions": 1}


async def test_one_person_twice_at_once_is_one_account(traveller: NewTraveller, owner: Owner) -> None:
    """The first sign-in from two browsers at the same moment makes one account, and both are in it."""
    people = [traveller() for _ in range(4)]
    fields = [await _left(person, "github") for person in people]
    answers = await asyncio.gather(*(person.come_back("github", each) for person, each in zip(people, fields, strict=True)))
    assert {reached(answer)[0] for answer in answers} == {"/auth/success"}
    assert await rows(owner) == {"users": 1, "identities": 1, "sessions": 4}


@PROVIDERS
async def test_code_is_used_once(traveller: NewTraveller, provider: TinyProvider, name: str) -> None:
    """A code that was redeemed is refused by the provider, whatever state it comes with."""
    person = traveller()
    fields = await _left(person, name)
    assert reached(await person.come_back(name, fields))[0] == "/auth/success"
    other = traveller()
    state = (await _left(other, name))["state"]
    assert refused(await other.come_back(name, {"code": fields["code"], "state": state})) == "provider_error"


@PROVIDERS
async def test_malformed_code_never_leaves(traveller: NewTraveller, provider: TinyProvider, name: str) -> None:
    """What cannot be a code is not sent to the provider."""
    for code in ("", "x" * 3_000, "a\x00b", "é", "a\r\nb"):
        person = traveller()
        state = (await _left(person, name))["state"]
        assert refused(await person.come_back(name, {"code": code, "state": state})) == "provider_error", code
    assert provider.received(f"/{name}/token") == []


async def test_only_apples_way_back_takes_posts_of_other_sites(traveller: NewTraveller) -> None:
    """Every other path keeps its guard, this one's neighbours too."""
    foreign = {"Origin": "https://appleid.apple.com", "Sec-Fetch-Site": "cross-site"}
    person = traveller()
    for path in ("/api/oauth/apple/manual", "/api/oauth/github/manual", "/api/auth/login", "/api/oauth/apple/callback/"):
        answer = await person.client.post(path, data={"state": "x"}, headers=foreign)
        assert (answer.status_code, answer.json()["code"]) == (403, "RGP.AUTH.CSRF"), path
    assert refused(await person.client.post("/api/oauth/apple/callback", data={"state": "x"}, headers=foreign)) == "invalid_state"


async def test_old_states_are_forgotten(traveller: NewTraveller, owner: Owner, database: Database) -> None:
    """A beginning clears away those that nobody came back from, and so does maintenance."""
    person = traveller()
    age = "update rustygpt.oauth_states set created_at = created_at - interval '11 minutes'"
    for _ in range(3):
        await person.go("github")
    await owner.execute(age)
    await person.go("github")
    assert await owner.fetchval("select count(*) from rustygpt.oauth_states") == 1
    await owner.execute(age)
    deleted = await database.value("prune_rows", int, idempotency_seconds=60.0, session_seconds=60.0, limit=10)
    assert deleted == 1
    assert await owner.fetchval("select count(*) from rustygpt.oauth_states") == 0


async def test_destination_survives_the_journey(traveller: NewTraveller) -> None:
    """`redirect_to` comes out at the other end, whether it went well or not; a foreign one becomes the start page."""
    person = traveller()
    code, state = person.provider.consent(await person.go("github", redirect_to="/c/abc?x=1&y=é"))
    path, query = reached(await person.come_back("github", {"code": code, "state": state}))
    assert (path, query["redirect_to"]) == ("/auth/success", "/c/abc?x=1&y=é")
    state = person.provider.consent(await traveller().go("github"))[1]
    other = traveller()
    state = other.provider.consent(await other.go("github", redirect_to="/settings"))[1]
    answer = await other.come_back("github", {"error": "access_denied", "state": state})
    assert reached(answer) == ("/login", {"error": "access_denied", "redirect_to": "/settings"})
    foreign = traveller()
    code, state = foreign.provider.consent(await foreign.go("github", redirect_to="//evil.example/"))
    assert "redirect_to" not in reached(await foreign.come_back("github", {"code": code, "state": state}))[1]


@PROVIDERS
async def test_provider_that_is_off(site_without_providers: str, name: str) -> None:
    """Where a provider is not configured there is no way to it (404), and a way back ends at the sign-in page."""
    import httpx2

    async with httpx2.AsyncClient(base_url=site_without_providers, timeout=DEADLINE_SECONDS) as client:
        assert (await client.get("/api/setup")).json()["oauth"] == []
        for method, path in (("GET", f"/api/oauth/{name}"), ("POST", f"/api/oauth/{name}/manual")):
            answer = await client.request(method, path, headers=HTML)
            assert (answer.status_code, answer.json()["code"]) == (404, "RGP.NOT_FOUND")
        assert refused(await client.get(f"/api/oauth/{name}/callback?code=a&state={'x' * 43}")) == "not_configured"
