"""The recorder's summary: what was driven, what was broken, what came of it. The zeros decide; everything else is told, not judged."""

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from tests.benchmarks.figures import percentile
from tests.soak.chaos import Injected
from tests.soak.fleet import Server
from tests.soak.run import Run
from tests.soak.texts import Texts
from tests.soak.verdict import Verdict

SHOWN = 10
ZEROS = {
    "lost": ("lost",),
    "duplicated": ("duplicated",),
    "unannounced holes": ("unannounced hole",),
    "delivered but not in the log, not allowed, or altered": ("not in the log", "not allowed", "altered"),
    "wrong texts, ends, snapshots": ("wrong text", "wrong end", "wrong snapshot", "inexact gap"),
    "unexpected answers": ("unexpected answer",),
    "not recovered, bad exits": ("not recovered", "bad exit"),
}


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the soak found."""

    options: dict[str, Any]
    seconds: float
    events: int
    verdict: Verdict
    texts: Texts
    injected: list[Injected]
    last_word_seconds: float
    servers: list[Server]
    trouble: list[str]


def as_json(run: Run, found: Findings) -> str:
    """Everything as JSON."""
    return json.dumps(
        {
            "options": found.options,
            "seconds": round(found.seconds, 1),
            "zeros": zeros(run),
            "events": found.events,
            "deliveries": run.tally["deliveries"],
            "verdict": asdict(found.verdict),
            "texts": asdict(found.texts),
            "faults": [asdict(each) for each in found.injected],
            "recovery_seconds": _recovery(found.injected),
            "interrupted_reply_closed_within_seconds": found.last_word_seconds,
            "latency_ms": _latency(run),
            "latest_deliveries": [asdict(each) for each in sorted(run.worst, reverse=True)],
            "tally": dict(sorted(run.tally.items())),
            "servers": [_weights(server) for server in found.servers],
            "violations": [asdict(each) for each in run.violations[:SHOWN]],
            "server_log": found.trouble[:SHOWN],
        },
        indent=1,
    )


def as_text(run: Run, found: Findings) -> str:
    """The table for a terminal."""
    rows = [
        ("time", f"{found.seconds:.0f} s, seed {run.seed}, {found.options}"),
        ("load", f"{found.events:,} events ({found.events / found.seconds:.0f}/s), {found.texts.posts:,} posts confirmed"),
        (
            "readers",
            f"{found.verdict.readers}: {run.tally['deliveries']:,} frames ({run.tally['deliveries'] / found.seconds:,.0f}/s)",
        ),
        (
            "positions",
            f"{found.verdict.expected:,} due, {found.verdict.delivered:,} came, {found.verdict.announced:,} announced as left out",
        ),
        (
            "merged, replayed",
            f"{found.verdict.merged:,} within merged frames, {run.tally['discarded']:,} frames came again after a cut",
        ),
        ("gaps", _tallied(run, "gap ")),
        ("streams", _tallied(run, "stream ")),
        ("requests", _tallied(run, "request ")),
        (
            "replies",
            f"{found.texts.whole} whole; " + ", ".join(f"{n} {state}" for state, n in sorted(found.texts.replies.items())),
        ),
        ("snapshots compared", f"{found.texts.snapshots:,}"),
        ("faults", ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(each.kind for each in found.injected).items()))),
        ("worst recovery", ", ".join(f"{kind} {worst:.1f} s" for kind, worst in _recovery(found.injected).items())),
        ("interrupted reply", f"closed at most {found.last_word_seconds:.1f} s after its last piece"),
        ("commit → receive", ", ".join(f"{name} {value:.1f} ms" for name, value in _latency(run).items()) + " in the calm"),
        *((server.name, _shown(server)) for server in found.servers),
        ("lines of trouble", f"{len(found.trouble)} in the servers' logs"),
        *((f"ZERO: {name}", f"{count}") for name, count in zeros(run).items()),
    ]
    lines = [f"| {name} | {value} |" for name, value in rows]
    first = [f"{each.kind}: {each.where}, position {each.position}: {each.context}" for each in run.violations[:SHOWN]]
    return "\n".join([*lines, *first, *found.trouble[:SHOWN]])


def zeros(run: Run) -> dict[str, int]:
    """What must be zero."""
    return {name: sum(run.violation_counts[kind] for kind in kinds) for name, kinds in ZEROS.items()}


def _recovery(injected: list[Injected]) -> dict[str, float]:
    worst: dict[str, float] = defaultdict(float)
    for each in injected:
        if each.recovery_seconds is not None:
            worst[each.kind] = max(worst[each.kind], round(each.recovery_seconds, 2))
    return dict(sorted(worst.items()))


def _latency(run: Run) -> dict[str, float]:
    ordered = sorted(run.latencies)
    return {f"p{share * 100:g}": round(percentile(ordered, share) * 1000, 2) for share in (0.5, 0.95, 0.99, 0.999)}


def _tallied(run: Run, prefix: str) -> str:
    named = {name.removeprefix(prefix): count for name, count in run.tally.items() if name.startswith(prefix)}
    return ", ".join(f"{count:,} × {name}" for name, count in sorted(named.items())) or "none"


def _weights(server: Server) -> dict[str, Any]:
    began, ended = server.began, server.ended
    return {
        "name": server.name,
        "starts": server.starts,
        "rss_mib_began": round(began.rss_bytes / 2**20, 1) if began else None,
        "rss_mib_ended": round(ended.rss_bytes / 2**20, 1) if ended else None,
        "rss_mib_peak": round(server.peak_bytes / 2**20, 1),
        "descriptors_began": began.descriptors if began else None,
        "descriptors_ended": ended.descriptors if ended else None,
    }


def _shown(server: Server) -> str:
    weights = _weights(server)
    memory = f"{weights['rss_mib_began']} → {weights['rss_mib_ended']} MiB (peak {weights['rss_mib_peak']})"
    return f"{memory}, descriptors {weights['descriptors_began']} → {weights['descriptors_ended']}, started {server.starts} times"
