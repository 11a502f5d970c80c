"""Posts, replies and snapshots against the log: what was confirmed is there once, a reply is what it must be, a snapshot was true."""

import re
from collections import defaultdict
from dataclasses import dataclass, field

from tests.soak.history import History, Reply, Row
from tests.soak.ledger import digest_of
from tests.soak.posting import Post
from tests.soak.run import Run
from tests.soak.snapshots import PAGE, Chunks, MessageState, Snapshot

INTERRUPTED = "generation_interrupted"
_COUNT = re.compile(r"count to (\d+)")
_TOKEN = re.compile(r"#\d+#")
_ENDS = {"done": "stop", "cancelled": "cancelled", "interrupted": "error"}


@dataclass(slots=True)
class Texts:
    """What the comparison found."""

    posts: int = 0
    replies: dict[str, int] = field(default_factory=dict)
    whole: int = 0
    snapshots: int = 0


def judge_texts(run: Run, history: History, posts: list[Post], snapshots: list[Snapshot], chunks: list[Chunks]) -> Texts:
    """Compare everything that was said with what was asked for."""
    texts = Texts()
    _judge_log(run, history)
    _judge_posts(run, history, posts)
    texts.posts = sum(post.message_id is not None for post in posts)
    for reply in history.replies:
        _judge_reply(run, history, reply)
        ended = reply.state if reply.error_code in (None, INTERRUPTED) else f"{reply.state} {reply.error_code}"
        texts.replies[ended] = texts.replies.get(ended, 0) + 1
        texts.whole += reply.state == "done"
    for snapshot in snapshots:
        _judge_snapshot(run, history, snapshot)
    for piece in chunks:
        rows = history.deltas[piece.message_id][piece.first : piece.first + len(piece.texts)]
        if [digest_of(row.text.encode()) for row in rows] != piece.texts:
            run.blame("wrong snapshot", f"chunks of {piece.message_id}", 0, f"from piece {piece.first}")
    texts.snapshots = len(snapshots) + len(chunks)
    return texts


def _judge_log(run: Run, history: History) -> None:
    """Each row names the one before it of its conversation, or of its user's personal events."""
    heads: dict[str | None, int] = defaultdict(int)
    for row in history.rows:
        stream = row.audience or row.conversation_id
        if row.prev != heads[stream]:
            run.blame("altered", "the log", row.position, f"prev is {row.prev}, the one before was {heads[stream]}")
        heads[stream] = row.position


def _judge_posts(run: Run, history: History, posts: list[Post]) -> None:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in history.created.values():
        message = row.payload["message"]
        if message["role"] == "user" and (token := _TOKEN.search(message["content"])):
            found[token[0]].append(row)
    for post in posts:
        rows = found[post.token]
        ids = [row.message_id for row in rows]
        if post.message_id is not None and post.message_id not in ids:
            run.blame("lost", f"post {post.token}", 0, f"confirmed as {post.message_id}; the log has {ids}")
        if len(rows) > 1:
            run.blame("duplicated", f"post {post.token}", rows[1].position, f"confirmed as {post.message_id}; the log has {ids}")
        if post.is_refused and rows:
            run.blame("wrong end", f"post {post.token}", rows[0].position, "refused, but in the log")


def _judge_reply(run: Run, history: History, reply: Reply) -> None:
    where, deltas, done = f"message {reply.id}", history.deltas[reply.id], history.done[reply.id]
    text = "".join(row.text for row in deltas)
    counted = _COUNT.search(reply.question)
    whole = " ".join(str(number) for number in range(1, int(counted[1]) + 1)) if counted else ""
    if [row.idx for row in deltas] != list(range(len(deltas))):
        run.blame("wrong text", where, 0, f"pieces {[row.idx for row in deltas]}")
    if text != reply.content:
        run.blame("wrong text", where, 0, f"the message has {reply.content[-80:]!r}, its pieces {text[-80:]!r}")
    if not whole.startswith(text) or (reply.state == "done" and text != whole):
        run.blame("wrong text", where, 0, f"{reply.state}: … {text[-80:]!r} instead of … {whole[-80:]!r}")
    if len(done) != 1:
        run.blame("wrong end", where, 0, f"{len(done)} last words, at {[row.position for row in done]}; state {reply.state}")
        return
    said = done[0].payload
    if (said["finish_reason"], said["chunks"]) != (_ENDS.get(reply.state), len(deltas)) or reply.error_code not in (
        None,
        INTERRUPTED,
    ):
        run.blame("wrong end", where, done[0].position, f"{reply.state}, {reply.error_code}: {said}")
    if deltas and deltas[-1].position > done[0].position:
        run.blame("wrong end", where, done[0].position, f"a piece at {deltas[-1].position} after the last word")


def _judge_snapshot(run: Run, history: History, snapshot: Snapshot) -> None:
    """What a snapshot said must be what the events up to its position say."""
    where = f"snapshot of {snapshot.conversation_id or snapshot.messages[0].id}"
    for state in snapshot.messages:
        expected = _state_at(history, state.id, snapshot.position)
        if expected != state:
            run.blame("wrong snapshot", where, snapshot.position, f"{state}; the events say {expected}")
    if snapshot.conversation_id is not None:
        rows = [history.rows[p - 1] for p in history.of_all[snapshot.conversation_id] if p <= snapshot.position]
        created = [row.message_id for row in rows if row.type == "message.created"]
        if [state.id for state in snapshot.messages] != created[: -PAGE - 1 : -1]:
            run.blame(
                "wrong snapshot",
                where,
                snapshot.position,
                f"{len(snapshot.messages)} messages; the events tell of {len(created)}",
            )


def _state_at(history: History, message_id: str, position: int) -> MessageState | None:
    created = history.created.get(message_id)
    if created is None or created.position > position:
        return None
    message = created.payload["message"]
    if message["role"] == "user":
        return MessageState(message_id, digest_of(message["content"].encode()), 0, None)
    rows = [row for row in history.deltas[message_id] if row.position <= position]
    ends = [row.payload["finish_reason"] for row in history.done[message_id] if row.position <= position]
    return MessageState(message_id, digest_of("".join(row.text for row in rows).encode()), len(rows), ends[0] if ends else None)
