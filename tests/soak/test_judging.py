"""The soak's judges see what must not happen: a soak that cannot fail shows nothing."""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest

from tests.soak.coverage import Coverage
from tests.soak.fleet import Fleet
from tests.soak.history import History, Reply, Row, _index
from tests.soak.ledger import Ledger, digest_of, digest_of_payload
from tests.soak.population import Account, Conversation
from tests.soak.posting import Post, Postbox
from tests.soak.reader import Reader
from tests.soak.run import Run
from tests.soak.snapshots import MessageState, Snapshot, Snapshots
from tests.soak.texts import judge_texts
from tests.soak.verdict import judge_readers

AT = "2026-01-01T00:00:00Z"
GAP = {"reason": "slow_consumer", "conversation_id": "c", "message_id": "m", "refetch": []}


def row(position: int, kind: str, payload: object = None, *, text: str = "", idx: int = 0) -> Row:
    """A row of conversation c, whose events are all there are; deltas are of message m."""
    digest = digest_of(text.encode()) if kind == "message.delta" else digest_of_payload(payload)
    message_id = None if kind == "thread.activity" else "q" if position == 1 else "m"
    return Row(position, position - 1, "c", None, kind, message_id, idx, digest, text, payload)


def story() -> History:
    """A question, its answer "1 2 3" in three pieces, its end, and what is told of the thread."""
    question = {"message": {"id": "q", "role": "user", "content": "count to 3 #0#"}}
    rows = [
        row(1, "message.created", question),
        row(2, "message.created", {"message": {"id": "m", "role": "assistant", "content": ""}}),
        *(row(3 + idx, "message.delta", text=text, idx=idx) for idx, text in enumerate(("1", " 2", " 3"))),
        row(6, "message.done", {"message_id": "m", "finish_reason": "stop", "chunks": 3}),
        row(7, "thread.activity", {"root_id": "q"}),
    ]
    history = History(rows, 7, [Reply("m", "count to 3 #0#", "1 2 3", "done", None)])
    history.spans["u"].append(("c", 1, 7))
    _index(history, rows)
    return history


def block(
    row: Row, *, cursor: bool = True, text: str | None = None, idx_from: int | None = None, prev: int | None = None
) -> bytes:
    """A row as it comes on the wire."""
    payload = row.payload
    if row.type == "message.delta":
        number = {"idx": row.idx} if idx_from is None else {"idx": row.idx, "idx_from": idx_from}
        payload = {"message_id": "m", **number, "choices": [{"delta": {"content": row.text if text is None else text}}]}
    body = {"type": row.type, "conversation_id": "c", "prev": row.prev if prev is None else prev, "at": AT, "payload": payload}
    return (b"id: e-%d\n" % row.position if cursor else b"") + b"event: %s\ndata: %s" % (row.type.encode(), orjson.dumps(body))


def gap(first: int, last: int, cursor: int) -> bytes:
    """A gap that leaves out pieces *first* to *last*, and moves the reader to *cursor*."""
    payload = {**GAP, "from": f"e-{2 + first}", "to": f"e-{3 + last}", "from_idx": first, "to_idx": last}
    body = {"type": "stream.gap", "conversation_id": None, "prev": None, "at": None, "payload": payload}
    return b"id: e-%d\nevent: stream.gap\ndata: %s" % (cursor, orjson.dumps(body))


def plainly(history: History) -> list[bytes]:
    return [block(each) for each in history.rows]


def merged(history: History) -> list[bytes]:
    """All three pieces as one frame."""
    one = block(history.rows[4], text="1 2 3", idx_from=0, prev=2)
    return [block(history.rows[0]), block(history.rows[1]), one, block(history.rows[5]), block(history.rows[6])]


def compacted(history: History) -> list[bytes]:
    """One block, with an id on its last frame only."""
    return [*(block(each, cursor=False) for each in history.rows[:6]), block(history.rows[6])]


def announced(history: History) -> list[bytes]:
    """The second and third piece are left out."""
    return [*plainly(history)[:3], gap(1, 2, 5), *plainly(history)[5:]]


def judge(run: Run, history: History, blocks: Sequence[bytes]) -> Reader:
    """Give a reader of everything that u may see some blocks, and judge its record."""
    ledger, account = Ledger(), Account("u", "U", {})
    fleet = Fleet(run)
    snapshots = Snapshots(run, Postbox(run, fleet, None))  # type: ignore[arg-type]  # nothing is fetched here
    reader = Reader(0, account, None, "steady", (run, fleet, ledger, snapshots))
    reader.record.begin(0)
    for each in blocks:
        reader._take(each)
    reader.record.cut()
    judge_readers(run, [reader], Coverage(history, ledger))
    return reader


@pytest.fixture
def run() -> Run:
    """A run that nobody has blamed yet."""
    return Run(1, random.Random(1))


@pytest.mark.parametrize("received", [plainly, merged, compacted, announced])
def test_what_is_right_is_not_blamed(run: Run, received: Callable[[History], list[bytes]]) -> None:
    """Frames as stored, merged, in a block with one id, or announced as left out are all exactly once."""
    judge(run, story(), received(story()))
    assert not run.violations


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda blocks: blocks[:4] + blocks[5:], "unannounced hole"),
        (lambda blocks: blocks[:-1], "lost"),
        (lambda blocks: [*blocks, blocks[-1]], "duplicated"),
        (lambda blocks: [*blocks[:2], blocks[3], blocks[2], *blocks[4:]], "duplicated"),
        (lambda blocks: [*blocks[:3], blocks[3].replace(b'" 2"', b'" 9"'), *blocks[4:]], "altered"),
        (lambda blocks: [*blocks[:5], blocks[5].replace(b'"stop"', b'"length"'), *blocks[6:]], "altered"),
        (lambda blocks: [*blocks[:5], blocks[5].replace(b'"prev":5', b'"prev":4'), *blocks[6:]], "altered"),
        (lambda blocks: [*blocks, blocks[-1].replace(b"e-7", b"e-8").replace(b'"prev":6', b'"prev":7')], "not in the log"),
        (lambda blocks: [*blocks[:4], gap(1, 2, 5), *blocks[5:]], "inexact gap"),
        (lambda blocks: [*blocks[:3], gap(1, 1, 5), *blocks[5:]], "unannounced hole"),
    ],
)
def test_what_is_wrong_is_blamed(run: Run, spoil: Callable[[list[bytes]], list[bytes]], kind: str) -> None:
    """A frame too few or too many, out of order, changed, or a gap that says something else than what is missing."""
    judge(run, story(), spoil(plainly(story())))
    assert kind in run.violation_counts


def test_block_without_its_id_does_not_count(run: Run) -> None:
    """What had no id when the connection was cut comes again, and came once."""
    history = story()
    reader = judge(run, history, [])
    assert run.violation_counts == {"lost": 7}
    for each in compacted(history)[:3]:
        reader._take(each)
    reader.record.cut()
    assert reader.record.discarded == 3
    assert not reader.record.positions


def test_what_comes_after_the_removal_is_blamed(run: Run) -> None:
    """A user who was in the conversation until position 5 may not have position 6."""
    history = story()
    history.spans["u"] = [("c", 1, 5)]
    judge(run, history, plainly(history)[:6])
    assert run.violation_counts == {"not allowed": 1}


def test_posts_are_counted(run: Run) -> None:
    """A confirmed post that the log lacks is lost; one that it has twice is doubled; an unknown one may be missing."""
    history, place = story(), Conversation("c", True, [])
    posts = [Post("#0#", place, message_id="q"), Post("#1#", place, message_id="x"), Post("#2#", place)]
    judge_texts(run, history, posts, [], [])
    assert [(each.kind, each.where) for each in run.violations] == [("lost", "post #1#")]
    history.created["x"] = row(2, "message.created", {"message": {"id": "x", "role": "user", "content": "count to 3 #0#"}})
    judge_texts(run, history, posts[:1], [], [])
    assert run.violation_counts["duplicated"] == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply("m", "count to 4", "1 2 3", "done", None), "wrong text"),
        (Reply("m", "count to 3", "1 2", "done", None), "wrong text"),
        (Reply("m", "count to 3", "1 2 3", "error", "storage_unavailable"), "wrong end"),
        (Reply("q", "count to 3", "", "cancelled", None), "wrong end"),
    ],
)
def test_replies_are_read_to_the_end(run: Run, reply: Reply, kind: str) -> None:
    """A reply must be what was asked for, or its beginning, and have one last word that says how it ended."""
    history = story()
    history.replies[:] = [reply]
    judge_texts(run, history, [], [], [])
    assert kind in run.violation_counts


@pytest.mark.parametrize(("text", "pieces", "count"), [("1 2", 2, 0), ("1 2 3", 3, 1), ("1 2", 3, 1)])
def test_snapshot_must_be_true_at_its_position(run: Run, text: str, pieces: int, count: int) -> None:
    """At position 4 the answer has two pieces, no more and no less."""
    snapshot = Snapshot(4, [MessageState("m", digest_of(text.encode()), pieces, None)])
    judge_texts(run, story(), [], [snapshot], [])
    assert run.violation_counts["wrong snapshot"] == count


def test_503_is_right_only_while_the_database_is_away(run: Run, tmp_path: Path) -> None:
    """The same answer is believed during an absence, and blamed otherwise; any other 5xx always is."""
    now = time.monotonic()
    run.judge_answer(503, "request", now)
    assert run.violation_counts["unexpected answer"] == 1
    run.database_left()
    run.judge_answer(503, "request", now)
    assert run.violation_counts["unexpected answer"] == 1
    run.judge_answer(500, "request", now)
    assert run.violation_counts["unexpected answer"] == 2
