"""What one part of the process tells the others: that the log has grown, that something was revoked, or how things stand right now.

All three are hints. Whoever misses one finds the truth in PostgreSQL within seconds, so nothing here may fail, block or be awaited.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from rustygpt.ids import Position

SignalKind = Literal[
    "cancel", "session_revoked", "generation_queued", "limits_changed", "models_changed", "settings_changed", "look"
]
"""`cancel`: key is a message id; `session_revoked`: a session id; `generation_queued`,
`limits_changed` and `settings_changed`: empty; `models_changed`: a job of the model library, or empty.

`look`, with an empty key: something may have been missed; whoever keeps in memory what the database knows better asks it now.
"""

TransientType = Literal["generation.queued", "presence.update", "typing.update"]
"""Events that say how things stand and are never stored."""


@dataclass(frozen=True, slots=True)
class Transient:
    """State, not history: of one conversation, audience, type and *key* only the last is worth anything.

    `audience_user_id`: one member alone, None for all. `payload` is what readers get; JSON, a few hundred bytes.
    """

    conversation_id: UUID
    audience_user_id: UUID | None
    type: TransientType
    key: str
    payload: dict[str, Any]

    @property
    def place(self) -> tuple[UUID, UUID | None, str, str]:
        """What a later one with the same place makes worthless."""
        return self.conversation_id, self.audience_user_id, self.type, self.key


class Announcer(Protocol):
    """The bus as seen by those who write: it never raises and never waits."""

    def wake(self, position: Position) -> None:
        """Say that the event log has been committed up to *position*."""

    def signal(self, kind: SignalKind, key: str = "") -> None:
        """Say that *kind* happened to *key*."""

    def transient(self, transient: Transient) -> None:
        """Tell the readers of a conversation how things stand."""
