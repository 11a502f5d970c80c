"""Which positions of the log a received frame stands for, and whether it says the same as they do.

A frame as stored stands for one position. A merged delta stands for as many as its numbers say; a stream.gap announces those that it
leaves out, and the frame that closes its block has the id of the block's end. Each distinct frame is looked up once, however many readers got it.
"""

from dataclasses import dataclass, field
from typing import Any

from tests.soak.history import History, Row
from tests.soak.ledger import Ledger, Received, digest_of


@dataclass(slots=True)
class Coverage:
    """*history* and *ledger* in one place. Without an id, a frame is found by what it names."""

    history: History
    ledger: Ledger
    _known: dict[tuple[int, int, str], tuple[tuple[int, ...], str | None]] = field(default_factory=dict)
    _by_prev: dict[tuple[str, str | None, int], Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.history.rows:
            if row.conversation_id is not None:
                self._by_prev[row.conversation_id, row.audience, row.prev] = row

    def of(self, position: int, number: int, user_id: str) -> tuple[tuple[int, ...], str | None]:
        """Return the positions that a frame stands for, and what is wrong with it (None: nothing). *position* 0: it had no id."""
        key = (position, number, "" if position else user_id)
        if key not in self._known:
            self._known[key] = self._look(position, self.ledger.frames[number], user_id)
        return self._known[key]

    def announced(self, gap: dict[str, Any], user_id: str, conversation_id: str | None) -> list[int]:
        """Return the positions that a stream.gap says are left out for this reader."""
        first, last = int(gap["from"].rpartition("-")[2]), int(gap["to"].rpartition("-")[2])
        if "message_id" in gap:
            deltas = self.history.deltas[gap["message_id"]]
            return [row.position for row in deltas if gap["from_idx"] <= row.idx <= gap["to_idx"]]
        hole = [position for position in self.history.rights(user_id, conversation_id, first) if position <= last]
        if gap["reason"] != "slow_consumer":
            return hole
        kinds = {position: self.history.rows[position - 1] for position in hole}
        return [p for p, row in kinds.items() if row.type == "thread.activity" and row.conversation_id == gap["conversation_id"]]

    def _look(self, position: int, frame: Received, user_id: str) -> tuple[tuple[int, ...], str | None]:
        if frame.type == "message.delta":
            return self._look_at_delta(position, frame)
        row = self.history.at(position)
        if row is None or (row.conversation_id, row.prev) != (frame.conversation_id, frame.prev):
            row = self._find(frame, user_id)
        if row is None or (position and row.position > position):
            return (), f"{frame.type} after {frame.prev} of {frame.conversation_id} is not in the log, or not yet at {position}"
        is_same = (frame.type, frame.conversation_id, frame.prev, frame.digest) == (
            row.type,
            row.conversation_id,
            row.prev,
            row.digest,
        )
        return (
            row.position,
        ), None if is_same else f"{frame.type}, prev {frame.prev}, is not what the log has: {row.type}, prev {row.prev}"

    def _look_at_delta(self, position: int, frame: Received) -> tuple[tuple[int, ...], str | None]:
        rows = self.history.deltas[frame.message_id or ""][frame.idx_from : frame.idx + 1]
        if [row.idx for row in rows] != list(range(frame.idx_from, frame.idx + 1)) or not rows:
            return (), f"pieces {frame.idx_from} to {frame.idx} of {frame.message_id} are not in the log"
        positions = tuple(row.position for row in rows)
        if position and positions[-1] != position:
            return positions, f"piece {frame.idx} of {frame.message_id} is at {positions[-1]}, not {position}"
        if frame.prev != rows[0].prev:
            return positions, f"piece {frame.idx_from} of {frame.message_id} has prev {rows[0].prev}, not {frame.prev}"
        if frame.digest != digest_of("".join(row.text for row in rows).encode()):
            return positions, f"pieces {frame.idx_from} to {frame.idx} of {frame.message_id} have another text"
        return positions, None

    def _find(self, frame: Received, user_id: str) -> Row | None:
        audience = user_id if frame.type == "unread.update" else None
        return self._by_prev.get((frame.conversation_id or "", audience, frame.prev))
