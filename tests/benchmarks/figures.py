"""What was measured, as numbers: percentiles, medians over rounds, and what a scrape of /metrics says."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_SAMPLE = re.compile(r'^(?P<name>\w+)(?:\{(?:[^}]*?le="(?P<le>[^"]+)"[^}]*|[^}]*)\})? (?P<value>\S+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several rounds."""

    median: float
    least: float
    greatest: float

    def shown(self, digits: int = 1) -> str:
        median, least, greatest = (f"{value:,.{digits}f}" for value in (self.median, self.least, self.greatest))
        return median if least == greatest else f"{median} ({least}–{greatest})"


def spread(values: Sequence[float | None]) -> Spread | None:
    """Sum up the rounds; None where nothing was measured."""
    known = [value for value in values if value is not None]
    return Spread(statistics.median(known), min(known), max(known)) if known else None


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which *share* (0 to 1) of the *ordered* values lie; 0 for none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """A Prometheus histogram between two scrapes: cumulative counts by upper bound, in seconds, and their total."""

    buckets: tuple[tuple[float, float], ...]
    count: float

    def quantile(self, share: float) -> float:
        """Interpolate within the bucket, as PromQL's histogram_quantile does."""
        rank, below, floor = share * self.count, 0.0, 0.0
        for bound, cumulated in self.buckets:
            if cumulated >= rank and cumulated > below:
                return floor if bound == float("inf") else floor + (bound - floor) * (rank - below) / (cumulated - below)
            below, floor = cumulated, bound
        return 0.0


def histogram_between(before: str, after: str, name: str) -> Histogram:
    """Read one unlabelled histogram out of two scrapes, and take the difference."""
    first, last = _buckets(before, name), _buckets(after, name)
    return Histogram(
        tuple((bound, last[bound] - first.get(bound, 0.0)) for bound in sorted(last)),
        total_between(before, after, f"{name}_count"),
    )


def total_between(before: str, after: str, name: str) -> float:
    """Return by how much an unlabelled counter has grown."""
    return _total(after, name) - _total(before, name)


def _buckets(scrape: str, name: str) -> dict[float, float]:
    return {
        float(found["le"].replace("+Inf", "inf")): float(found["value"])
        for found in _SAMPLE.finditer(scrape)
        if found["name"] == f"{name}_bucket"
    }


def _total(scrape: str, name: str) -> float:
    return sum(float(found["value"]) for found in _SAMPLE.finditer(scrape) if found["name"] == name)
