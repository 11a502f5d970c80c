"""Apple's id_token: only one that Apple signed now, for us, for this very sign-in, says who somebody is."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.responses import JSONResponse, Response

from rustygpt.auth.apple import Apple
from rustygpt.auth.identity import ExternalIdentity, Grant
from rustygpt.errors import OAuthFailed
from rustygpt.settings_oauth import AppleSettings
from tests.auth.oauth.conftest import NewTraveller, Owner, rows
from tests.auth.oauth.provider import APPLE_CLIENT, TinyProvider, new_signing_key, split
from tests.auth.oauth.traveller import refused

CALLBACK = "https://chat.example.org/api/oauth/apple/callback"


class Visit:
    """Sign-ins at Apple without an application around them: the token endpoint answers whatever id_token is given."""

    def __init__(self, provider: TinyProvider) -> None:
        self.provider = provider
        self.apple = Apple(AppleSettings(**provider.settings()["apple"]), deadline_seconds=30)
        self.nonce = "n" * 43

    async def with_token(self, token: Any) -> ExternalIdentity:
        async def answer(_request: Any) -> Response:
            return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": token})

        self.provider.answers["/apple/token"] = answer
        return await self.apple.fetch_identity(Grant("a-code", CALLBACK, "v" * 43, self.nonce))

    async def refusal(self, token: Any) -> str:
        with pytest.raises(OAuthFailed) as caught:
            await self.with_token(token)
        return caught.value.reason


@pytest.fixture
async def visit(provider: TinyProvider) -> AsyncIterator[Visit]:
    """Apple, and what it is told."""
    return Visit(provider)


def _encoded(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def _claims(visit: Visit, **claims: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": f"{visit.provider.url}/apple", "aud": APPLE_CLIENT, "sub": "000.a.1", "iat": now, "exp": now + 600}
    return said | {"nonce": visit.nonce, "email": "anna@example.org", "email_verified": True} | claims


def _signed(visit: Visit, key: RSAKey, key_id: str, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": key_id}, claims, key, algorithms=["RS256"])


async def test_true_token_says_who_it_is(visit: Visit) -> None:
    """The token of the tests is a good one: what fails below fails for what is wrong in it."""
    identity = await visit.with_token(visit.provider.id_token(visit.nonce))
    assert (identity.subject, identity.email, identity.is_private_email) == ("000123.abc.0456", "anna@example.org", False)


async def test_forged_signatures(visit: Visit) -> None:
    """No signature, algorithm none, HS256 with the public key, another key under the same id, a changed claim, no key id."""
    key = visit.provider.signing_key
    good = visit.provider.id_token(visit.nonce)
    header, claims, signature = good.split(".")
    other = new_signing_key("other")
    public_pem = key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    by_hmac = _by_hmac(visit, public_pem)
    forged = [
        *(f"{header}.{claims}.", f"{header}.{claims}", f"{header}.{_encoded(_claims(visit, sub='000.b.2'))}.{signature}"),
        f"{_encoded({'alg': 'none', 'kid': key.kid})}.{claims}.",
        f"{_encoded({'alg': 'None', 'kid': key.kid})}.{claims}.{signature}",
        by_hmac,
        _signed(visit, other, str(key.kid), _claims(visit)),
        jwt.encode({"alg": "RS256"}, _claims(visit), key, algorithms=["RS256"]),
        f"{_encoded({'alg': 'RS256', 'kid': key.kid, 'crit': ['x'], 'x': 1})}.{claims}.{signature}",
        f"{_encoded({'alg': 'RS256', 'kid': 7})}.{claims}.{signature}",
        f"{_encoded({'alg': 'RS256', 'kid': key.kid, 'jwk': other.as_dict(private=False)})}.{claims}.{signature}",
        *("", "a.b.c", "é.é.é", "." * 10, "a" * 20_000, None, 7, ["x"], {"a": 1}),
    ]
    for token in forged:
        assert await visit.refusal(token) == "invalid_token", str(token)[:80]


def _by_hmac(visit: Visit, secret: bytes) -> str:
    """HS256, made by hand: no library signs with a public key."""
    signed = f"{_encoded({'alg': 'HS256', 'kid': visit.provider.signing_key.kid})}.{_encoded(_claims(visit))}"
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


async def test_algorithm_is_not_the_tokens_to_choose(visit: Visit) -> None:
    """HS256 keyed with any form of Apple's public key is refused."""
    key = visit.provider.signing_key
    modulus = str(key.as_dict(private=False)["n"])
    der = key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (key.as_pem(private=False), der, modulus.encode(), base64.urlsafe_b64decode(modulus + "==")):
        assert await visit.refusal(_by_hmac(visit, secret)) == "invalid_token"


async def test_wrong_claims(visit: Visit) -> None:
    """Expired, not yet issued, of another issuer, for another audience or for several, without subject, of another sign-in."""
    key, now = visit.provider.signing_key, int(time.time())
    wrong: list[dict[str, Any]] = [
        *({"exp": now - 61}, {"exp": None}, {"exp": "tomorrow"}, {"exp": True}, {"iat": now + 600}, {"iat": None}),
        *({"nbf": now + 600}, {"iss": "https://appleid.apple.com.evil.example"}, {"iss": None}, {"iss": ["x"]}),
        *({"aud": "org.example.other"}, {"aud": [APPLE_CLIENT, "org.example.other"]}, {"aud": []}, {"aud": None}, {"aud": 7}),
        *({"sub": ""}, {"sub": None}, {"sub": 7}, {"sub": "x" * 256}, {"sub": "a\x00b"}, {"sub": "é"}),
        *({"nonce": None}, {"nonce": ""}, {"nonce": "m" * 43}, {"nonce": ["n" * 43]}, {"nonce": "é" * 43}),
    ]
    for claims in wrong:
        said = {name: value for name, value in _claims(visit, **claims).items() if value is not None}
        token = _signed(visit, key, str(key.kid), said)
        assert await visit.refusal(token) == "invalid_token", claims


async def test_unverified_address_is_none(visit: Visit) -> None:
    """Only what Apple says to have verified, in either of its spellings, is an address."""
    key = visit.provider.signing_key
    for said in (True, "true", False, "false", "yes", None, 0, []):
        found = await visit.with_token(_signed(visit, key, str(key.kid), _claims(visit, email_verified=said)))
        assert found.email == ("anna@example.org" if said in (True, "true") else None), said
    for address in ("no address", "a@b@c", "x" * 300 + "@example.org", 7, None):
        token = _signed(visit, key, str(key.kid), _claims(visit, email=address))
        assert (await visit.with_token(token)).email is None


async def test_rotated_keys_are_fetched_again_but_not_on_demand(visit: Visit) -> None:
    """A key id that nobody has seen is looked up once; after that, forged ids cause no requests for a minute."""
    await visit.with_token(visit.provider.id_token(visit.nonce))
    visit.provider.signing_key = new_signing_key("second")
    identity = await visit.with_token(visit.provider.id_token(visit.nonce))
    assert identity.subject == "000123.abc.0456"
    assert len(visit.provider.received("/apple/keys")) == 2
    for number in range(5):
        token = _signed(visit, visit.provider.signing_key, f"made-up-{number}", _claims(visit))
        assert await visit.refusal(token) == "invalid_token"
    assert len(visit.provider.received("/apple/keys")) == 2
    await visit.with_token(visit.provider.id_token(visit.nonce))


async def test_odd_keys_beside_apples_are_passed_over(visit: Visit) -> None:
    """Keys of other kinds, without an id or broken do not hide the good one; a document without any is the provider's error."""
    good = visit.provider.signing_key.as_dict(private=False)
    odd: list[Any] = [
        {"kty": "EC", "kid": "e"},
        {"kty": "RSA", "n": "x", "e": "AQAB"},
        {"kty": "RSA", "kid": "b", "n": 7, "e": 1},
        7,
        None,
    ]
    token = visit.provider.id_token(visit.nonce)

    def publish(document: Any) -> None:
        async def answer(_request: Any) -> Response:
            return JSONResponse(document)

        visit.provider.answers["/apple/keys"] = answer

    for useless in ({"keys": odd}, {"keys": []}, {"keys": "x"}, [], 7):
        publish(useless)
        assert await visit.refusal(token) == "provider_error"
    publish({"keys": [*odd, good]})
    assert (await visit.with_token(token)).subject == "000123.abc.0456"


async def test_forged_token_makes_nothing(traveller: NewTraveller, provider: TinyProvider, owner: Owner) -> None:
    """Through the application: an id_token of another sign-in ends at the sign-in page."""
    provider.claims = {"nonce": "of another sign-in"}
    person = traveller()
    url = await person.go("apple")
    assert split(url)[1]["nonce"] != "of another sign-in"
    code, state = provider.consent(url)
    assert refused(await person.come_back("apple", {"code": code, "state": state})) == "invalid_token"
    assert await rows(owner) == {"users": 0, "identities": 0, "sessions": 0}
