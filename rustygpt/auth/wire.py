"""What accounts, sessions and keys look like in answers. No shape here has a place for a session's token or a hash of anything."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.auth.actor import Scope, UserRole
from rustygpt.auth.identity import ProviderName
from rustygpt.auth.models import User, UserStatus
from rustygpt.auth.procedures_oauth import ListedIdentity
from rustygpt.wire import Page


class SetupState(TypedDict):
    """Whether there is an administrator, and which ways in there are."""

    is_setup: bool
    oauth: Annotated[list[ProviderName], Field(description="The providers that are on.")]
    signup: Annotated[bool, Field(description="Whether anyone may make an account.")]


class Session(TypedDict):
    """A session, without its token."""

    id: UUID
    issued_at: datetime
    expires_at: Annotated[datetime, Field(description="If nothing happens until then.")]
    absolute_expires_at: Annotated[datetime, Field(description="Whatever happens.")]


class SignedIn(TypedDict):
    """Who is signed in now. The session's token is in a cookie."""

    user: User
    session: Session
    csrf_token: Annotated[str, Field(description="Also in the cookie CSRF-TOKEN; to be sent in the header X-CSRF-TOKEN.")]


class Registered(SignedIn):
    """A new account, which is signed in now."""

    id: UUID
    email: str
    display_name: str
    role: UserRole
    status: UserStatus
    created_at: datetime


class Me(TypedDict):
    """Who asks."""

    user: User
    session: Annotated[Session | None, Field(description="Null for an API key.")]


class ActiveSession(TypedDict):
    """One of one's own sessions."""

    id: UUID
    is_current: bool
    device: Annotated[str, Field(description="Browser and system in words.")]
    user_agent: str | None
    ip: str | None
    issued_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime


class ActiveSessionPage(Page):
    """One's own sessions, newest first."""

    items: list[ActiveSession]


class Identities(Page):
    """One's own accounts at providers."""

    items: list[ListedIdentity]
    has_password: Annotated[bool, Field(description="Whether there is a password beside them.")]


class AuthorizationUrl(TypedDict):
    """Where to send the browser."""

    authorization_url: str


class ApiKey(TypedDict):
    """One of one's own API keys."""

    id: UUID
    name: str
    hint: Annotated[str, Field(description="How it begins.")]
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]


class NewApiKey(ApiKey):
    """A key as it is shown once."""

    key: str


class ApiKeyPage(Page):
    """One's own live keys, newest first."""

    items: list[ApiKey]


class UserPage(Page):
    """Accounts, newest first."""

    items: list[User]
