"""Signing in with GitHub: OAuth 2.0 with PKCE (S256). A person is GitHub's numeric id; their address counts only if primary and verified.

The access token is used for two requests and then forgotten: RustyGPT wants to know who somebody is, nothing else.
"""

from typing import Any, Final

import httpx2
from authlib.oauth2.client import OAuth2Client

from rustygpt.auth.identity import ExternalIdentity, Grant, ProviderName, display_name, verified_email
from rustygpt.auth.provider_http import ProviderHttp, json_of
from rustygpt.settings_oauth import GitHubSettings

SCOPE: Final = "read:user user:email"
HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
MAX_EMAILS: Final = 100
"""One page of the list is enough: GitHub puts the primary address first."""


class GitHub:
    """GitHub, or a GitHub Enterprise server by other addresses. *deadline_seconds* is for one sign-in."""

    name: ProviderName = "github"

    def __init__(self, settings: GitHubSettings, deadline_seconds: float) -> None:
        self._settings = settings
        self._http = ProviderHttp("github", deadline_seconds)
        self.redirect_uri = settings.redirect_uri

    def authorization_url(self, *, state: str, redirect_uri: str, code_verifier: str, nonce: str) -> str:
        """Return where the browser is sent. GitHub has no id_token, so the nonce stays at home."""
        client = OAuth2Client(None, self._settings.client_id, scope=SCOPE, code_challenge_method="S256")
        url, _ = client.create_authorization_url(
            self._settings.auth_url, state=state, code_verifier=code_verifier, redirect_uri=redirect_uri
        )
        return str(url)

    async def fetch_identity(self, grant: Grant) -> ExternalIdentity:
        """Redeem the code and ask who it is for. Raises OAuthFailed."""
        settings = self._settings
        async with (
            self._http.exchange(),
            await self._http.oauth_client(
                settings.token_url, settings.client_id, settings.client_secret.get_secret_value()
            ) as client,
        ):
            await self._http.redeem(client, settings.token_url, grant)
            user = json_of(await client.get(f"{settings.api_url}/user", headers=HEADERS))
            emails = await client.get(f"{settings.api_url}/user/emails", params={"per_page": MAX_EMAILS}, headers=HEADERS)
            return _identity(user, emails)


def _identity(user: object, emails: httpx2.Response) -> ExternalIdentity:
    """Raises ValueError when the answer is not GitHub's."""
    if not isinstance(user, dict) or not isinstance(user.get("id"), int) or isinstance(user["id"], bool) or user["id"] <= 0:
        raise ValueError("not a user of GitHub")
    # Who revoked the scope user:email is told 403 or 404: somebody without an address, not an error.
    email = None if emails.status_code in (403, 404) else _primary(json_of(emails))
    return ExternalIdentity(
        provider="github",
        subject=str(user["id"]),
        email=email,
        is_private_email=bool(email and email.lower().endswith("@users.noreply.github.com")),
        display_name=display_name(user.get("name"), user.get("login"), "GitHub user"),
    )


def _primary(emails: Any) -> str | None:
    if not isinstance(emails, list):
        raise TypeError("not a list of addresses")
    found = [e for e in emails if isinstance(e, dict) and e.get("primary") is True and e.get("verified") is True]
    return verified_email(found[0].get("email")) if len(found) == 1 else None
