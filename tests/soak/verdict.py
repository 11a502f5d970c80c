"""Each reader's record against the log: every position that its rights cover, from its first cursor to the end, exactly once, in order,
or announced by a gap.
"""

from collections import Counter
from dataclasses import dataclass, field

from tests.soak.coverage import Coverage
from tests.soak.reader import Reader
from tests.soak.run import Run

CONTEXT = 4
"""Entries of the record that are shown around what is wrong."""


@dataclass(slots=True)
class Verdict:
    """What the comparison found, over all readers."""

    readers: int = 0
    expected: int = 0
    delivered: int = 0
    announced: int = 0
    merged: int = 0


@dataclass(slots=True)
class _Trace:
    """One reader's record, unfolded: how often each position came, and where in the record."""

    reader: Reader
    times: Counter[int] = field(default_factory=Counter)
    places: dict[int, int] = field(default_factory=dict)
    announced: set[int] = field(default_factory=set)
    high: int = 0


def judge_readers(run: Run, readers: list[Reader], coverage: Coverage) -> Verdict:
    """Compare every record with the log and blame what does not agree."""
    verdict = Verdict()
    for reader in readers:
        record = reader.record
        if record.first is None:
            run.blame("lost", reader.name, 0, "never connected")
            continue
        trace = _Trace(reader, high=record.first)
        for place in range(len(record.positions)):
            _unfold(run, trace, coverage, place)
        conversation_id = reader.conversation.id if reader.conversation else None
        expected = coverage.history.rights(reader.account.id, conversation_id, record.first)
        _compare(run, trace, coverage, expected)
        verdict.readers += 1
        verdict.expected += len(expected)
        verdict.delivered += len(trace.times)
        verdict.merged += trace.times.total() - sum(
            1 for number in record.frames if coverage.ledger.frames[number].type != "stream.gap"
        )
        verdict.announced += len(trace.announced - trace.times.keys())
    return verdict


def _unfold(run: Run, trace: _Trace, coverage: Coverage, place: int) -> None:
    """Take one entry: count its positions, check that ids rise and that the frame says what the log says."""
    reader, record = trace.reader, trace.reader.record
    position, number = record.positions[place], record.frames[place]
    frame = coverage.ledger.frames[number]
    if frame.type == "stream.gap":
        conversation_id = reader.conversation.id if reader.conversation else None
        if frame.payload["reason"] == "unknown_cursor":
            run.blame("unexpected answer", reader.name, position, f"{frame.payload}; {_context(trace, coverage, place)}")
        trace.announced.update(coverage.announced(frame.payload, reader.account.id, conversation_id))
    else:
        covered, wrong = coverage.of(position, number, reader.account.id)
        if wrong is not None:
            run.blame(
                "altered" if covered else "not in the log", reader.name, position, f"{wrong}; {_context(trace, coverage, place)}"
            )
        for each in covered:
            trace.times[each] += 1
            trace.places[each] = place
    if position:
        if position <= trace.high and frame.type != "stream.gap":
            run.blame("duplicated", reader.name, position, f"came after {trace.high}; {_context(trace, coverage, place)}")
        trace.high = max(trace.high, position)


def _compare(run: Run, trace: _Trace, coverage: Coverage, expected: list[int]) -> None:
    reader, wanted = trace.reader, set(expected)
    for position, times in trace.times.items():
        context = _context(trace, coverage, trace.places[position])
        if times > 1:
            run.blame("duplicated", reader.name, position, f"{times} times; {context}")
        if position not in wanted:
            run.blame("not allowed", reader.name, position, context)
        if position in trace.announced:
            run.blame("inexact gap", reader.name, position, f"announced as left out, but it came; {context}")
    for position in expected:
        if position in trace.times or position in trace.announced:
            continue
        row = coverage.history.rows[position - 1]
        what = f"{row.type} of {row.conversation_id}, message {row.message_id}, piece {row.idx}"
        if position > trace.high:
            run.blame("lost", reader.name, position, f"{what}; the record ends at {trace.high}; {'; '.join(reader.journal)}")
        else:
            after = max((place for at, place in trace.places.items() if at < position), default=0)
            run.blame("unannounced hole", reader.name, position, f"{what}; {_context(trace, coverage, after)}")


def _context(trace: _Trace, coverage: Coverage, place: int) -> str:
    """Show the record around an entry."""
    record = trace.reader.record
    shown = []
    for near in range(max(0, place - CONTEXT), min(len(record.positions), place + CONTEXT + 1)):
        frame = coverage.ledger.frames[record.frames[near]]
        mark = ">" if near == place else ""
        shown.append(f"{mark}{record.positions[near] or '–'} {frame.type}")
    return f"record around entry {place}: {', '.join(shown)}"
