"""The ring: everything after its floor, in order, within its bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.streaming.ring import Ring
from tests.streaming.logged import frame


@given(
    st.lists(st.integers(1, 5), max_size=120),
    st.integers(1, 20),
    st.integers(400, 4_000),
    st.integers(0, 400),
)
def test_ring_is_the_tail_of_the_log(steps: list[int], max_events: int, max_bytes: int, after: int) -> None:
    """At or above the floor a reader gets exactly the later frames; below it the ring refuses instead of leaving a hole."""
    ring = Ring(0, max_events=max_events, max_bytes=max_bytes)
    positions: list[int] = []
    for step in steps:
        positions.append((positions[-1] if positions else 0) + step)
        ring.append(frame(positions[-1]))
        assert ring.floor < positions[-1]
        assert [f.position for f in ring.after(ring.floor)] == [p for p in positions if p > ring.floor]
        assert len(ring.after(ring.floor)) <= max_events * 5 // 4 + 1
    if after < ring.floor:
        with pytest.raises(ValueError, match="left the ring"):
            ring.after(after)
    else:
        assert [f.position for f in ring.after(after)] == [p for p in positions if p > after]


def test_ring_refuses_what_does_not_follow() -> None:
    """A position twice, or out of order, is a defect and is not hidden."""
    ring = Ring(5, max_events=10, max_bytes=10_000)
    with pytest.raises(ValueError, match="not above"):
        ring.append(frame(5))
    ring.append(frame(6))
    with pytest.raises(ValueError, match="not above"):
        ring.append(frame(6))


def test_ring_is_bounded_by_bytes() -> None:
    """Large frames push out older ones long before the count does; the newest always stays."""
    ring = Ring(0, max_events=1_000, max_bytes=10_000)
    for position in range(1, 50):
        ring.append(frame(position, "x" * 3_000))
    assert sum(len(f.data) for f in ring.after(ring.floor)) <= 12_500
    ring.append(frame(50, "x" * 50_000))
    assert [f.position for f in ring.after(ring.floor)] == [50]


def test_ring_forgets_what_a_deletion_made_old() -> None:
    """From a deletion on, only what comes with and after it is there; who is behind reads the log, who is not loses nothing."""
    ring = Ring(5, max_events=10, max_bytes=10_000)
    for position in (6, 8):
        ring.append(frame(position))
    ring.append(replace(frame(11), type="message.deleted"))
    ring.append(frame(12))
    assert [f.position for f in ring.after(8)] == [11, 12]
    assert (ring.floor, ring.count_after(0)) == (8, 2)
    with pytest.raises(ValueError, match="left the ring"):
        ring.after(7)
    assert ring.size()[1] == sum(len(f.data) for f in ring.after(8))
