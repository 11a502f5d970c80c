"""The models panel of the settings: what is there, a pull that shows how far it is, an upload, and a deletion."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import Arrive
from tests.browser.visitor import Visitor
from tests.models.conftest import library_settings
from tests.models.file_server import FileServer, file_server
from tests.site import Site, serving
from tests.story_model import write_story_model

GATE_BYTES = 200_000


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    """Where models are pulled from."""
    async with file_server() as served:
        yield served


@pytest.fixture
async def library(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """A site with a library."""
    async with serving(library_settings(data_dir), dsn) as served:
        yield served


async def open_panel(visitor: Visitor) -> Locator:
    """Go to the settings and return the panel."""
    await visitor.page.goto(f"{visitor.url}/settings")
    panel = visitor.page.get_by_role("region", name="Models")
    await expect(panel.get_by_text("demo").first).to_be_visible()
    return panel


async def test_administrator_pulls_uploads_and_deletes(library: Site, arrive: Arrive, files: FileServer, tmp_path: Path) -> None:
    """A pull shows its bytes, can be stopped, and ends as a model in the list; a file is uploaded; both are deleted; failures say why."""
    write_story_model(tmp_path / "mine.gguf")
    url = files.put("/story.gguf", (tmp_path / "mine.gguf").read_bytes())
    files.gate_bytes = GATE_BYTES
    ada = await arrive(library.url)
    await ada.set_up("Ada")
    panel = await open_panel(ada)

    await panel.get_by_label("Pull a model").fill(url)
    await panel.get_by_role("button", name="Pull", exact=True).click()
    await expect(panel.get_by_role("progressbar", name="Progress of story")).to_be_visible()
    await expect(panel.get_by_text(re.compile(r"\d+(\.\d)? kB of 333.7 kB"))).to_be_visible()
    assert await ada.violations() == []
    await ada.screenshot("models-pulling")
    files.gate.set()
    await expect(panel.get_by_role("button", name="Delete story")).to_be_visible()
    await expect(panel.get_by_role("progressbar")).to_have_count(0)

    await panel.get_by_label("Pull a model").fill(f"{files.url}/none.gguf")
    await panel.get_by_role("button", name="Pull", exact=True).click()
    await expect(panel.get_by_text("The source answers with status 404.")).to_be_visible()
    await panel.get_by_label("Pull a model").fill("file:///etc/passwd")
    await panel.get_by_role("button", name="Pull", exact=True).click()
    await expect(panel.get_by_role("alert").filter(has_text="must be an http or https address")).to_be_visible()

    await panel.get_by_label("Upload a GGUF file").set_input_files(tmp_path / "mine.gguf")
    await panel.get_by_role("button", name="Upload", exact=True).click()
    await expect(panel.get_by_text("mine is here.")).to_be_visible()
    assert await ada.violations() == []
    await ada.screenshot("models")

    await panel.get_by_role("button", name="Delete mine").click()
    await ada.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(panel.get_by_role("button", name="Delete mine")).to_have_count(0)
    await expect(panel.get_by_role("button", name="Delete story")).to_be_visible()


async def test_pull_is_stopped(library: Site, arrive: Arrive, files: FileServer, tmp_path: Path) -> None:
    """Stop ends it, and nothing of it stays in the list."""
    write_story_model(tmp_path / "mine.gguf")
    files.gate_bytes = GATE_BYTES
    ada = await arrive(library.url, color_scheme="dark")
    await ada.set_up("Ada")
    panel = await open_panel(ada)
    await panel.get_by_label("Pull a model").fill(files.put("/story.gguf", (tmp_path / "mine.gguf").read_bytes()))
    await panel.get_by_label("Pull a model").press("Enter")
    await expect(panel.get_by_role("progressbar", name="Progress of story")).to_be_visible()
    assert await ada.violations() == []
    await panel.get_by_role("button", name="Stop the pull of story").click()
    await expect(panel.get_by_role("progressbar")).to_have_count(0)
    await expect(panel.get_by_role("button", name="Delete story")).to_have_count(0)


async def test_panel_is_for_administrators(library: Site, arrive: Arrive) -> None:
    """A user's settings have no models."""
    ada = await arrive(library.url)
    await ada.set_up("Ada")
    bob = await arrive(library.url)
    await bob.register("Bob")
    await bob.page.goto(f"{library.url}/settings")
    await expect(bob.page.get_by_role("heading", name="Where you are signed in")).to_be_visible()
    await expect(bob.page.get_by_role("region", name="Models")).to_have_count(0)
