"""`log`: what an event costs when the log is long: to append, to deliver and to read again. It should not depend on the length."""

import argparse
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rustygpt.streaming.coordinator import PAGE_EVENTS
from tests.benchmarks.figures import histogram_between
from tests.benchmarks.owner import Owner, owning
from tests.benchmarks.processes import Served, pass_time, reading
from tests.benchmarks.reader import Task
from tests.benchmarks.scenario import Scenario, add_seconds, counts
from tests.benchmarks.tables import say, show, table
from tests.benchmarks.visitor import Visitor, stream_path

TOKENS_PER_SECOND: Final = 50.0
CONVERSATIONS: Final = 4
"""Among which the rows are dealt out, so that a page of one is not a run of the log."""
FILL_ROWS: Final = 100_000
PAGES: Final = 40
SETTLE_SECONDS: Final = 1.0
_EXECUTION = re.compile(r"Execution Time: ([0-9.]+) ms")
FILL: Final = """
with head as (update rustygpt.event_head set position = position + $2::int returning position - $2::int as start)
insert into rustygpt.event_log
  (position, prev, conversation_id, type, root_id, parent_id, message_id, idx, content, created_at)
select head.start + g, greatest(head.start + g - cardinality($1::uuid[]), 0), ($1::uuid[])[1 + g % cardinality($1::uuid[])],
  'message.delta', m.id, m.id, m.id, g, ' word', clock_timestamp()
from head, generate_series(1, $2::int) g
cross join lateral (select md5(head.start::text || '-' || g % cardinality($1::uuid[]))::uuid as id) m
"""
HEADS: Final = """
insert into rustygpt.stream_heads (stream_id, position)
select conversation_id, max(position) from rustygpt.event_log where conversation_id = any($1::uuid[]) group by 1
on conflict (stream_id) do update set position = excluded.position
"""


@dataclass(frozen=True, slots=True)
class Growth:
    """One length of the log. CPU in µs an event, the generation of its token included; a page is 256 events of one conversation or user."""

    rows: int
    events: int
    commit_p50_ms: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float
    postgres_cpu_us: float
    conversation_page_ms: float
    user_page_ms: float


def run(visitor: Visitor, options: argparse.Namespace) -> dict[str, object]:
    """Let the log grow and measure at each length."""
    found = []
    with visitor.server(tokens_per_second=TOKENS_PER_SECOND, flush_ms=0) as server, owning(visitor.folder) as owner:
        conversations = [visitor.new_conversation(assistant_mode="off") for _ in range(CONVERSATIONS)]
        for rows in sorted(options.rows):
            say(f"a log of {rows:,} rows")
            _fill(owner, conversations, rows)
            found.append(_measure(visitor, server, owner, conversations, rows, options.seconds))
    show("An event in a log of that many rows", _table(found))
    return {"log": [asdict(each) for each in found]}


def _fill(owner: Owner, conversations: Sequence[str], rows: int) -> None:
    """Make the log that long."""
    while (missing := rows - owner.run("select count(*) from rustygpt.event_log")[0][0]) > 0:
        owner.run(FILL, conversations, min(missing, FILL_ROWS))
        say(f"  {max(missing - FILL_ROWS, 0):,} rows to go")
    owner.run(HEADS, conversations)
    owner.run("vacuum analyze rustygpt.event_log")


def _measure(visitor: Visitor, server: Served, owner: Owner, conversations: Sequence[str], rows: int, seconds: float) -> Growth:
    conversation = visitor.new_conversation()
    with reading(Task(server.port, [stream_path(conversation)], visitor.cookie)) as reader:
        message = visitor.ask(conversation)
        pass_time(min(SETTLE_SECONDS, seconds))
        reader.reset()
        scrape, first = visitor.scrape(), server.usage()
        pass_time(seconds)
        later, last = visitor.scrape(), server.usage()
        got = reader.report()
        visitor.cancel(message)
    if got.closed or not got.events:
        raise RuntimeError(f"the round does not count: {asdict(got)}")
    return Growth(
        rows=rows,
        events=got.events,
        commit_p50_ms=histogram_between(scrape, later, "sse_commit_seconds").quantile(0.5) * 1000,
        p50_ms=got.p50_ms,
        p99_ms=got.p99_ms,
        server_cpu_us=(last.cpu_seconds - first.cpu_seconds) / got.events * 1e6,
        postgres_cpu_us=(last.children_cpu_seconds - first.children_cpu_seconds) / got.events * 1e6,
        conversation_page_ms=_page_ms(owner, f"read_conversation_events('{conversations[0]}', "),
        user_page_ms=_page_ms(owner, f"read_user_events('{_only_user(owner)}', "),
    )


def _page_ms(owner: Owner, call: str) -> float:
    """Return the median of pages at places all over the log."""
    ((head,),) = owner.run("select position from rustygpt.event_head")
    took = []
    for number in range(PAGES):
        after = head * number // PAGES
        plan = owner.run(f"explain analyze select * from rustygpt_api.{call}{after}, {head}, {PAGE_EVENTS})")
        found = _EXECUTION.search(plan[-1][0])
        assert found is not None
        took.append(float(found[1]))
    return statistics.median(took)


def _only_user(owner: Owner) -> str:
    return str(owner.run("select id from rustygpt.users")[0][0])


def _table(found: Sequence[Growth]) -> str:
    head = [
        "rows",
        "commit p50 ms",
        "commit → receive p50 / p99 ms",
        "CPU µs/event",
        "PostgreSQL's",
        "page of a conversation ms",
        "of a user ms",
    ]
    rows = [
        [
            f"{each.rows:,}",
            f"{each.commit_p50_ms:.1f}",
            f"{each.p50_ms:.1f} / {each.p99_ms:.1f}",
            f"{each.server_cpu_us:,.0f}",
            f"{each.postgres_cpu_us:,.0f}",
            f"{each.conversation_page_ms:.2f}",
            f"{each.user_page_ms:.2f}",
        ]
        for each in found
    ]
    return table(head, rows)


def _add_options(parser: argparse.ArgumentParser) -> None:
    default = [1_000, 10_000, 100_000, 1_000_000]
    parser.add_argument(
        "--rows", type=counts(100, 10_000_000), default=default, metavar="N,N…", help="1000,10000,100000,1000000 unless told"
    )
    add_seconds(parser)


SCENARIO = Scenario("log", "the cost of an event in a log of a thousand to a million rows", _add_options, run)
