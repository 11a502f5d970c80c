"""What one part of the process tells the others: that the log has grown, or that something was revoked.

Both are hints. Whoever misses one finds the truth in PostgreSQL within seconds, so nothing here may fail, block or be awaited.
"""

from typing import Literal, Protocol

from rustygpt.ids import Position

SignalKind = Literal["cancel", "session_revoked", "generation_queued", "limits_changed", "look"]
"""`cancel`: key is a message id; `session_revoked`: a session id; `generation_queued` and
`limits_changed`: empty.

`look`, with an empty key: something may have been missed; whoever keeps in memory what the database knows better asks it now.
"""


class Announcer(Protocol):
    """The bus as seen by those who write: it never raises and never waits."""

    def wake(self, position: Position) -> None:
        """Say that the event log has been committed up to *position*."""

    def signal(self, kind: SignalKind, key: str = "") -> None:
        """Say that *kind* happened to *key*."""
