"""Typed calls of the conversation procedures, one each, under the same names."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from rustygpt.database.call import Caller
from rustygpt.ids import ConversationId, UserId


@dataclass(frozen=True, slots=True)
class ChangedConversation:
    """A conversation as its member sees it; `position` is None when nothing new was written."""

    conversation: dict[str, Any]
    position: int | None


@dataclass(frozen=True, slots=True)
class UpdatedConversation(ChangedConversation):
    """The same after a change; `stopped` are the replies whose runners must be told, of a conversation that was archived."""

    stopped: list[UUID]


@dataclass(frozen=True, slots=True)
class EarlierAnswer:
    """What a POST with the same key was answered, or None."""

    answer: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """Conversations with their sort keys, all from the snapshot in which the log ended at `stream_cursor`."""

    items: list[dict[str, Any]]
    ats: list[datetime]
    ids: list[UUID]
    stream_cursor: str


@dataclass(frozen=True, slots=True)
class ChangedParticipant:
    """A member of a conversation; `position` is None when nothing new was written."""

    participant: dict[str, Any]
    position: int | None


@dataclass(frozen=True, slots=True)
class ParticipantRow:
    """One member in a list, with the sort key."""

    user_id: UUID
    joined_at: datetime
    participant: dict[str, Any]


async def create_conversation(
    database: Caller,
    *,
    actor: UserId,
    title: str,
    is_group: bool,
    model: str | None,
    system_prompt: str,
    assistant_mode: str | None,
    parameters: dict[str, Any],
    key: str | None,
) -> ChangedConversation:
    """Make a conversation owned by the actor. Raises Conflict for a key used otherwise."""
    return await database.one(
        "create_conversation",
        ChangedConversation,
        actor=actor,
        title=title,
        is_group=is_group,
        model=model,
        system_prompt=system_prompt,
        assistant_mode=assistant_mode,
        parameters=parameters,
        key=key,
    )


async def recall_conversation(
    database: Caller,
    *,
    actor: UserId,
    title: str,
    is_group: bool,
    model: str | None,
    system_prompt: str,
    assistant_mode: str | None,
    parameters: dict[str, Any],
    key: str | None,
) -> EarlierAnswer:
    """Find what create_conversation answered earlier. Raises Conflict for a key used otherwise."""
    return await database.one(
        "recall_conversation",
        EarlierAnswer,
        actor=actor,
        title=title,
        is_group=is_group,
        model=model,
        system_prompt=system_prompt,
        assistant_mode=assistant_mode,
        parameters=parameters,
        key=key,
    )


async def list_conversations(
    database: Caller, *, actor: UserId, before_at: datetime | None, before_id: UUID | None, limit: int
) -> ConversationPage:
    """List the actor's conversations, the most recently active first."""
    return await database.one(
        "list_conversations", ConversationPage, actor=actor, before_at=before_at, before_id=before_id, limit=limit
    )


async def get_conversation(database: Caller, *, actor: UserId, conversation: ConversationId) -> dict[str, Any]:
    """Return one conversation. Raises NotFound."""
    return await database.value("get_conversation", dict, actor=actor, conversation=conversation)


async def update_conversation(
    database: Caller, *, actor: UserId, conversation: ConversationId, changes: dict[str, Any]
) -> UpdatedConversation:
    """Change what *changes* names. Raises NotFound, Forbidden."""
    return await database.one("update_conversation", UpdatedConversation, actor=actor, conversation=conversation, changes=changes)


async def list_participants(
    database: Caller,
    *,
    actor: UserId,
    conversation: ConversationId,
    after_at: datetime | None,
    after_id: UUID | None,
    limit: int,
) -> list[ParticipantRow]:
    """List members by joining time. Raises NotFound."""
    return await database.many(
        "list_participants",
        ParticipantRow,
        actor=actor,
        conversation=conversation,
        after_at=after_at,
        after_id=after_id,
        limit=limit,
    )


async def add_participant(
    database: Caller,
    *,
    actor: UserId,
    conversation: ConversationId,
    user: UUID | None,
    email: str | None,
    role: str,
    key: str | None,
) -> ChangedParticipant:
    """Bring somebody in, by id or by address. Raises NotFound, Forbidden, Conflict."""
    return await database.one(
        "add_participant",
        ChangedParticipant,
        actor=actor,
        conversation=conversation,
        user=user,
        email=email,
        role=role,
        key=key,
    )


async def update_participant(
    database: Caller, *, actor: UserId, conversation: ConversationId, user: UUID, role: str
) -> ChangedParticipant:
    """Give a member another role. Raises NotFound, Forbidden, Conflict."""
    return await database.one(
        "update_participant", ChangedParticipant, actor=actor, conversation=conversation, user=user, role=role
    )


async def remove_participant(database: Caller, *, actor: UserId, conversation: ConversationId, user: UUID) -> int:
    """Take a member out and return the position of that event. Raises NotFound, Forbidden, Conflict."""
    return await database.value("remove_participant", int, actor=actor, conversation=conversation, user=user)
