"""Messages between processes: nothing that comes in can hurt, nothing that goes out is too long."""

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import orjson
import pytest
from asyncpg.pgproto import pgproto
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.signals import Transient
from rustygpt.streaming.bus.message import MAX_SIGNALS, Message, add_transients, decode, encode, node_prefix
from rustygpt.streaming.events import LoggedEvent
from rustygpt.streaming.frames import encode_event

NOTIFY_BYTES = 7_999
EPOCH = "k3f9"


def delta(position: int = 7, content: str = "Once", *, kind: type[UUID] = UUID, at: datetime | None = None) -> LoggedEvent:
    conversation, root, message = (kind(str(uuid4())) for _ in range(3))
    return LoggedEvent(
        position, 3, conversation, None, "message.delta", root, root, message, 2, content, None, at or datetime.now(UTC)
    )


TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
TIMES = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@given(content=TEXTS, at=TIMES)
def test_delta_arrives_as_the_same_bytes(content: str, at: datetime) -> None:
    """A frame made from a delta that came over the bus equals the one of the process that committed it, whatever the text and time."""
    sent = delta(content=content, kind=pgproto.UUID, at=at)
    message = decode(encode(Message("n", EPOCH, 7, (), (sent,)), 100_000))
    assert message is not None
    (received,) = message.deltas
    assert received == sent
    assert encode_event(received, EPOCH).data == encode_event(sent, EPOCH).data


@given(
    position=st.integers(0, 2**63 - 1),
    signals=st.lists(st.tuples(st.sampled_from(["cancel", "session_revoked", "generation_queued"]), TEXTS), max_size=3),
)
def test_message_arrives_as_it_was_sent(position: int, signals: list) -> None:
    """Position and signals come through; the sender is recognised without reading."""
    body = encode(Message("node-1", EPOCH, position, signals), 100_000)
    message = decode(body)
    assert message == Message("node-1", EPOCH, position, signals, [])
    assert body.startswith(node_prefix("node-1"))
    assert not body.startswith(node_prefix("node-2"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(("node", "epoch", "position", "signals", "deltas", "transients"), ANYTHING))
    | st.fixed_dictionaries(
        {
            "node": st.just("n"),
            "epoch": st.just("e"),
            "position": st.just(1),
            "signals": st.just([]),
            "deltas": st.lists(st.lists(ANYTHING, min_size=9, max_size=9), max_size=2),
            "transients": st.lists(
                st.tuples(ANYTHING, ANYTHING, st.just("typing.update"), ANYTHING, ANYTHING) | ANYTHING, max_size=2
            ),
        }
    )
    | ANYTHING
)
def test_any_json_is_read_or_refused(document: object) -> None:
    """JSON of any shape is a message or none; it never raises."""
    decode(json.dumps(document))


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_refused(body: bytes | str) -> None:
    """What is no JSON is no message."""
    assert decode(body) is None


def test_unknown_signal_is_left_out() -> None:
    """A newer version's signal does not hide what this version understands."""
    body = orjson.dumps({"node": "n", "epoch": EPOCH, "position": 5, "signals": [["new", "x"], ["cancel", "y"]], "more": 1})
    assert decode(body) == Message("n", EPOCH, 5, [("cancel", "y")], [])


@pytest.mark.parametrize("count", [0, 1, MAX_SIGNALS, MAX_SIGNALS + 1, 10_000])
def test_notification_is_never_too_long(count: int) -> None:
    """However many signals gather, the message fits; from a hundred on it says to look instead, and the position stays."""
    signals = [("session_revoked", str(uuid4())) for _ in range(count)]
    body = encode(Message("0123456789ab", "k3f9k3f9k3f9", 2**63 - 1, signals), NOTIFY_BYTES)
    assert len(body) <= NOTIFY_BYTES
    message = decode(body)
    assert message is not None
    assert message.position == 2**63 - 1
    assert list(message.signals) == (signals if count <= MAX_SIGNALS else [("look", "")])


def test_too_many_deltas_are_left_to_the_log() -> None:
    """Deltas that do not fit are not sent at all; position and signals are."""
    message = decode(encode(Message("n", EPOCH, 9, [("cancel", "x")], [delta(8, "x" * 900), delta(9, "y" * 900)]), 1_000))
    assert message == Message("n", EPOCH, 9, [("cancel", "x")], [])


def state(number: int, size: int = 10) -> Transient:
    """Something that stands so now."""
    return Transient(
        uuid4(), None if number % 2 else uuid4(), "typing.update", f"{number}", {"n": number, "text": "\u2028" * size}
    )


@given(sizes=st.lists(st.integers(0, 3_000), max_size=40), signals=st.integers(0, MAX_SIGNALS))
def test_state_is_sent_whole_or_waits(sizes: list[int], signals: int) -> None:
    """Beside signals goes as much state as fits, in order and whole; the message stays short, and what it says otherwise is the same."""
    others = [("session_revoked", str(uuid4())) for _ in range(signals)]
    states = [state(number, size) for number, size in enumerate(sizes)]
    bare = encode(Message("0123456789ab", EPOCH, 2**63 - 1, others), NOTIFY_BYTES)
    body, count = add_transients(bare, states, NOTIFY_BYTES)
    assert len(body) <= NOTIFY_BYTES
    message = decode(body)
    assert message == Message("0123456789ab", EPOCH, 2**63 - 1, others, [], tuple(states[:count]))
    if count < len(states):
        assert len(add_transients(bare, states[: count + 1], 10**9)[0]) > NOTIFY_BYTES


def test_unknown_state_is_left_out() -> None:
    """A newer version's state does not hide what this version understands; what is malformed hides all."""
    known = [str(uuid4()), None, "typing.update", "k", {"a": 1}]
    base = {"node": "n", "epoch": EPOCH, "position": 5, "signals": [], "deltas": []}
    message = decode(orjson.dumps({**base, "transients": [["?", "?", "newer.kind", 1, 2, 3], known]}))
    assert message is not None
    assert [each.key for each in message.transients] == ["k"]
    for spoilt in (["x", *known[1:]], [*known[:4], "text"], [*known[:3], 7, {}], known[:4]):
        assert decode(orjson.dumps({**base, "transients": [spoilt]})) is None
