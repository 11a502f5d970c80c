"""What was received, once for all readers: each distinct frame is parsed and digested one time, a reader keeps numbers of frames.

A frame is what follows the `id` line. Frames without an id belong to the next id: a client that is cut in between goes back to the id
before them, so they count only once that next id has come.
"""

from array import array
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson

from rustygpt.streaming.events import LOGGED_TYPES


def digest_of(data: bytes) -> int:
    """Return 64 bits that stand for *data*."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def digest_of_payload(payload: Any) -> int:
    """Digest a payload by what it says, however it was written."""
    return digest_of(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS))


@dataclass(frozen=True, slots=True)
class Received:
    """One distinct frame. A delta's digest is that of its text; *payload* is kept for what the stream says of itself."""

    type: str
    conversation_id: str | None
    prev: int
    digest: int
    at: float = 0.0
    message_id: str | None = None
    idx_from: int = 0
    idx: int = 0
    payload: Any = None

    @property
    def is_logged(self) -> bool:
        """Say whether it is an event of the log; an `error` may also be the stream's own."""
        return self.type in LOGGED_TYPES and self.conversation_id is not None


class Ledger:
    """All distinct frames by number."""

    def __init__(self) -> None:
        self.frames: list[Received] = []
        self._numbers: dict[bytes, int] = {}

    def take(self, block: bytes) -> tuple[str | None, int]:
        """Return a block's id, and the number of its frame."""
        cursor = None
        if block.startswith(b"id: "):
            line, _, block = block.partition(b"\n")
            cursor = line[4:].decode()
        key = blake2b(block, digest_size=16).digest()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.frames)
            self.frames.append(_parse(block))
        return cursor, number


@dataclass(slots=True)
class Record:
    """What one reader got: the positions of ids in the order they came (0: no id of its own), and the frames.

    *first* is where the reader began. *discarded* counts frames whose id never came.
    """

    first: int | None = None
    last: int = 0
    positions: "array[int]" = field(default_factory=lambda: array("q"))
    frames: "array[int]" = field(default_factory=lambda: array("L"))
    discarded: int = 0
    _pending: list[int] = field(default_factory=list)

    def begin(self, position: int) -> None:
        """Note the first cursor."""
        self.first = self.last = position

    def add(self, position: int | None, number: int) -> None:
        """Take a frame."""
        if position is None:
            self._pending.append(number)
            return
        for earlier in self._pending:
            self.positions.append(0)
            self.frames.append(earlier)
        self._pending.clear()
        self.positions.append(position)
        self.frames.append(number)
        self.last = position

    def cut(self) -> None:
        """The connection is gone: what had no id yet will come again."""
        self.discarded += len(self._pending)
        self._pending.clear()


def _parse(block: bytes) -> Received:
    kind, _, data = block.partition(b"\n")
    body = orjson.loads(data.removeprefix(b"data: "))
    payload, name = body["payload"], kind.removeprefix(b"event: ").decode()
    if body["type"] != name:
        raise ValueError(f"the frame {block[:200]!r} does not agree with itself")
    at = datetime.fromisoformat(body["at"]).timestamp() if body["at"] else 0.0
    place = (name, body["conversation_id"], body["prev"] or 0)
    if name == "message.delta":
        idx = payload["idx"]
        text = payload["choices"][0]["delta"]["content"].encode()
        return Received(*place, digest_of(text), at, payload["message_id"], payload.get("idx_from", idx), idx)
    kept = payload if name.startswith("stream.") or name in {"membership.changed", "error"} else None
    return Received(*place, digest_of_payload(payload), at, payload=kept)
