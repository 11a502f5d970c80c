"""`rustygpt openapi`: what a server would answer, without one."""

import json
from pathlib import Path

import yaml

from rustygpt import __version__
from tests.cli.command import rustygpt


def test_document_is_printed_in_both_spellings(tmp_path: Path) -> None:
    """JSON by default, YAML on request; no file is left behind, whatever the settings around say."""
    as_json = rustygpt("openapi", cwd=tmp_path, extra={"RUSTYGPT__FEATURES__API_DOCS": "off"})
    as_yaml = rustygpt("openapi", "--yaml", cwd=tmp_path)
    assert (as_json.returncode, as_yaml.returncode) == (0, 0)
    assert json.loads(as_json.stdout) == yaml.safe_load(as_yaml.stdout)
    assert json.loads(as_json.stdout)["info"]["version"] == __version__
    assert list(tmp_path.iterdir()) == []
