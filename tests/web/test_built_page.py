"""The built page keeps its budget and asks nothing of the policy that the server does not grant."""

import gzip
import re

import pytest

from rustygpt.app import WEB_FOLDER

INITIAL_BYTES = 100_000
"""What the first paint may cost: scripts and styles that index.html names, after gzip."""


@pytest.fixture(scope="module")
def index() -> str:
    """The built index.html."""
    if not (WEB_FOLDER / "index.html").is_file():
        pytest.skip("the page is not built here: `just ui`")
    return (WEB_FOLDER / "index.html").read_text(encoding="utf-8")


def test_first_paint_costs_at_most_100_kb(index: str) -> None:
    """Initial scripts and styles stay under 100 000 bytes gzipped."""
    names = re.findall(r'(?:src|href)="/([^"]+\.(?:js|css))"', index)
    assert len(names) >= 3
    assert sum(len(gzip.compress((WEB_FOLDER / name).read_bytes(), 9)) for name in names) <= INITIAL_BYTES


def test_page_has_nothing_inline(index: str) -> None:
    """The content security policy refuses inline scripts, styles and handlers, so there are none."""
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", index)


def test_page_asks_no_other_host(index: str) -> None:
    """Fonts, scripts and pictures come from the server itself."""
    assert not re.search(r"https?://|//cdn", index)
    for path in (WEB_FOLDER / "assets").glob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", path.read_text(encoding="utf-8"))


def test_no_component_writes_a_style_attribute() -> None:
    """`style=` in markup would be refused by the policy in the browser, silently and only there."""
    sources = WEB_FOLDER.parent / "ui" / "src"
    offenders = [
        path.name
        for path in sources.rglob("*.svelte")
        if re.search(r"<[a-z][^>]*\s(?:style=|transition:|in:|out:|animate:)", path.read_text())
    ]
    assert offenders == []
