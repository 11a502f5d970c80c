"""The benchmark is a program, too: it must run. What it measures is nobody's pass or failure."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import nchan
from tests.benchmarks.figures import Spread, histogram_between, percentile, spread
from tests.cli.command import REPOSITORY, environment


def _run(tmp_path: Path, what: str, *options: str) -> tuple[str, dict[str, Any]]:
    """Run a scenario to its end; return its tables and its figures."""
    found = tmp_path / "figures.json"
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", what, *options, "--json", str(found)],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, json.loads(found.read_text())


@pytest.mark.acceptance
def test_benchmark_of_streams_runs(tmp_path: Path) -> None:
    """Two subscribers and two replies for a second and a half give every figure, with nothing lost on the way; what is missing is said."""
    tables, figures = _run(tmp_path, "stream", "--subscribers", "2", "--replies", "2", "--seconds", "1.5", "--rounds", "1")
    systems = ["rustygpt", "merged", "baseline"]
    if nchan.find_missing():
        assert "Skipped" in tables
        assert figures["skipped"].keys() == {"nchan"}
    else:
        systems.append("nchan")
    assert figures["fan_out"].keys() == set(systems)
    for system in systems:
        (round_,) = figures["fan_out"][system]["2"]
        assert round_["deliveries_per_second"] > 0
        assert round_["p99_ms"] > 0
    assert tables.count("\n| ") == (2 + len(systems)) + (2 + 2 * (len(systems) - 2)) + 13, tables
    assert figures["token_path"][0]["calls_per_second"] > 0
    assert figures["token_path"][0]["commit_p99_ms"] > 0


@pytest.mark.acceptance
def test_benchmark_of_idle_streams_runs(tmp_path: Path) -> None:
    """A few idle streams get an event each, and leave no descriptor behind."""
    _, figures = _run(tmp_path, "idle", "--streams", "5", "--seconds", "0.5", "--alone")
    (round_,) = figures["idle"]["rustygpt"]
    assert round_["events"] > 0
    assert round_["descriptors_left"] == 0


@pytest.mark.acceptance
def test_benchmark_of_a_storm_runs(tmp_path: Path) -> None:
    """A few clients resume a few events: all get the same, in order, and one page of the log is read."""
    _, figures = _run(tmp_path, "storm", "--clients", "5", "--events", "6", "--rounds", "1")
    for (round_,) in figures["storm"].values():
        assert round_["outcome"]["statuses"] == {"200": 5}
        assert (round_["outcome"]["different"], round_["outcome"]["unfinished"]) == (0, 0)
        assert (round_["queries"], round_["pages"]) == (1, 1)


@pytest.mark.acceptance
def test_benchmark_of_slow_readers_runs(tmp_path: Path) -> None:
    """One of two clients never reads; the other gets what it would get."""
    _, figures = _run(tmp_path, "slow", "--subscribers", "2", "--seconds", "0.5", "--rounds", "1")
    assert [figures["slow"][kind][0]["stalled"] for kind in ("none", "stalled")] == [0, 1]
    assert all(rounds[0]["p99_ms"] > 0 for rounds in figures["slow"].values())


@pytest.mark.acceptance
def test_benchmark_of_a_long_log_runs(tmp_path: Path) -> None:
    """A log that is filled by hand is appended to, delivered from and read."""
    _, figures = _run(tmp_path, "log", "--rows", "300,600", "--seconds", "0.5")
    assert [each["rows"] for each in figures["log"]] == [300, 600]
    assert all(each["events"] > 0 and each["user_page_ms"] > 0 for each in figures["log"])


@pytest.mark.acceptance
def test_benchmark_of_signing_in_runs(tmp_path: Path) -> None:
    """A few people sign in at once while somebody else asks; the loop's lateness is measured in the server itself."""
    _, figures = _run(tmp_path, "login", "--logins", "3", "--rounds", "1")
    (round_,) = figures["login"]
    assert round_["logins"] + round_["refused"] == 3
    assert round_["quiet"]["samples"] >= 100
    assert round_["busy"]["request_p99_ms"] > 0


@pytest.mark.acceptance
def test_benchmark_of_v1_runs(tmp_path: Path) -> None:
    """A few requests, streams and hang-ups give every figure, of us and of the pass-throughs."""
    options = ("--requests", "3", "--streams", "2", "--cancels", "2", "--seconds", "0.5", "--rounds", "1", "--llama-seconds", "0")
    _, figures = _run(tmp_path, "v1", *options)
    assert figures["v1_first_token"].keys() == {"direct", "rustygpt", "pass-through", "sse-starlette"}
    assert all(rounds[0]["cpu_us"] > 0 for rounds in figures["v1_streams"].values())
    assert len(figures["v1_cancel_ms"]) == 2
    assert all(0 <= each < 60_000 for each in figures["v1_cancel_ms"])


def test_quantile_of_a_histogram_is_interpolated_as_prometheus_does() -> None:
    """Half of ten observations lie below the middle of the bucket that holds the other half."""
    before = (
        'x_seconds_bucket{le="0.1"} 0.0\nx_seconds_bucket{le="0.2"} 0.0\nx_seconds_bucket{le="+Inf"} 0.0\nx_seconds_count 0.0\n'
    )
    after = (
        'x_seconds_bucket{le="0.1"} 4.0\nx_seconds_bucket{le="0.2"} 8.0\nx_seconds_bucket{le="+Inf"} 8.0\nx_seconds_count 8.0\n'
    )
    assert histogram_between(before, after, "x_seconds").quantile(0.75) == pytest.approx(0.15)


def test_rounds_are_summed_up_by_their_median() -> None:
    """One disturbed round does not move the figure; what was not measured does not count."""
    assert spread([3.0, 1.0, None, 200.0]) == Spread(median=3.0, least=1.0, greatest=200.0)
    assert spread([None]) is None
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0
