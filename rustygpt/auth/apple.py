"""Signing in with Apple: OpenID Connect whose answer is posted. A person is the subject of an id_token that Apple signed for us, now.

Nothing but that token is believed. The name comes unsigned, at the first sign-in only, so it is taken for display and cut to size.
"""

import hmac
import json
from typing import Any, Final

from authlib.oauth2.client import OAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact
from joserfc.jwt import JWTClaimsRegistry

from rustygpt.auth.apple_keys import AppleKeys
from rustygpt.auth.apple_secret import AppleClientSecret
from rustygpt.auth.identity import MAX_SUBJECT_CHARACTERS, ExternalIdentity, Grant, ProviderName, display_name, verified_email
from rustygpt.auth.oauth_failure import oauth_failed
from rustygpt.auth.provider_http import ProviderHttp
from rustygpt.settings_oauth import AppleSettings

SCOPE: Final = "name email"
ALGORITHMS: Final = ("RS256",)
LEEWAY_SECONDS: Final = 60
"""Between our clock and Apple's."""
MAX_TOKEN_CHARACTERS: Final = 16_384
MAX_PROFILE_CHARACTERS: Final = 4_096


class Apple:
    """Apple. *deadline_seconds* is for one sign-in. Raises SettingsError when the private key cannot be used."""

    name: ProviderName = "apple"

    def __init__(self, settings: AppleSettings, deadline_seconds: float) -> None:
        self._settings = settings
        self._http = ProviderHttp("apple", deadline_seconds)
        self._secret = AppleClientSecret(settings)
        self._keys = AppleKeys(settings.keys_url, self._http)
        self.redirect_uri = settings.redirect_uri

    def authorization_url(self, *, state: str, redirect_uri: str, code_verifier: str, nonce: str) -> str:
        """Return where the browser is sent. Apple knows no PKCE; it posts the answer, as it must where a name is asked for."""
        client = OAuth2Client(None, self._settings.client_id, scope=SCOPE)
        url, _ = client.create_authorization_url(
            self._settings.auth_url, state=state, redirect_uri=redirect_uri, nonce=nonce, response_mode="form_post"
        )
        return str(url)

    async def fetch_identity(self, grant: Grant) -> ExternalIdentity:
        """Redeem the code and check the id_token. Raises OAuthFailed."""
        settings = self._settings
        async with (
            self._http.exchange(),
            await self._http.oauth_client(settings.token_url, settings.client_id, self._secret.current()) as client,
        ):
            # The verifier was never announced to Apple, so it is not shown either.
            token = await self._http.redeem(client, settings.token_url, Grant(grant.code, grant.redirect_uri))
            claims = await self._claims(token.get("id_token"), grant.nonce)
            is_verified = claims.get("email_verified") in (True, "true")
            return ExternalIdentity(
                provider="apple",
                subject=claims["sub"],
                email=verified_email(claims.get("email")) if is_verified else None,
                is_private_email=claims.get("is_private_email") in (True, "true"),
                display_name=display_name(_name_in(grant.profile), "Apple user"),
            )

    async def _claims(self, id_token: object, nonce: str | None) -> dict[str, Any]:
        """Check signature, issuer, audience, times, subject and nonce (None: a sign-in by hand has none). Raises OAuthFailed."""
        if not isinstance(id_token, str) or len(id_token) > MAX_TOKEN_CHARACTERS:
            raise oauth_failed("invalid_token")
        try:
            key_id = extract_compact(id_token.encode()).headers().get("kid")
            if not isinstance(key_id, str) or not key_id:
                raise oauth_failed("invalid_token")
            keys = await self._keys.with_key(key_id)
            claims = jwt.decode(id_token, keys, algorithms=ALGORITHMS).claims
            self._registry().validate(claims)
        except (JoseError, UnicodeError, RecursionError):
            raise oauth_failed("invalid_token") from None
        subject, audience = claims["sub"], claims["aud"]
        if not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isascii() or not subject.isprintable():
            raise oauth_failed("invalid_token")
        if audience not in (self._settings.client_id, [self._settings.client_id]):
            raise oauth_failed("invalid_token")  # a token for several is good for whichever of them is careless
        said = claims.get("nonce")
        if nonce is not None and not (
            isinstance(said, str) and hmac.compare_digest(said.encode(errors="replace"), nonce.encode())
        ):
            raise oauth_failed("invalid_token")
        return claims

    def _registry(self) -> JWTClaimsRegistry:
        return JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )


def _name_in(profile: str) -> str | None:
    """Return the name in Apple's form field `user`, or None where there is none that can be read."""
    if not profile or len(profile) > MAX_PROFILE_CHARACTERS:
        return None
    try:
        document = json.loads(profile)
    except (ValueError, RecursionError):
        return None
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, dict):
        return None
    parts = [part for key in ("firstName", "lastName") if isinstance(part := name.get(key), str)]
    return " ".join(parts) or None
