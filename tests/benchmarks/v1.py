"""`v1`: what /v1 adds to a direct call, beside a bare pass-through in Starlette and httpx2 that knows nobody and reads nothing."""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from tests.benchmarks.figures import percentile
from tests.benchmarks.processes import Served, Usage, served
from tests.benchmarks.scenario import Scenario, add_rounds, add_seconds, within
from tests.benchmarks.tables import cell, pair, ratio, say, show, table
from tests.benchmarks.v1_client import Patient, Streams, Target, closes, hang_up, read_streams
from tests.benchmarks.visitor import Visitor
from tests.story_model import SLOW, story_tokens, write_story_model

Kind = Literal["direct", "rustygpt", "pass-through", "sse-starlette"]
NAMES: Final[dict[Kind, str]] = {
    "direct": "the upstream itself",
    "rustygpt": "RustyGPT",
    "pass-through": "Starlette + httpx2",
    "sse-starlette": "the same by sse-starlette",
}
RATE: Final = 50
WARM_UP: Final = 30
PROVIDER: Final = '\n[[assistant.providers]]\nkind = "openai"\nname = "bench"\nbase_url = "{url}/v1"\nmodels = ["bench"]\n'


@dataclass(frozen=True, slots=True)
class FirstToken:
    """How long first tokens took, and by how much longer than asked directly in the same turn."""

    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    added_p99_ms: float


@dataclass(frozen=True, slots=True)
class Load:
    """Many streams at once. CPU is the server's own, PostgreSQL's apart."""

    tokens_per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Place:
    """A server, its process where it has a CPU to look at, and how to ask it."""

    target: Target
    server: Served


def run(visitor: Visitor, options: argparse.Namespace) -> dict[str, object]:
    """Measure all parts, in turns, so that what else the machine does meets all alike."""
    results: dict[str, object] = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(served("-m", "tests.benchmarks.v1_upstream", log=visitor.folder / "upstream.log"))
        places = _open(visitor, upstream, stack)
        firsts, loads, cancels = _measure(places, upstream, options)
    results["v1_first_token"] = {kind: [asdict(each) for each in found] for kind, found in firsts.items()}
    results["v1_streams"] = {kind: [asdict(each) for each in found] for kind, found in loads.items()}
    results["v1_cancel_ms"] = cancels
    show("First token, one request at a time", _first_table(firsts))
    show(f"{options.streams} streams × {RATE} tokens/s", _load_table(loads))
    show("Hang-up → upstream closed", _cancel_table(cancels))
    if options.llama_seconds:
        results["v1_llama_cpp"] = found = _llama(visitor, options)
        show("llama.cpp in a process of ours", _llama_table(found))
    return results


def _open(visitor: Visitor, upstream: Served, stack: ExitStack) -> dict[Kind, Place]:
    url = f"{upstream.url}/v1/chat/completions"
    places: dict[Kind, Place] = {"direct": Place(Target(upstream.port), upstream)}
    server = stack.enter_context(visitor.server(tokens_per_second=0, flush_ms=25, more=PROVIDER.format(url=upstream.url)))
    places["rustygpt"] = Place(Target(server.port, visitor.new_key()), server)
    for kind, arguments in (("pass-through", ()), ("sse-starlette", ("sse",))):
        log = visitor.folder / f"{kind}.log"
        proxy = stack.enter_context(served("-m", "tests.benchmarks.v1_passthrough", url, *arguments, log=log))
        places[kind] = Place(Target(proxy.port), proxy)  # type: ignore[index]
    return places


def _measure(
    places: dict[Kind, Place], upstream: Served, options: argparse.Namespace
) -> tuple[dict[Kind, list[FirstToken]], dict[Kind, list[Load]], list[float]]:
    firsts: dict[Kind, list[FirstToken]] = {}
    loads: dict[Kind, list[Load]] = {}
    cancels: list[float] = []
    for number in range(options.rounds):
        say(f"first tokens, round {number + 1} of {options.rounds}")
        for kind, found in _first_tokens(places, options.requests).items():
            firsts.setdefault(kind, []).append(found)
        for kind, place in places.items():
            if kind != "direct":
                say(f"{options.streams} streams, {NAMES[kind]}, round {number + 1} of {options.rounds}")
                loads.setdefault(kind, []).append(_load(place, options.streams, options.seconds))
    say("hang-ups")
    before = len(closes(upstream.port, 0))
    left = hang_up(places["rustygpt"].target, options.cancels)
    seen = closes(upstream.port, before + options.cancels)[before:]
    cancels += [(closed - gone) / 1e6 for gone, closed in zip(left, sorted(seen), strict=False)]
    return firsts, loads, cancels


def _first_tokens(places: dict[Kind, Place], requests: int) -> dict[Kind, FirstToken]:
    """Ask each in turn, so that each has its direct call beside it."""
    patients = {kind: Patient(place.target) for kind, place in places.items()}
    took: dict[Kind, list[float]] = {kind: [] for kind in places}
    for number in range(requests + WARM_UP):
        for kind, patient in patients.items():
            milliseconds = patient.first_token_ms()
            if number >= WARM_UP:
                took[kind].append(milliseconds)
    for patient in patients.values():
        patient.close()
    found: dict[Kind, FirstToken] = {}
    for kind, each in took.items():
        added = sorted(ours - direct for ours, direct in zip(each, took["direct"], strict=True))
        ordered = sorted(each)
        halves = (percentile(ordered, 0.5), percentile(ordered, 0.99), percentile(added, 0.5), percentile(added, 0.99))
        found[kind] = FirstToken(*halves)
    return found


def _load(place: Place, streams: int, seconds: float) -> Load:
    seen: list[Usage] = []
    got: Streams = read_streams(place.target, streams, RATE, seconds, lambda: seen.append(place.server.usage()))
    cpu = seen[1].cpu_seconds - seen[0].cpu_seconds
    return Load(got.tokens / got.seconds, cpu / max(got.tokens, 1) * 1e6, got.p50_ms, got.p99_ms)


@contextmanager
def _model(folder: Path) -> Iterator[None]:
    models = folder / "data" / "models"
    models.mkdir(parents=True, exist_ok=True)
    write_story_model(models / "slow.gguf", tokens=story_tokens(3_000), layers=1, feed_forward=SLOW)
    try:
        yield
    finally:
        shutil.rmtree(models)


def _llama(visitor: Visitor, options: argparse.Namespace) -> dict[str, list[float]]:
    """Tokens a second of one stream and of four, in turns; a stream that has told its story is begun anew."""
    from tests.benchmarks.v1_story import tokens_per_second

    found: dict[str, list[float]] = {"1": [], "4": []}
    with _model(visitor.folder), visitor.server(tokens_per_second=0, flush_ms=25, has_llama_cpp=True) as server:
        target = Target(server.port, visitor.new_key())
        tokens_per_second(target, 1, 1.0)
        for number in range(options.rounds):
            for streams in (1, 4):
                say(f"llama.cpp, {streams} at once, round {number + 1} of {options.rounds}")
                found[str(streams)].append(tokens_per_second(target, streams, options.llama_seconds))
    return found


def _first_table(found: dict[Kind, list[FirstToken]]) -> str:
    rows = [
        [
            NAMES[kind],
            pair(each, lambda one: one.p50_ms, lambda one: one.p99_ms),
            pair(each, lambda one: one.added_p50_ms, lambda one: one.added_p99_ms) if kind != "direct" else "–",
        ]
        for kind, each in found.items()
    ]
    return table(["asked", "p50 / p99 ms", "more than directly p50 / p99 ms"], rows)


def _load_table(found: dict[Kind, list[Load]]) -> str:
    bare = found["pass-through"]
    rows = [
        [
            NAMES[kind],
            cell(each, lambda one: one.tokens_per_second, 0),
            cell(each, lambda one: one.cpu_us),
            ratio(each, bare, lambda one: one.cpu_us),
            pair(each, lambda one: one.p50_ms, lambda one: one.p99_ms),
        ]
        for kind, each in found.items()
    ]
    return table(["asked", "tokens/s", "CPU µs/token", "÷ pass-through", "token p50 / p99 ms"], rows)


def _cancel_table(found: Sequence[float]) -> str:
    ordered = sorted(found)
    values = [f"{percentile(ordered, share):.1f}" for share in (0.5, 0.99)]
    return table(["hang-ups", "p50 ms", "p99 ms"], [[str(len(found)), *values]])


def _llama_table(found: dict[str, list[float]]) -> str:
    one, four = found["1"], found["4"]
    rows = [["one", cell(one, float, 0), "1"], ["four", cell(four, float, 0), ratio(four, one, float)]]
    return table(["streams", "tokens/s", "÷ one"], rows)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=within(int, 1, 10_000), default=200, help="for first tokens, each; 200")
    parser.add_argument("--streams", type=within(int, 1, 1_000), default=100, help="at once; 100")
    parser.add_argument("--cancels", type=within(int, 1, 1_000), default=100, help="hang-ups; 100")
    parser.add_argument(
        "--llama-seconds", type=within(float, 0, 60), default=5.0, help="of each round of llama.cpp; 5, 0 leaves it out"
    )
    add_seconds(parser)
    add_rounds(parser)


SCENARIO = Scenario("v1", "what /v1 adds to a direct call, beside a bare pass-through in Starlette and httpx2", _add_options, run)
