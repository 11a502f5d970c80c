"""Many replies at once into PostgreSQL: what the committer makes of them, and how late a token is for its one reader."""

from dataclasses import asdict, dataclass

from tests.benchmarks.figures import histogram_between, total_between
from tests.benchmarks.processes import pass_time, reading
from tests.benchmarks.reader import Task
from tests.benchmarks.visitor import Visitor, stream_path

TOKENS_PER_SECOND = 50.0
FLUSH_MS = 25
"""The product's default."""
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class TokenPath:
    """One round. `p…_ms`: from commit to receipt; `token_p…_ms`: from the model's token to its receipt, above the fastest of the same reply."""

    replies: int
    tokens_per_second: float
    calls_per_second: float
    chunks_per_second: float
    received_share: float
    chunks_per_call: float
    commit_p50_ms: float
    commit_p99_ms: float
    p50_ms: float
    p99_ms: float
    token_p50_ms: float
    token_p99_ms: float
    server_cpu_share: float
    postgres_cpu_share: float
    reader_cpu_share: float


def measure(visitor: Visitor, replies: int, seconds: float) -> TokenPath:
    """Run one round with a fresh server process: a conversation, a reply and a reader each."""
    with visitor.server(tokens_per_second=TOKENS_PER_SECOND, flush_ms=FLUSH_MS) as server:
        conversations = [visitor.new_conversation() for _ in range(replies)]
        paths = [stream_path(each) for each in conversations]
        with reading(Task(server.port, paths, visitor.cookie, TOKENS_PER_SECOND)) as reader:
            for conversation in conversations:
                visitor.ask(conversation)
            pass_time(min(SETTLE_SECONDS, seconds))
            reader.reset()
            scrape, first = visitor.scrape(), server.usage()
            pass_time(seconds)
            later, last = visitor.scrape(), server.usage()
            got = reader.report()
    if got.closed or got.silent:
        raise RuntimeError(f"the round does not count: {asdict(got)}")
    wall = last.at - first.at
    commits = histogram_between(scrape, later, "sse_commit_seconds")
    chunks = total_between(scrape, later, "sse_commit_batch_size_sum")
    return TokenPath(
        replies=replies,
        tokens_per_second=got.tokens / got.seconds,
        calls_per_second=commits.count / wall,
        chunks_per_second=got.deliveries / got.seconds,
        received_share=got.deliveries / chunks if chunks else 0.0,
        chunks_per_call=chunks / max(commits.count, 1),
        commit_p50_ms=commits.quantile(0.5) * 1000,
        commit_p99_ms=commits.quantile(0.99) * 1000,
        p50_ms=got.p50_ms,
        p99_ms=got.p99_ms,
        token_p50_ms=got.token_p50_ms,
        token_p99_ms=got.token_p99_ms,
        server_cpu_share=(last.cpu_seconds - first.cpu_seconds) / wall,
        postgres_cpu_share=(last.children_cpu_seconds - first.children_cpu_seconds) / wall,
        reader_cpu_share=got.cpu_seconds / got.seconds,
    )
