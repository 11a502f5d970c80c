"""Signing in with GitHub, when all goes well: whose account it is, what is stored, what the cookies say."""

import hashlib

from tests.auth.oauth.conftest import NewTraveller, Owner, rows
from tests.auth.oauth.provider import TinyProvider, challenge, split
from tests.auth.oauth.traveller import HTML, Traveller, reached


async def test_stranger_gets_an_account_and_a_session(traveller: NewTraveller, owner: Owner) -> None:
    """The way leads to the page of success, with the cookies of a login; the account has GitHub's name and verified address."""
    octo = traveller()
    answer = await octo.travel("github")
    path, query = reached(answer)
    me = await octo.me()
    assert (path, query) == ("/auth/success", {"user_id": me["id"]})
    assert (me["display_name"], me["email"], me["role"], me["status"]) == ("Octo Cat", "octo@example.org", "user", "active")
    assert {"SESSION_ID", "CSRF-TOKEN"} <= set(octo.client.cookies)
    assert (await octo.post("/api/auth/refresh")).status_code == 200
    stored = await owner.fetchrow("select password_hash, email_verified_at from rustygpt.users")
    assert stored["password_hash"] is None
    assert stored["email_verified_at"] is not None
    assert 'rustygpt_auth_logins_total{method="github",result="success"} 1.0' in (await octo.get("/metrics")).text


async def test_same_person_gets_the_same_account(traveller: NewTraveller, provider: TinyProvider, owner: Owner) -> None:
    """Who comes again, under another name and address, is who they were: GitHub's id decides."""
    first = await traveller().sign_in("github")
    provider.user["login"] = provider.user["name"] = "renamed"
    provider.emails = [{"email": "moved@example.org", "primary": True, "verified": True}]
    second = await traveller().sign_in("github")
    assert second.id == first.id
    assert (await second.me())["email"] == "octo@example.org"
    assert await rows(owner) == {"users": 1, "identities": 1, "sessions": 2}
    assert (await second.get("/api/auth/identities")).json()["items"][0]["email"] == "moved@example.org"


async def test_known_person_needs_no_address(traveller: NewTraveller, provider: TinyProvider) -> None:
    """An address is for making an account; a linked one is entered without."""
    first = await traveller().sign_in("github")
    provider.emails = []
    assert (await traveller().sign_in("github")).id == first.id


async def test_pkce_is_announced_and_proved(traveller: NewTraveller, provider: TinyProvider) -> None:
    """The challenge in the address is the S256 of the verifier that redeems the code; each sign-in has its own."""
    challenges = []
    for _ in range(2):
        person = traveller()
        url = await person.go("github")
        _, query = split(url)
        code, state = provider.consent(url)
        assert reached(await person.come_back("github", {"code": code, "state": state}))[0] == "/auth/success"
        verifier = provider.received("/github/token")[-1]["code_verifier"]
        assert 43 <= len(verifier) <= 128
        assert challenge(verifier) == query["code_challenge"]
        challenges.append(query["code_challenge"])
    assert challenges[0] != challenges[1]


async def test_state_is_stored_as_a_hash_and_bound_by_a_cookie(traveller: NewTraveller, owner: Owner) -> None:
    """The database knows hashes of state and cookie; the cookie is out of reach of scripts and goes to this provider's path only."""
    person = traveller()
    answer = await person.get("/api/oauth/github", headers=HTML)
    _, query = split(answer.headers["location"])
    stored = await owner.fetchrow("select * from rustygpt.oauth_states")
    assert stored["state_hash"] == hashlib.sha256(query["state"].encode()).digest()
    token = person.client.cookies["OAUTH_STATE"]
    assert stored["browser_hash"] == hashlib.sha256(token.encode()).digest()
    attributes = set(answer.headers["set-cookie"].lower().split("; ")[1:])
    assert attributes == {"httponly", "max-age=600", "path=/api/oauth/github", "samesite=lax"}
    assert answer.headers["cache-control"] == "no-store"


async def test_address_comes_as_json_for_scripts(traveller: NewTraveller, provider: TinyProvider) -> None:
    """`Accept: application/json` gets {authorization_url}, which works like the redirect."""
    person = traveller()
    answer = await person.get("/api/oauth/github", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    assert list(answer.json()) == ["authorization_url"]
    code, state = provider.consent(answer.json()["authorization_url"])
    assert reached(await person.come_back("github", {"code": code, "state": state}))[0] == "/auth/success"


async def test_two_tabs_may_leave_at_once(traveller: NewTraveller, provider: TinyProvider) -> None:
    """A second beginning in the same browser does not spoil the first."""
    person = traveller()
    answers = [provider.consent(await person.go("github")) for _ in range(2)]
    for code, state in answers:
        assert reached(await person.come_back("github", {"code": code, "state": state}))[0] == "/auth/success"


async def test_setup_names_the_providers(ada: Traveller) -> None:
    """The sign-in page learns which buttons to show."""
    assert (await ada.get("/api/setup")).json()["oauth"] == ["github", "apple"]


async def test_oldest_session_makes_room(traveller: NewTraveller, owner: Owner) -> None:
    """Signing in by a provider counts like a login: at most five sessions, and the one of this browser is replaced."""
    people = [await traveller().sign_in("github") for _ in range(6)]
    statuses = [(await person.get("/api/auth/me")).status_code for person in people]
    assert statuses == [401, 200, 200, 200, 200, 200]


async def test_name_is_made_fit_to_show(traveller: NewTraveller, provider: TinyProvider) -> None:
    """Control characters, marks that turn text around and endless names are no way to pose as somebody."""
    provider.user["name"] = "\u202eadmin\x00" + "x" * 500
    me = await (await traveller().sign_in("github")).me()
    assert me["display_name"] == ("admin " + "x" * 80)[:80]
