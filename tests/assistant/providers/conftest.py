"""Real engines with models that the tests make, and a server that says what it is told."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.llama_server import LlamaServer, running_llama_server
from tests.scripted_http import ScriptedServer, scripted_server
from tests.story_model import SLOW, story_tokens, write_story_model

SLOW_LENGTH = 3_000


@pytest.fixture(scope="session")
def story_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells 240 tokens."""
    path = tmp_path_factory.mktemp("story") / "story.gguf"
    write_story_model(path)
    return path


@pytest.fixture(scope="session")
def slow_story_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes ten seconds or more for its 3 000 tokens: there is time to stop it."""
    path = tmp_path_factory.mktemp("story") / "slow.gguf"
    write_story_model(path, tokens=story_tokens(SLOW_LENGTH), layers=4, feed_forward=SLOW)
    return path


@pytest.fixture(scope="session")
def llama_server(story_file: Path) -> Iterator[LlamaServer]:
    """llama.cpp's own HTTP server with the story."""
    with running_llama_server(story_file) as server:
        yield server


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    """A server that says what the test tells it to."""
    async with scripted_server() as server:
        yield server


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of loopback that is taken, so that nobody else can listen there, and that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
