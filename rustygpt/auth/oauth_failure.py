"""Why a sign-in by a provider came to nothing: one word for the page's address and one sentence for people; neither tells a secret."""

from collections.abc import Mapping
from typing import Final

from rustygpt.errors import AccountDisabled, BadRequest, Conflict, DomainError, OAuthFailed, TooLarge, UnsupportedMedia

DETAILS: Final[Mapping[str, str]] = {
    "access_denied": "You did not allow the sign-in at the provider.",
    "account_disabled": "This account is disabled.",
    "already_linked": "Another account of this provider is linked to this account already.",
    "cross_site": "Another site began this. Link an account from your settings.",
    "email_taken": "There is an account with this e-mail address. Sign in to it first, then link the provider in its settings.",
    "email_unverified": "The provider did not tell a verified e-mail address.",
    "expired_state": "The sign-in took longer than ten minutes.",
    "identity_taken": "This account of the provider belongs to somebody else here.",
    "invalid_request": "The provider's answer could not be read.",
    "invalid_state": "This sign-in was not begun in this browser, or it was used already.",
    "invalid_token": "What the provider sent does not prove who you are.",
    "invite_refused": "The invite cannot be used: it was used or revoked, has expired, or is for another e-mail address.",
    "not_configured": "Signing in by this provider is off.",
    "provider_error": "The provider refused the sign-in.",
    "provider_unavailable": "The provider does not answer.",
    "session_ended": "Your session ended meanwhile. Sign in again, then link the account.",
    "signup_disabled": "There is no account for you here, and sign-up is off.",
    "unavailable": "The server cannot do this right now.",
}
"""docs/reference/errors.md lists them too; a test compares."""

_TROUBLE: Final = frozenset({"provider_error", "provider_unavailable", "unavailable"})


def oauth_failed(reason: str) -> OAuthFailed:
    """Build the error of a word of DETAILS."""
    return OAuthFailed(reason, DETAILS[reason])


def reason_of(error: DomainError) -> str:
    """Return the word for whatever went wrong on the way back from a provider."""
    match error:
        case OAuthFailed():
            return error.reason
        case AccountDisabled():
            return "account_disabled"
        case BadRequest() | TooLarge() | UnsupportedMedia():
            return "invalid_request"
        case Conflict():
            return "email_taken"  # somebody made an account of that address at the same moment
        case _:
            return "unavailable"


def login_result(reason: str) -> str:
    """Return the metric's label for a failure."""
    if reason == "account_disabled":
        return "disabled"
    return "error" if reason in _TROUBLE else "refused"
