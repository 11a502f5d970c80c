"""Every panel, alert and rule, judged by a real Prometheus that scrapes a real server."""

import subprocess
from functools import partial
from pathlib import Path

import httpx2
import pytest

from rustygpt.observability.metrics import Metrics
from tests.deploy.boards import PROMETHEUS, Expression, expressions, rules
from tests.deploy.prometheus import Prometheus, require_program, wait_for, write_configuration
from tests.deploy.promql import grouping_labels, selectors

EXPRESSIONS = list(expressions())
BY_SCRAPING = {"job", "instance"}
SHOW_SECONDS = 120.0


def known_labels() -> dict[str, set[str]]:
    """Return the labels of each series name that the server or a recording rule makes."""
    metrics = Metrics()
    metrics.http_answered("GET", "/x", 200)
    metrics.http_took("GET", "/x", 0.1)
    metrics.generation_ended("demo", "demo", "stop")
    known: dict[str, set[str]] = {"up": set(BY_SCRAPING)}
    for family in metrics.registry.collect():
        for sample in family.samples:
            known.setdefault(sample.name, set(BY_SCRAPING)).update(sample.labels)
    for rule in rules("rules.yml"):
        known[rule["record"]] = grouping_labels(rule["expr"]) - {"le"}
    return known


KNOWN = known_labels()


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.where)
def test_expression_names_only_what_exists(expression: Expression) -> None:
    """Every metric and label of an expression is one that the server exports or a rule records."""
    found = selectors(expression.text)
    assert found
    for selector in found:
        assert selector.metric in KNOWN
        assert {label for label, _, _ in selector.matchers} <= KNOWN[selector.metric]
        assert '"rustygpt"' in {value for label, _, value in selector.matchers if label == "job"}
    assert grouping_labels(expression.text) <= set().union(*(KNOWN[selector.metric] for selector in found))


@pytest.mark.prometheus
@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.where)
def test_expression_works_on_a_real_scrape(expression: Expression, scraper: Prometheus) -> None:
    """Prometheus takes the expression; each of its selectors finds series; a panel or a recording shows something."""
    scraper.query(expression.text)
    # Waits, because a scrape that a busy machine let fail leaves a second without samples.
    # Which statuses the server has answered with is chance, so a selector may find nothing because of `status` alone.
    for series in [selector.query(without="status") for selector in selectors(expression.text)]:
        wait_for(series, partial(scraper.query, series), SHOW_SECONDS)
    if expression.shows and "status=~" not in expression.text:
        wait_for(f"a line of {expression.where}", lambda: scraper.query(expression.text), SHOW_SECONDS)


@pytest.mark.prometheus
def test_rules_evaluate_without_errors(scraper: Prometheus) -> None:
    """Prometheus has evaluated every rule and alert of deploy/, none with an error, and a healthy server raises no alert."""
    found = [rule for group in scraper.get("rules")["data"]["groups"] for rule in group["rules"]]
    assert len(found) == len(rules("rules.yml")) + len(rules("alerts.yml"))
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []
    assert scraper.query('ALERTS{alertstate="firing"}') == []


@pytest.mark.prometheus
def test_token_is_needed_and_sent(scraper: Prometheus, loaded_server: str) -> None:
    """The scrape of deploy/ brings the token of its file: the target is up although /metrics is closed to others."""
    assert httpx2.get(f"http://{loaded_server}/metrics", timeout=60).status_code == 401

    def targets() -> list[tuple[str, str, str]]:
        found = scraper.get("targets")["data"]["activeTargets"]
        return [(target["health"], target["lastError"], target["labels"]["job"]) for target in found]

    wait_for("a target that is up", lambda: targets() == [("up", "", "rustygpt")], SHOW_SECONDS)


@pytest.mark.prometheus
def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """promtool finds nothing wrong with prometheus.yml, rules and alerts."""
    promtool = require_program("promtool")
    path = write_configuration(tmp_path, "localhost:8080", "token")
    checked = subprocess.run([promtool, "check", "config", str(path)], capture_output=True, text=True, timeout=180)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.prometheus
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """Each alert fires on the series of its bad day and on no other: deploy/prometheus/alerts_test.yml, run by promtool."""
    promtool = require_program("promtool")
    checked = subprocess.run(
        [promtool, "test", "rules", str(PROMETHEUS / "alerts_test.yml")], capture_output=True, text=True, timeout=300
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_a_bad_day_and_a_remedy() -> None:
    """Each alert has a case in alerts_test.yml, and its runbook link leads to a heading."""
    cases = (PROMETHEUS / "alerts_test.yml").read_text()
    for alert in rules("alerts.yml"):
        name = alert["alert"]
        assert f"alertname: {name}\n        exp_alerts:" in cases, f"{name} never fires"
        assert f"alertname: {name}}}" in cases, f"{name} is never silent"
        path, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert anchor == name.lower()
        assert f"\n### {name}\n" in (PROMETHEUS.parents[1] / path).read_text()
        assert alert["labels"]["severity"] in ("page", "ticket")
