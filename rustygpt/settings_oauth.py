"""The settings of signing in with GitHub and Apple: a provider is on when its credentials are all there, off when none is, never between.

Addresses alone switch nothing on: some build machines set GITHUB_API_URL for everybody. No message here repeats a value.
"""

from typing import Annotated

from pydantic import Field, SecretStr, model_validator

from rustygpt.settings_table import HttpUrl, Table

Address = Annotated[HttpUrl, Field(min_length=1)]


def _require_all(credentials: dict[str, str], has_more: bool) -> None:  # noqa: FBT001 - one caller each
    """Raise ValueError naming what is missing, where something but not everything is given."""
    missing = [name for name, value in credentials.items() if not value]
    if missing and (has_more or len(missing) < len(credentials)):
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"{', '.join(missing)} {verb} missing; a provider needs all of its credentials, or none to be off")


class GitHubSettings(Table):
    """`[oauth.github]`"""

    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    redirect_uri: HttpUrl = ""
    auth_url: Address = "https://github.com/login/oauth/authorize"
    token_url: Address = "https://github.com/login/oauth/access_token"  # noqa: S105 - an address
    api_url: Address = "https://api.github.com"

    @property
    def is_configured(self) -> bool:
        """Whether people can sign in with GitHub."""
        return bool(self.client_id)

    @model_validator(mode="after")
    def _all_or_nothing(self) -> "GitHubSettings":
        given = {"client_id": self.client_id, "client_secret": self.client_secret.get_secret_value()}
        _require_all(given, bool(self.redirect_uri))
        return self


class AppleSettings(Table):
    """`[oauth.apple]`"""

    client_id: str = ""
    team_id: str = ""
    key_id: str = ""
    private_key: SecretStr = SecretStr("")
    private_key_path: str = ""
    redirect_uri: HttpUrl = ""
    auth_url: Address = "https://appleid.apple.com/auth/authorize"
    token_url: Address = "https://appleid.apple.com/auth/token"  # noqa: S105 - an address
    keys_url: Address = "https://appleid.apple.com/auth/keys"
    issuer: Annotated[str, Field(min_length=1)] = "https://appleid.apple.com"

    @property
    def is_configured(self) -> bool:
        """Whether people can sign in with Apple."""
        return bool(self.client_id)

    @model_validator(mode="after")
    def _all_or_nothing(self) -> "AppleSettings":
        key, path = self.private_key.get_secret_value(), self.private_key_path
        if key and path:
            raise ValueError("private_key and private_key_path are both set; leave one of them out")
        given = {
            "client_id": self.client_id,
            "team_id": self.team_id,
            "key_id": self.key_id,
            "private_key (or private_key_path)": key or path,
        }
        _require_all(given, bool(self.redirect_uri))
        return self


class OAuthSettings(Table):
    """`[oauth]`"""

    manual_enabled: bool = False
    github: GitHubSettings = GitHubSettings()
    apple: AppleSettings = AppleSettings()
