"""What conversations, members and invites look like in answers, as the database writes them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field
from typing_extensions import TypedDict

from rustygpt.wire import Conversation, MemberRole, Page, Person, Snapshot


class ConversationPage(Snapshot):
    """One's own conversations, the most recently active first."""

    items: list[Conversation]


class Member(TypedDict):
    """Somebody in a conversation."""

    user_id: UUID
    email: str
    display_name: str
    role: MemberRole
    joined_at: datetime


class MemberPage(Page):
    """Members by the time of joining."""

    items: list[Member]


class Invite(TypedDict):
    """A link by which somebody can join, without its secret."""

    id: UUID
    conversation_id: UUID
    role: MemberRole
    email: Annotated[str | None, Field(description="Whom it is for; null for whoever has the link.")]
    max_uses: int
    uses: int
    created_by: Person
    created_at: datetime
    expires_at: datetime


class NewInvite(Invite):
    """An invite as it is shown once."""

    token: str
    url: str


class InvitePage(Page):
    """Invites by which somebody can still join, newest first."""

    items: list[Invite]


class Accepted(TypedDict):
    """What accepting an invite came to."""

    conversation_id: UUID
    role: MemberRole
    joined: Annotated[bool, Field(description="False for who was a member already, and stays what they were.")]
    conversation: Conversation
