"""A program with a key, and the official client in its hand."""

from collections.abc import AsyncIterator

import openai
import pytest

from tests.assistant.providers.conftest import llama_server, scripted, story_file  # noqa: F401 - fixtures, for all
from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site


@pytest.fixture
async def key(site: Site, ada: Person) -> str:
    """A key that is good for /v1 alone."""
    made = await ada.post("/api/keys", {"name": "Program", "scopes": ["v1"]})
    assert made.status_code == 201, made.text
    return str(made.json()["key"])


@pytest.fixture
async def client(site: Site, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own client, which asks once."""
    async with openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key=key, max_retries=0, timeout=DEADLINE_SECONDS) as client:
        yield client
