"""What a provider vouches for. Everything in an ExternalIdentity is checked and bounded; an address is there only if it was verified."""

import unicodedata
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from rustygpt.auth.fields import MAX_NAME_CHARACTERS, check_display_name, check_email

ProviderName = Literal["github", "apple"]
PROVIDERS: Final[tuple[ProviderName, ...]] = get_args(ProviderName)

MAX_SUBJECT_CHARACTERS: Final = 255
"""OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters."""


@dataclass(frozen=True, slots=True)
class ExternalIdentity:
    """A person at a provider. *email* is None where the provider did not verify one."""

    provider: ProviderName
    subject: str
    email: str | None
    is_private_email: bool
    display_name: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a browser brought back, and what it left with. `code_verifier` and `nonce` are None in a sign-in by hand.

    `profile` is Apple's form field `user`, which is there at the first sign-in only, and which nobody has signed.
    """

    code: str
    redirect_uri: str
    code_verifier: str | None = None
    nonce: str | None = None
    profile: str = ""


class Provider(Protocol):
    """Somewhere people have accounts. `redirect_uri` is the configured one, or empty."""

    name: ProviderName
    redirect_uri: str

    def authorization_url(self, *, state: str, redirect_uri: str, code_verifier: str, nonce: str) -> str:
        """Return where the browser is sent."""
        ...

    async def fetch_identity(self, grant: Grant) -> ExternalIdentity:
        """Redeem the code. Raises OAuthFailed with the reason provider_error, provider_unavailable or invalid_token."""
        ...


def verified_email(value: object) -> str | None:
    """Return what a provider calls a verified address, or None where no account could have it."""
    try:
        return check_email(value) if isinstance(value, str) else None
    except ValueError:
        return None


def display_name(*candidates: object) -> str:
    """Return the first candidate that can be shown, cut to 80 characters. One of them must be a sure one."""
    for candidate in candidates:
        if not isinstance(candidate, str):
            continue
        seen = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in candidate[: MAX_NAME_CHARACTERS * 4])
        try:
            return check_display_name(" ".join(seen.split())[:MAX_NAME_CHARACTERS])
        except ValueError:
            continue
    raise ValueError("no name can be shown")
