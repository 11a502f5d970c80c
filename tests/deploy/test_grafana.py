"""The boards as files: complete, consistent, found by Grafana's provisioning."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.boards import BOARDS, DEPLOY, REPOSITORY, Expression, board, expressions, panels
from tests.deploy.promql import grouping_labels

PROVISIONING = DEPLOY / "grafana" / "provisioning"
BY_PATH = pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)


def test_every_subject_has_a_board() -> None:
    """There is a board for the overview, streaming, the assistant, accounts and the database, each with a uid of its own."""
    assert [path.stem for path in BOARDS] == ["accounts", "assistant", "database", "overview", "streaming"]
    assert {board(path)["uid"] for path in BOARDS} == {f"rustygpt-{path.stem}" for path in BOARDS}


@BY_PATH
def test_panels_explain_themselves(path: Path) -> None:
    """Every panel has a title, a sentence, the board's data source, and a unit for what it shows."""
    for panel in panels(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        for holder in (panel, *panel["targets"]):
            assert holder["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["type"] == "heatmap" or panel["fieldConfig"]["defaults"]["unit"]


@BY_PATH
def test_panels_do_not_overlap(path: Path) -> None:
    """Panels have ids of their own and stand beside each other within the 24 columns."""
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in board(path)["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in board(path)["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("expression", [e for e in expressions() if "{{" in e.legend], ids=lambda e: e.where)
def test_legends_name_labels_that_survive(expression: Expression) -> None:
    """A legend's label is one that the expression keeps; otherwise all lines would be called alike."""
    kept = grouping_labels(expression.text)
    for label in re.findall(r"\{\{(\w+)\}\}", expression.legend):
        assert label in kept or ("sum" not in expression.text and label == "instance")


def test_provisioning_finds_boards_and_prometheus() -> None:
    """The folders of docker-compose.yml are those where the provisioning files look, and the data source is the boards' default."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    mounts = dict(volume.split(":")[:2][::-1] for volume in compose["services"]["grafana"]["volumes"])
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "rustygpt.yml").read_text())["providers"]
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert mounts[provider["options"]["path"]] == "./deploy/grafana"
    assert mounts["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    home = compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/overview.json"
    assert source["url"] == "http://prometheus:9090"
    for path in BOARDS:
        assert board(path)["templating"]["list"][0]["current"]["value"] == source["uid"]


def test_rate_interval_matches_the_scrapes() -> None:
    """Grafana is told the interval at which Prometheus scrapes; else $__rate_interval is too short and panels stay empty."""
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == configuration["global"]["scrape_interval"]
