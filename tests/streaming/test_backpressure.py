"""Backpressure against an oracle: however a reader stalls, is cut and resumes, it ends with the log's text, or was told of the hole."""

import json
import random
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from rustygpt.streaming.backpressure import Level, build_block, level_of
from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.frames import Frame, encode_event
from tests.streaming.logged import CONVERSATION, EPOCH, delta

CAPACITY = 4
RUNS = 20_000


def _other(position: int, kind: str, message: UUID) -> LoggedEvent:
    made = delta(position)
    return LoggedEvent(
        position,
        position - 1,
        CONVERSATION,
        None,
        kind,
        made.root_id,
        None,
        message,
        None,
        None,
        {"message_id": str(message)},
        made.created_at,
    )  # type: ignore[arg-type]


def _log(rng: random.Random) -> list[Frame]:
    """Two replies in one conversation, their deltas interleaved at random, other events between them."""
    left = {UUID(int=10): rng.randint(0, 25), UUID(int=11): rng.randint(0, 25)}
    done: set[UUID] = set()
    counts = dict.fromkeys(left, 0)
    events: list[LoggedEvent] = [_other(1, "message.created", UUID(int=10)), _other(2, "message.created", UUID(int=11))]
    while len(done) < 2:
        message = rng.choice([m for m in left if m not in done])
        position = len(events) + 1
        if rng.random() < 0.1:
            events.append(_other(position, "thread.activity", UUID(int=12)))
        elif left[message]:
            base = delta(position, f"{counts[message]} ", idx=counts[message], prev=position - 1)
            events.append(
                LoggedEvent(
                    *(position, position - 1, CONVERSATION, None, "message.delta", base.root_id, None, message),
                    *(base.idx, base.content, None, base.created_at),
                )
            )
            counts[message] += 1
            left[message] -= 1
        else:
            events.append(_other(position, "message.done", message))
            done.add(message)
    return [encode_event(event, EPOCH) for event in events]


@dataclass
class Reader:
    """A client as the contract describes it: remembers the last id, applies a delta once, refetches what a gap names."""

    last: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    next_idx: dict[str, int] = field(default_factory=dict)
    holes: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)

    def take(self, data: bytes) -> None:
        for block in data.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            self._apply(fields["event"], json.loads(fields["data"])["payload"])
            if "id" in fields:
                self.last = int(fields["id"].rpartition("-")[2])

    def _apply(self, kind: str, payload: dict[str, object]) -> None:
        message = str(payload.get("message_id"))
        if kind == "stream.gap":
            self.holes.add(message)
        elif kind == "message.done" and message not in self.done:
            self.done.append(message)
        elif kind == "message.delta":
            following = self.next_idx.get(message, 0)
            first, last = int(str(payload.get("idx_from", payload["idx"]))), int(str(payload["idx"]))
            if last < following or message in self.holes:
                return
            assert first <= following, f"an unannounced hole before {first}"
            words = str(payload["choices"][0]["delta"]["content"]).split(" ")[:-1]  # type: ignore[index]
            self.texts[message] = self.texts.get(message, "") + "".join(f"{word} " for word in words[following - first :])
            self.next_idx[message] = last + 1


@pytest.mark.parametrize("lowest", [Level.AS_STORED, Level.MERGED, Level.COMPACTED, Level.DROPPED])
def test_no_stall_cut_or_resume_loses_anything_in_silence(lowest: Level) -> None:
    """5 000 random runs from each level on: every delta arrives once, or its message was named by a gap; ids never go back."""
    for seed in range(RUNS // 4):
        rng = random.Random(seed)
        log = _log(rng)
        reader = Reader()
        while reader.last < len(log):
            upto = min(len(log), reader.last + rng.randint(1, 9 * CAPACITY))  # the reader stalled; so much has gathered
            pending = log[reader.last : upto]
            level = max(lowest, level_of(len(pending), sum(len(frame.data) for frame in pending), CAPACITY))
            block = build_block(pending, level, EPOCH)
            before = reader.last
            if rng.random() < 0.3:  # cut: only whole frames count, and what had no id comes again
                frames = block.data.split(b"\n\n")[:-1]
                reader.take(b"".join(frame + b"\n\n" for frame in frames[: rng.randint(0, len(frames))]))
            else:
                reader.take(block.data)
                assert reader.last == upto, f"seed {seed}"
            assert reader.last >= before
        assert sorted(reader.done) == sorted({str(UUID(int=10)), str(UUID(int=11))}), f"seed {seed}"
        for message in (UUID(int=10), UUID(int=11)):
            wanted = "".join(frame.event.content or "" for frame in log if frame.event.message_id == message)
            assert str(message) in reader.holes or reader.texts.get(str(message), "") == wanted, f"seed {seed}"


def test_levels_are_these() -> None:
    """capacity, twice, eight times, or a megabyte."""
    at = [level_of(events, 0, 128) for events in (0, 128, 129, 256, 257, 1_024, 1_025)]
    assert at == [Level.AS_STORED] * 2 + [Level.MERGED] * 2 + [Level.COMPACTED] * 2 + [Level.DROPPED]
    assert level_of(1, 1_048_577, 128) is Level.DROPPED


def test_merging_never_goes_past_another_event() -> None:
    """Level 1 keeps every event's place: a delta is only merged with its neighbour."""
    rng = random.Random(7)
    for _ in range(200):
        log = _log(rng)
        block = build_block(log, Level.MERGED, EPOCH)
        positions = [int(line[4:].rpartition(b"-")[2]) for line in block.data.split(b"\n") if line.startswith(b"id: ")]
        assert positions == sorted(set(positions))
        others = [frame.position for frame in log if frame.type != "message.delta"]
        assert [p for p in positions if p in set(others)] == others


def test_what_is_never_dropped() -> None:
    """At level 3 everything but deltas is sent, the gaps before it, and the only id is that of the end."""
    log = _log(random.Random(3))
    block = build_block(log, Level.DROPPED, EPOCH)
    kinds = [line[7:].decode() for line in block.data.split(b"\n") if line.startswith(b"event: ")]
    kept = [frame.type for frame in log if frame.type != "message.delta"]
    assert kinds == ["stream.gap"] * block.gaps + kept
    assert block.dropped.get("message.delta", 0) == len(log) - len(kept)
    assert block.data.count(b"\nid: ") + block.data.startswith(b"id: ") == 1
    assert f"id: {EPOCH}-{len(log)}\n".encode() in block.data
