"""`storm`: many clients resume at an old cursor within a second, as after a restart; what they ask of the log and how long it takes."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Final, Literal

from rustygpt.streaming.coordinator import PAGE_EVENTS
from tests.benchmarks.owner import Owner, owning
from tests.benchmarks.processes import Served, asking, reading
from tests.benchmarks.reader import Task
from tests.benchmarks.scenario import MAX_STREAMS, Scenario, add_rounds, within
from tests.benchmarks.storm_clients import DEADLINE_SECONDS, Outcome, Storm
from tests.benchmarks.tables import cell, pair, say, show, table
from tests.benchmarks.visitor import Visitor, stream_path

Kind = Literal["conversation", "user", "users"]
NAMES: Final[dict[Kind, str]] = {
    "conversation": "of one conversation",
    "user": "of one user",
    "users": "each of another user",
}
READERS: Final = ("read_conversation_events", "read_user_events", "read_log")
"""What reads pages of the log."""
EVENTS_PER_POST: Final = 2
"""message.created and thread.new."""
SPREAD_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Round:
    """One storm. `queries` are pages that were read from the log, `pages` those that differ; CPU in seconds, of the server and PostgreSQL."""

    outcome: Outcome
    pages: int
    queries: int
    server_cpu_seconds: float
    postgres_cpu_seconds: float

    @property
    def refused(self) -> int:
        """Answers that were no stream."""
        return sum(count for status, count in self.outcome.statuses.items() if status != "200")


def run(visitor: Visitor, options: argparse.Namespace) -> dict[str, object]:
    """Measure all kinds of stream, by turns."""
    found: dict[Kind, list[Round]] = {kind: [] for kind in NAMES}
    for number in range(options.rounds):
        for kind, rounds in found.items():
            say(
                f"{options.clients} clients resume {options.events} events, streams {NAMES[kind]}, round {number + 1} of {options.rounds}"
            )
            rounds.append(_measure(visitor, kind, options.clients, options.events))
    show(f"{options.clients:,} clients resume {options.events} events each within {SPREAD_SECONDS:g} s", _table(found))
    return {"storm": {kind: [asdict(each) for each in rounds] for kind, rounds in found.items()}}


def _measure(visitor: Visitor, kind: Kind, clients: int, events: int) -> Round:
    with visitor.server(tokens_per_second=1, flush_ms=0) as server, owning(visitor.folder) as owner:
        owner.count_calls()
        before = owner.calls(*READERS)
        storm = _prepare(visitor, server, owner, kind, clients, events)
        first = server.usage()
        with asking("-m", "tests.benchmarks.storm_clients") as process:
            outcome = Outcome(**json.loads(process.ask(json.dumps(asdict(storm)), DEADLINE_SECONDS * 2)))
        last = server.usage()
        owner.end_sessions()
        queries = owner.calls(*READERS) - before
    return Round(
        outcome=outcome,
        pages=ceil(outcome.events / PAGE_EVENTS),
        queries=queries,
        server_cpu_seconds=last.cpu_seconds - first.cpu_seconds,
        postgres_cpu_seconds=last.children_cpu_seconds - first.children_cpu_seconds,
    )


def _prepare(visitor: Visitor, server: Served, owner: Owner, kind: Kind, clients: int, events: int) -> Storm:
    """Let history happen while nobody listens."""
    conversation = visitor.new_conversation(assistant_mode="off")
    path = stream_path(conversation) if kind == "conversation" else "/api/stream"
    with reading(Task(server.port, [path], visitor.cookie)):
        pass  # so that what the process makes once is made
    cookies = [visitor.cookie]
    if kind == "users":
        cookies = [f"SESSION_ID={token}" for token in owner.make_members(conversation, clients)]
    ((epoch, start),) = owner.run("select epoch, position from rustygpt.event_head")
    for number in range(ceil(events / EVENTS_PER_POST)):
        visitor.post(f"/api/conversations/{conversation}/messages", content=f"message {number}")
    ((_, until),) = owner.run("select epoch, position from rustygpt.event_head")
    return Storm(server.port, path, cookies, clients, SPREAD_SECONDS, f"{epoch}-{start}", until)


def _table(found: dict[Kind, list[Round]]) -> str:
    head = [
        "streams",
        "not 200",
        "wrong or unfinished",
        "events",
        "queries, distinct pages",
        "all at the head, s",
        "a client p50 / p99 ms",
        "CPU s",
        "PostgreSQL's",
    ]
    return table(head, [_row(NAMES[kind], rounds) for kind, rounds in found.items()])


def _row(name: str, rounds: Sequence[Round]) -> list[str]:
    return [
        name,
        cell(rounds, lambda each: each.refused, 0),
        cell(rounds, lambda each: each.outcome.different + each.outcome.unfinished, 0),
        cell(rounds, lambda each: each.outcome.events, 0),
        f"{cell(rounds, lambda each: each.queries, 0)}, {cell(rounds, lambda each: each.pages, 0)}",
        cell(rounds, lambda each: each.outcome.seconds, 2),
        pair(rounds, lambda each: each.outcome.all_p50_ms, lambda each: each.outcome.all_p99_ms),
        cell(rounds, lambda each: each.server_cpu_seconds, 2),
        cell(rounds, lambda each: each.postgres_cpu_seconds, 2),
    ]


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", type=within(int, 1, MAX_STREAMS), default=1000, metavar="N", help="1000")
    parser.add_argument("--events", type=within(int, 2, 5_000), default=500, metavar="N", help="500")
    add_rounds(parser)


SCENARIO = Scenario("storm", "a thousand clients resume five hundred events each within a second", _add_options, run)
