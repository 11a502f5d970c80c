"""A site whose library pulls from a web server of the test's own, and small models to pull."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rustygpt.settings import Settings
from tests.models.file_server import FileServer, file_server
from tests.person import Person
from tests.site import Site, serving, settings_for
from tests.story_model import write_story_model

MODELS = {"min_free_bytes": 0, "retry_seconds": 20.0, "allow_private_addresses": True}


def library_settings(data_dir: Path, *, models: dict[str, Any] | None = None, **tables: Any) -> Settings:
    """Settings with llama.cpp on; private addresses are allowed, for the test's server is on one."""
    assistant = {"llama_cpp": {"enabled": True}, **tables.pop("assistant", {})}
    return settings_for(data_dir, assistant=assistant, models={**MODELS, **(models or {})}, **tables)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole model, 600 KB."""
    path = tmp_path_factory.mktemp("library") / "story.gguf"
    write_story_model(path)
    return path.read_bytes()


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    """Where models are pulled from."""
    async with file_server() as served:
        yield served


@pytest.fixture
async def site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The whole application with a library."""
    async with serving(library_settings(data_dir), dsn) as served:
        yield served


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[Person]:
    """The administrator."""
    async with Person(site.url) as person:
        yield await person.set_up("Ada")


@pytest.fixture
def folder(data_dir: Path) -> Path:
    """Where the files of models go."""
    return data_dir / "models"
