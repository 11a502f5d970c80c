"""Metrics: the names of the contract, closed label sets, a known number of series."""

import re
from pathlib import Path

from prometheus_client import generate_latest

from rustygpt.observability.closed_labels import OTHER
from rustygpt.observability.metrics import MAX_MODELS, Metrics

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
CONTRACT = [
    "http_requests_total{method,route,status}",
    "http_request_duration_seconds",
    "sse_events_sent_total{type}",
    "sse_subscribers{stream}",
    "sse_resume_total{outcome}",
    "sse_gap_total{reason}",
    "sse_commit_batch_size",
    "sse_commit_seconds",
    "sse_publish_to_send_seconds",
    "rustygpt_sse_replay_events_total{type}",
    "rustygpt_sse_replay_duration_seconds",
    "rustygpt_auth_logins_total{method,result}",
    "rustygpt_auth_session_rotations_total{reason}",
    "rustygpt_auth_active_sessions",
    "rustygpt_generations_total{provider,model,outcome}",
    "rustygpt_generation_queue_seconds",
    "rustygpt_generation_first_token_seconds",
    "rustygpt_generation_tokens_total{kind}",
    "rustygpt_generations_running",
    "rustygpt_stream_cancels_total",
    "rustygpt_stream_timeouts_total",
    "rustygpt_stream_cancel_latency_seconds",
    "db_bootstrap_scripts_total{kind,result}",
    "db_bootstrap_duration_seconds",
    "db_liveness_checks_total{result}",
    "db_readiness_checks_total{result}",
    "db_pool_connections{state}",
    "bus_reconnects_total",
    "health_checks_total{probe,result}",
]


def families(metrics: Metrics) -> dict[str, set[str]]:
    """Return each family's exported name and label names, as a scrape shows them."""
    metrics.http_answered("GET", "/x", 200)
    metrics.http_took("GET", "/x", 0.1)
    metrics.generation_ended("demo", "demo", "stop")
    metrics.rate_limited("/x", "allowed")
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = {label for sample in family.samples for label in sample.labels if label != "le"}
    return found


def test_every_name_of_the_contract_is_exported() -> None:
    """Each metric of the HTTP contract that this version has is there from the start, with its labels."""
    found = families(Metrics())
    for entry in CONTRACT:
        name, _, labels = entry.rstrip("}").partition("{")
        assert name in found
        if labels:
            assert found[name] == set(labels.split(","))


def test_reference_lists_every_metric() -> None:
    """docs/reference/metrics.md names exactly what we export, labels and help text included."""
    metrics = Metrics()
    ours = {name: labels for name, labels in families(metrics).items() if not name.startswith(("process_", "python_"))}
    documented = {
        name: set(filter(None, labels.split(", ")))
        for name, labels in re.findall(r"^\| `([a-z_]+)` \| ([a-z_, ]*?) ?\| [a-z]+ \|", REFERENCE.read_text(), re.MULTILINE)
    }
    assert documented == ours
    for family in metrics.registry.collect():
        assert family.documentation in REFERENCE.read_text() or family.name.startswith(("process_", "python_"))


def test_reference_lists_every_label_value() -> None:
    """The reference's closed sets are those of a fresh process."""
    text = REFERENCE.read_text().split("## Label values")[1]
    everything = "|".join(re.findall(r"`([a-z_.]+)`", text))
    for family in Metrics().registry.collect():
        if not family.name.startswith(("process_", "python_")):
            for sample in family.samples:
                for label, value in sample.labels.items():
                    assert label == "le" or value in everything, (family.name, label, value)


def test_process_metrics_are_there() -> None:
    """The process's memory, CPU and descriptors are exported, so that a leak shows."""
    text = generate_latest(Metrics().registry).decode()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds"):
        assert f"\n{name} " in text


def test_two_instances_share_nothing() -> None:
    """Each Metrics has its own registry: two apps in one process do not see each other's counts."""
    one, two = Metrics(), Metrics()
    one.sse_gap_total.labels("history_pruned").inc()
    assert two.registry.get_sample_value("sse_gap_total", {"reason": "history_pruned"}) == 0


def test_unknown_label_value_counts_as_other() -> None:
    """A value outside the closed set adds at most one series, named "other"."""
    metrics = Metrics()
    for number in range(100):
        metrics.sse_events_sent_total.labels(f"made-up-{number}").inc()
        metrics.auth_logins_total.labels(method="password", result=f"odd-{number}").inc()
    assert metrics.registry.get_sample_value("sse_events_sent_total", {"type": OTHER}) == 100
    assert metrics.registry.get_sample_value("rustygpt_auth_logins_total", {"method": "password", "result": OTHER}) == 100


def test_models_are_capped() -> None:
    """The first models keep their names; a thousand made-up ones share one series, an endless name too."""
    metrics = Metrics()
    for number in range(1_000):
        metrics.generation_ended("demo", f"model-{number}", "stop")
    metrics.generation_ended("demo", "x" * 500, "stop")
    metrics.generation_ended("", "", "interrupted")
    values = {"provider": "demo", "model": "model-0", "outcome": "stop"}
    assert metrics.registry.get_sample_value("rustygpt_generations_total", values) == 1
    rest = {"provider": OTHER, "model": OTHER, "outcome": "stop"}
    assert metrics.registry.get_sample_value("rustygpt_generations_total", rest) == 1_001 - MAX_MODELS
    assert metrics.registry.get_sample_value("rustygpt_generations_total", rest | {"outcome": "interrupted"}) == 1


def test_fresh_process_exports_few_series() -> None:
    """A fresh process exports fewer than 400 series, and no `_created` ones."""
    metrics = Metrics()
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    assert len(samples) < 400
    assert not [sample.name for sample in samples if sample.name.endswith("_created")]
