"""Signing in by a provider, from leaving to coming back. Who comes back must be the browser that left, within ten minutes, once.

The guard is the pair of state and cookie: the state travels through the provider, the cookie does not, and the database holds hashes of
both. Neither an address nor a name decides which account somebody gets: the provider's subject does (`use_identity` has the exceptions).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from rustygpt.auth import procedures_oauth as procedures
from rustygpt.auth.identity import ExternalIdentity, Grant, Provider, ProviderName
from rustygpt.auth.oauth_failure import login_result, oauth_failed, reason_of
from rustygpt.auth.procedures_oauth import TakenState
from rustygpt.auth.sign_in import Caller, SignedIn, SignIn
from rustygpt.database.pool import Database
from rustygpt.errors import DomainError, NotFound
from rustygpt.ids import Position, SessionId, UserId
from rustygpt.live_settings import HasAuth
from rustygpt.observability.metrics import Metrics
from rustygpt.settings_oauth import OAuthSettings
from rustygpt.tokens import is_token, new_token, token_hash

MAX_CODE_CHARACTERS: Final = 2_048
DEADLINE_SECONDS: Final = 10.0
"""For all requests of one sign-in together: somebody is looking at an empty page meanwhile."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where to send the browser, and the cookie that it must bring back."""

    authorization_url: str
    browser_token: str


@dataclass(frozen=True, slots=True)
class Completion:
    """Whose account it is; `signed_in` is None when an account was linked and the session goes on as it was."""

    user_id: UserId
    signed_in: SignedIn | None


def build_providers(settings: OAuthSettings, deadline_seconds: float = DEADLINE_SECONDS) -> dict[ProviderName, Provider]:
    """Return those that are configured, in the order of identity.PROVIDERS. Raises SettingsError for a key that cannot be used."""
    providers: dict[ProviderName, Provider] = {}
    if settings.github.is_configured:
        from rustygpt.auth.github import GitHub  # authlib takes 0.15 s to import, which those without providers need not wait

        providers["github"] = GitHub(settings.github, deadline_seconds)
    if settings.apple.is_configured:
        from rustygpt.auth.apple import Apple

        providers["apple"] = Apple(settings.apple, deadline_seconds)
    return providers


class OAuth:
    """The way through a provider; *providers* are those that are configured."""

    def __init__(
        self,
        database: Database,
        sign_in: SignIn,
        providers: Mapping[ProviderName, Provider],
        live: HasAuth,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._sign_in = sign_in
        self._providers = providers
        self._live = live
        self._metrics = metrics

    def require_provider(self, name: ProviderName) -> Provider:
        """Raise NotFound unless *name* is configured."""
        if name not in self._providers:
            raise NotFound("Signing in by this provider is off.")
        return self._providers[name]

    @property
    def names(self) -> tuple[ProviderName, ...]:
        """The providers by which one can sign in."""
        return tuple(self._providers)

    async def begin(
        self,
        name: ProviderName,
        *,
        redirect_uri: str,
        redirect_to: str,
        browser_token: str,
        session_id: SessionId | None,
        invite_token: str | None = None,
    ) -> Beginning:
        """Remember who leaves. *browser_token* is the cookie that the browser has already, if any: two tabs may leave at once.

        With *session_id* an account is to be linked to that session's user; with *invite_token* a newcomer joins a conversation. Raises
        NotFound for a provider that is off, and OAuthFailed: invite_refused for what cannot be a token.
        """
        provider = self.require_provider(name)
        if invite_token is not None and not is_token(invite_token):
            raise oauth_failed("invite_refused")
        if not is_token(browser_token):
            browser_token = new_token()
        state, nonce, code_verifier = new_token(), new_token(), secrets.token_urlsafe(48)
        await procedures.begin_oauth(
            self._database,
            state_hash=token_hash(state),
            provider=name,
            browser_hash=token_hash(browser_token),
            code_verifier=code_verifier,
            nonce=nonce,
            redirect_uri=redirect_uri,
            redirect_to=redirect_to,
            session=session_id,
            invite_hash=None if invite_token is None else token_hash(invite_token),
        )
        url = provider.authorization_url(state=state, redirect_uri=redirect_uri, code_verifier=code_verifier, nonce=nonce)
        return Beginning(url, browser_token)

    async def take_state(self, name: ProviderName, state: str, browser_token: str) -> TakenState:
        """Return what this browser left with, once. Raises OAuthFailed: invalid_state or expired_state."""
        if name not in self._providers:
            raise oauth_failed("not_configured")
        if not is_token(state) or not is_token(browser_token):
            raise oauth_failed("invalid_state")
        taken = await procedures.take_oauth_state(
            self._database, state_hash=token_hash(state), provider=name, browser_hash=token_hash(browser_token)
        )
        if taken is None:
            raise oauth_failed("invalid_state")
        if taken.is_expired:
            raise oauth_failed("expired_state")
        return taken

    async def complete(
        self, name: ProviderName, grant: Grant, caller: Caller, *, session_id: SessionId | None, invite_hash: bytes | None
    ) -> Completion:
        """Redeem the code, then link the identity to the user of *session_id*, or sign in where that is None; a newcomer by the invite.

        Raises OAuthFailed, AccountDisabled, Unavailable, and Conflict when somebody makes an account of that address meanwhile.
        """
        if not _is_code(grant.code):
            raise oauth_failed("provider_error")
        identity = await self.require_provider(name).fetch_identity(grant)
        user_id = await self._account_of(identity, session_id, invite_hash)
        if session_id is not None:
            return Completion(user_id, None)
        signed_in = await self._sign_in.enter(user_id, caller)
        self._metrics.auth_logins_total.labels(name, "success").inc()
        return Completion(user_id, signed_in)

    def count_failure(self, name: ProviderName, error: DomainError) -> str:
        """Count and log a sign-in that came to nothing; return the word for it."""
        reason = reason_of(error)
        self._metrics.auth_logins_total.labels(name, login_result(reason)).inc()
        log.info("oauth_failed", provider=name, reason=reason)
        return reason

    async def _account_of(self, identity: ExternalIdentity, session_id: SessionId | None, invite_hash: bytes | None) -> UserId:
        used = await procedures.use_identity(
            self._database,
            provider=identity.provider,
            subject=identity.subject,
            email=identity.email,
            is_private_email=identity.is_private_email,
            display_name=identity.display_name,
            session=session_id,
            may_create=self._live.auth.signup,
            new_role=self._live.auth.new_role,
            new_status=self._live.auth.new_status,
            invite_hash=invite_hash,
        )
        if used.user_id is None:
            raise oauth_failed(used.outcome)
        if used.position is not None:
            self._sign_in.announce(Position(used.position))
        if used.outcome == "created":
            role = self._live.auth.new_role if invite_hash is None else "user"
            log.info("user_created", user_id=str(used.user_id), role=role, method=identity.provider)
        elif used.outcome == "linked":
            log.info("identity_linked", user_id=str(used.user_id), provider=identity.provider)
        return used.user_id


def _is_code(code: str) -> bool:
    """RFC 6749, appendix A.11: visible ASCII and spaces."""
    return 0 < len(code) <= MAX_CODE_CHARACTERS and code.isascii() and code.isprintable()
