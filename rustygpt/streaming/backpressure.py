"""What a reader that falls behind gets instead of single frames. Pure.

Level 1 merges neighbouring deltas of one message: exact, the id is that of the last. Level 2 compacts a block: all its deltas of a message
become one, and only the block's last frame has an id, so that a cut inside the block replays all of it; nothing is lost. Level 3 leaves deltas
out and says so, once a message. Merging past other events while keeping ids would lose data: after a cut the reader resumes behind what
it never got.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import groupby
from typing import Any, Final, Literal
from uuid import UUID

from rustygpt.observability.metrics import Metrics
from rustygpt.streaming.cursor import Cursor
from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.frames import Frame, encode_control, encode_event

MAX_LAG_BYTES: Final = 1_048_576
"""Beyond this a reader is at level 3, however few its events are."""
MERGED_CHARACTERS: Final = 65_536
"""A merged delta's text stays below this, so that one frame is never much larger than a block."""


DropStrategy = Literal["drop_tokens", "drop_tokens_and_system"]

_DROPPED: Final[Mapping[DropStrategy, frozenset[str]]] = {
    "drop_tokens": frozenset({"message.delta"}),
    "drop_tokens_and_system": frozenset({"message.delta", "thread.activity"}),
}


_TRANSIENTS_DROPPED: Final = frozenset({"presence.update", "typing.update"})
"""A place in the queue is told once and stays: that one is sent."""


class Level(IntEnum):
    """How far behind a reader is."""

    AS_STORED = 0
    MERGED = 1
    COMPACTED = 2
    DROPPED = 3


@dataclass(frozen=True, slots=True)
class Block:
    """What to send for a run of frames: `data`, and what became of the events."""

    data: bytes
    sent: dict[str, int]
    coalesced: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    gaps: int = 0

    def count_in(self, metrics: Metrics) -> None:
        """Count what a slow reader got merged, or did not get."""
        metrics.sse_events_coalesced_total.inc(self.coalesced)
        for kind, count in self.dropped.items():
            metrics.sse_events_dropped_total.labels(kind, "slow_consumer").inc(count)
        if self.gaps:
            metrics.sse_gap_total.labels("slow_consumer").inc(self.gaps)


def level_of(events: int, size_bytes: int, capacity: int) -> Level:
    """Return the level of a reader that lacks *events* frames of *size_bytes* together; *capacity* is sse.channel_capacity."""
    if events > 8 * capacity or size_bytes > MAX_LAG_BYTES:
        return Level.DROPPED
    if events > 2 * capacity:
        return Level.COMPACTED
    return Level.MERGED if events > capacity else Level.AS_STORED


def transients_dropped(level: Level, strategy: DropStrategy) -> frozenset[str]:
    """Return the types of state that a reader at *level* is not sent, however little it is."""
    is_dropped = level is Level.DROPPED and strategy == "drop_tokens_and_system"
    return _TRANSIENTS_DROPPED if is_dropped else frozenset()


def build_block(frames: Sequence[Frame], level: Level, epoch: str, strategy: DropStrategy = "drop_tokens") -> Block:
    """Encode *frames*, which are in position order, at *level*. At least one frame; *strategy* says what level 3 leaves out."""
    match level:
        case Level.AS_STORED:
            return Block(b"".join([frame.data for frame in frames]), _count(frames))
        case Level.MERGED:
            merged = list(_merge_neighbours(frames, epoch))
            return Block(b"".join([frame.data for frame in merged]), _count(merged), coalesced=len(frames) - len(merged))
        case Level.COMPACTED:
            kept = _compact(frames, epoch)
            return Block(_with_last_id(kept), _count(kept), coalesced=len(frames) - len(kept))
        case Level.DROPPED:
            return _drop(frames, epoch, _DROPPED[strategy])


def merge(run: Sequence[Frame], epoch: str) -> Frame:
    """Make one delta of several of one message, in order: the last one's place, the first one's `prev` and number."""
    if len(run) == 1:
        return run[0]
    first, last = run[0].event, run[-1].event
    text = "".join([frame.event.content or "" for frame in run])
    return encode_event(replace(last, prev=first.prev, content=text), epoch, idx_from=first.idx)


def _merge_neighbours(frames: Sequence[Frame], epoch: str) -> Iterable[Frame]:
    for message_id, group in groupby(frames, key=_delta_of):
        run = list(group)
        if message_id is None or len(run) == 1:
            yield from run
        else:
            yield from (merge(part, epoch) for part in _parts(run))


def _parts(run: Sequence[Frame]) -> Iterable[list[Frame]]:
    """Cut a run of deltas so that no merged text grows beyond MERGED_CHARACTERS."""
    part: list[Frame] = []
    size = 0
    for frame in run:
        length = len(frame.event.content or "")
        if part and size + length > MERGED_CHARACTERS:
            yield part
            part, size = [], 0
        part.append(frame)
        size += length
    yield part


def _compact(frames: Sequence[Frame], epoch: str) -> list[Frame]:
    """One delta a message, at the place of its last: after the message was created, before it is done."""
    deltas: dict[UUID, list[Frame]] = {}
    for frame in frames:
        if (message_id := _delta_of(frame)) is not None:
            deltas.setdefault(message_id, []).append(frame)
    last_of = {run[-1].position: run for run in deltas.values()}
    kept: list[Frame] = []
    for frame in frames:
        if _delta_of(frame) is None:
            kept.append(frame)
        elif (run := last_of.get(frame.position)) is not None:
            kept += [merge(part, epoch) for part in _parts(run)]
    return kept


def _drop(frames: Sequence[Frame], epoch: str, kinds: frozenset[str]) -> Block:
    """Leave *kinds* out; a stream.gap for each message, and for each conversation whose activity is left out, names what is missing."""
    kept = [frame for frame in frames if frame.type not in kinds]
    left_out = [frame for frame in frames if frame.type in kinds]
    holes: dict[UUID | None, list[LoggedEvent]] = {}
    for frame in left_out:
        event = frame.event
        holes.setdefault(event.message_id if frame.type == "message.delta" else event.conversation_id, []).append(event)
    # The gaps come first: a reader that hears of message.done knows by then that it must fetch the text.
    gaps = [_gap(epoch, events) for events in holes.values()]
    end = Cursor(epoch, frames[-1].position)
    parts = [encode_control("stream.gap", gap) for gap in gaps]
    if kept:
        parts.append(_with_last_id(kept, end))
    elif gaps:
        parts[-1] = encode_control("stream.gap", gaps[-1], cursor=end)
    return Block(b"".join(parts), {**_count(kept), "stream.gap": len(gaps)}, dropped=_count(left_out), gaps=len(gaps))


def _gap(epoch: str, events: Sequence[LoggedEvent]) -> dict[str, Any]:
    first, last = events[0], events[-1]
    gap: dict[str, Any] = {
        "reason": "slow_consumer",
        "from": str(Cursor(epoch, first.position - 1)),
        "to": str(Cursor(epoch, last.position)),
        "conversation_id": str(first.conversation_id),
    }
    if first.type != "message.delta":
        return {**gap, "refetch": [f"/api/conversations/{first.conversation_id}/threads"]}
    chunks = f"/api/messages/{first.message_id}/chunks?from={first.idx}"
    message = {"message_id": str(first.message_id), "from_idx": first.idx, "to_idx": last.idx}
    return {**gap, **message, "refetch": [chunks, f"/api/messages/{first.message_id}"]}


def _with_last_id(frames: Sequence[Frame], end: Cursor | None = None) -> bytes:
    """Join frames so that only the last has an id, which is *end* where given."""
    bare = [frame.data.partition(b"\n")[2] for frame in frames]
    identity = frames[-1].data.partition(b"\n")[0] if end is None else b"id: %s" % str(end).encode()
    return b"".join([*bare[:-1], identity, b"\n", bare[-1]])


def _delta_of(frame: Frame) -> UUID | None:
    return frame.event.message_id if frame.type == "message.delta" else None


def _count(frames: Sequence[Frame]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for frame in frames:
        counts[frame.type] = counts.get(frame.type, 0) + 1
    return counts
