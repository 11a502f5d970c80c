"""What deploy/ asks Prometheus: every expression of every panel, annotation, alert and rule, with where it stands."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
BOARDS = sorted((DEPLOY / "grafana").glob("*.json"))


@dataclass(frozen=True, slots=True)
class Expression:
    """*where* names the file and the panel or rule; *shows* is true where people expect to see a line."""

    where: str
    text: str
    shows: bool
    legend: str = ""


def board(path: Path) -> dict[str, Any]:
    """Return a dashboard as Grafana reads it."""
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def panels(path: Path) -> list[dict[str, Any]]:
    """Return the panels of a dashboard that show something."""
    return [panel for panel in board(path)["panels"] if panel["type"] != "row"]


def rules(name: str) -> list[dict[str, Any]]:
    """Return the rules of a file in deploy/prometheus."""
    return [rule for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[Expression]:
    """Yield all expressions, Grafana's variables filled in as Grafana would."""
    for path in BOARDS:
        for panel in panels(path):
            for target in panel["targets"]:
                yield Expression(f"{path.name}: {panel['title']}", _filled(target["expr"]), True, target["legendFormat"])
        for annotation in board(path)["annotations"]["list"]:
            yield Expression(f"{path.name}: annotation {annotation['name']}", _filled(annotation["expr"]), False)
    for name in ("rules.yml", "alerts.yml"):
        for rule in rules(name):
            yield Expression(f"{name}: {rule.get('record') or rule.get('alert')}", rule["expr"], "record" in rule)


def _filled(text: str) -> str:
    return text.replace("$__rate_interval", "1m").replace("$instance", ".*")
