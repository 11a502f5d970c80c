"""Signing in with Apple, when all goes well: a posted answer, a signed statement for a secret, a name that comes once."""

import json

from tests.auth.oauth.conftest import NewTraveller, Owner, rows
from tests.auth.oauth.provider import TinyProvider, split
from tests.auth.oauth.traveller import HTML, reached
from tests.person import DEADLINE_SECONDS
from tests.site import Site


def user_field(first: object = "Anna", last: object = "Apfel") -> str:
    return json.dumps({"name": {"firstName": first, "lastName": last}, "email": "forged@example.org"})


async def test_posted_answer_signs_in(traveller: NewTraveller, provider: TinyProvider, owner: Owner) -> None:
    """Apple's cross-site POST opens a session; the address is the id_token's and not the form's, the name is the form's."""
    anna = await traveller().sign_in("apple", user=user_field())
    me = await anna.me()
    assert (me["display_name"], me["email"]) == ("Anna Apfel", "anna@example.org")
    assert await rows(owner) == {"users": 1, "identities": 1, "sessions": 1}


async def test_answer_in_the_address_signs_in(traveller: NewTraveller, provider: TinyProvider) -> None:
    """The callback takes a GET too."""
    anna = traveller()
    code, state = provider.consent(await anna.go("apple"))
    assert reached(await anna.come_back("apple", {"code": code, "state": state}, "GET"))[0] == "/auth/success"


async def test_name_comes_once_and_stays(traveller: NewTraveller) -> None:
    """At the second sign-in Apple tells no name; a name that somebody forges into the form then changes nothing."""
    anna = await traveller().sign_in("apple", user=user_field())
    for extra in ({}, {"user": user_field("Eve", "Evil")}):
        again = await traveller().sign_in("apple", **extra)
        assert again.id == anna.id
        assert (await again.me())["display_name"] == "Anna Apfel"


NAMES = [
    ("", "Apple user"),
    ("{", "Apple user"),
    ("[]", "Apple user"),
    ('{"name": "Anna"}', "Apple user"),
    ("[" * 4_000, "Apple user"),
    ('{"a":' * 600 + "1" + "}" * 600, "Apple user"),
    (user_field(["x"], {"y": 1}), "Apple user"),
    (user_field("x" * 5_000, ""), "Apple user"),
    (user_field(" ", "\u0000\u0007"), "Apple user"),
    (user_field("A" * 200, "B"), "A" * 80),
    (user_field("Zoë\n\u202e", "李"), "Zoë 李"),
    (user_field("<script>", "\ud800"), "<script>"),
]
"""What stands in the form's field `user`, and the name that comes of it."""


async def test_hostile_name_does_no_harm(traveller: NewTraveller, provider: TinyProvider) -> None:
    """Whatever stands in the form's field `user`, the sign-in succeeds and the name can be shown."""
    for number, (field, name) in enumerate(NAMES):
        provider.apple_subject, provider.apple_email = f"000.{number}", f"anna{number}@example.org"
        anna = await traveller().sign_in("apple", user=field)
        assert (await anna.me())["display_name"] == name, field[:80]


async def test_form_of_any_size_is_refused(traveller: NewTraveller, provider: TinyProvider) -> None:
    """More than 64 KiB, more than 32 fields or another media type end at the sign-in page."""
    anna = traveller()
    code, state = provider.consent(await anna.go("apple"))
    for fields in ({"user": "x" * 70_000}, {f"field{n}": "x" for n in range(40)}):
        answer = await anna.come_back("apple", {"code": code, "state": state, **fields})
        assert reached(answer) == ("/login", {"error": "invalid_request"})
    answer = await anna.client.post("/api/oauth/apple/callback", json={"code": code, "state": state})
    assert reached(answer) == ("/login", {"error": "invalid_request"})


async def test_private_relay_address_is_an_address(traveller: NewTraveller, provider: TinyProvider) -> None:
    """Who hides their address gets an account with Apple's relay address, and is told so in the list of accounts."""
    provider.apple_email = "k7x2@privaterelay.appleid.com"
    provider.claims = {"is_private_email": "true"}
    anna = await traveller().sign_in("apple")
    assert (await anna.me())["email"] == "k7x2@privaterelay.appleid.com"
    (item,) = (await anna.get("/api/auth/identities")).json()["items"]
    assert (item["provider"], item["email"], item["is_private_email"]) == ("apple", "k7x2@privaterelay.appleid.com", True)


async def test_secret_is_a_signed_statement_and_kept(traveller: NewTraveller, provider: TinyProvider) -> None:
    """The client secret is checked by the provider in small (ES256, team, client, audience, times); two sign-ins show the same."""
    for _ in range(2):
        await traveller().sign_in("apple")
    first, second = (form["client_secret"] for form in provider.received("/apple/token"))
    assert first == second
    assert first.count(".") == 2
    assert "code_verifier" not in provider.received("/apple/token")[0]


async def test_keys_are_fetched_once(traveller: NewTraveller, provider: TinyProvider) -> None:
    """Apple's public keys are kept between sign-ins."""
    for _ in range(3):
        await traveller().sign_in("apple")
    assert len(provider.received("/apple/keys")) == 1


async def test_cookie_survives_a_post_from_another_site(traveller: NewTraveller) -> None:
    """Over https the cookie says SameSite=None; Secure, else no browser would send it; over http, where there is no Secure, Lax."""
    person = traveller()
    answer = await person.get("/api/oauth/apple", headers=HTML)
    assert set(answer.headers["set-cookie"].lower().split("; ")[1:]) == {
        "httponly",
        "max-age=600",
        "path=/api/oauth/apple",
        "samesite=lax",
    }


async def test_addresses_follow_the_public_url(dsn: str, data_dir, provider: TinyProvider) -> None:
    """Behind https the redirect_uri is the public one, and the cookie is for https."""
    from tests.site import serving, settings_for

    settings = settings_for(data_dir, oauth=provider.settings(), server={"public_url": "https://chat.example.org"})
    async with serving(settings, dsn) as site:
        cookies, address = await _begin(site)
    assert split(address)[1]["redirect_uri"] == "https://chat.example.org/api/oauth/apple/callback"
    assert {"samesite=none", "secure", "httponly"} <= set(cookies.lower().split("; "))


async def _begin(site: Site) -> tuple[str, str]:
    import httpx2

    async with httpx2.AsyncClient(base_url=site.url, timeout=DEADLINE_SECONDS) as client:
        answer = await client.get("/api/oauth/apple", headers=HTML)
        return answer.headers["set-cookie"], answer.headers["location"]
