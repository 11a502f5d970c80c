"""The layers of docs/explanation/architecture.md hold in the code."""

import subprocess
import sys

import grimp
import pytest

from tests.architecture.source_tree import REPOSITORY

DOMAINS = ("assistant", "conversations", "messages", "presence", "streaming", "limits", "models", "admin", "web")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("rustygpt", cache_dir=None)


def test_layers_hold() -> None:
    """Upper layers import lower ones, siblings leave each other alone, and every package has its place."""
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_domains_know_only_the_actor_of_auth(graph: grimp.ImportGraph) -> None:
    """Who is asking is all that a domain may learn about signing in."""
    strays = [
        (importer, imported)
        for importer in graph.modules
        if importer.split(".")[1:2] and importer.split(".")[1] in DOMAINS
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.startswith("rustygpt.auth.") and imported != "rustygpt.auth.actor"
    ]
    assert not strays


def test_settings_are_read_only_at_the_top(graph: grimp.ImportGraph) -> None:
    """Only the command line reads files and variables; everything else is given its own table."""
    readers = graph.find_modules_that_directly_import("rustygpt.settings_sources")
    assert all(reader.startswith(("rustygpt.cli", "rustygpt.__main__")) for reader in readers), readers
