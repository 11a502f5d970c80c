"""The servers that are compared, each with something to follow whose events come at a steady rate: ours twice, and two others."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import httpx2

from tests.benchmarks import nchan
from tests.benchmarks.processes import Served, served, started
from tests.benchmarks.reader import GREETING, Task
from tests.benchmarks.token_path import FLUSH_MS
from tests.benchmarks.visitor import Visitor, stream_path

System = Literal["rustygpt", "merged", "baseline", "nchan"]
"""Ours with each token committed and sent by itself; ours as delivered (`flush_ms` 25); a bare Starlette server; nginx with nchan."""
NAMES: Final[dict[System, str]] = {
    "rustygpt": "RustyGPT, each token by itself",
    "merged": "RustyGPT, as delivered",
    "baseline": "bare Starlette",
    "nchan": "nginx + nchan",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A running server with something to follow; *begin* makes the events come, until the block around it ends."""

    server: Served
    path: str
    begin: Callable[[ExitStack], object]
    cookie: str = "none=none"
    greeting: str = GREETING

    def task(self, streams: int) -> Task:
        """Return the task of that many readers."""
        return Task(self.server.port, [self.path] * streams, self.cookie, greeting=self.greeting)


@contextmanager
def _rustygpt(visitor: Visitor, per_second: float, flush_ms: int) -> Iterator[Source]:
    """The real server. With flush_ms = 0 every token is committed as a row of its own."""
    with visitor.server(tokens_per_second=per_second, flush_ms=flush_ms) as server:
        conversation = visitor.new_conversation()
        yield Source(server, stream_path(conversation), lambda _: visitor.ask(conversation), visitor.cookie)


@contextmanager
def _baseline(visitor: Visitor, per_second: float) -> Iterator[Source]:
    """The bare Starlette server, in the same place."""
    with served("-m", "tests.benchmarks.baseline", log=visitor.folder / "baseline.log") as server:
        yield Source(server, "/stream", lambda _: httpx2.post(f"{server.url}/rate/{per_second}").raise_for_status())


@contextmanager
def _nginx(visitor: Visitor, per_second: float) -> Iterator[Source]:
    """nginx with nchan; a process of its own publishes."""
    with nchan.serving(visitor.folder) as server:
        command = ("-m", "tests.benchmarks.publisher", f"{server.url}/publish", str(per_second))
        yield Source(server, "/stream", lambda streams: streams.enter_context(started(*command)), greeting=nchan.GREETING)


def open_source(visitor: Visitor, system: System, per_second: float) -> AbstractContextManager[Source]:
    """Start one of them."""
    match system:
        case "rustygpt":
            return _rustygpt(visitor, per_second, flush_ms=0)
        case "merged":
            return _rustygpt(visitor, per_second, flush_ms=FLUSH_MS)
        case "baseline":
            return _baseline(visitor, per_second)
        case "nchan":
            return _nginx(visitor, per_second)
