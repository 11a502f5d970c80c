"""A site whose only real model is the test itself."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rustygpt.settings import Settings
from tests.scripted_openai import ScriptedOpenAI, scripted_openai
from tests.site import Site, serving, settings_for


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    """An OpenAI-compatible server that speaks on cue."""
    async with scripted_openai() as server:
        yield server


@pytest.fixture
def assistant(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of `[assistant]`, given by indirect parametrisation; see `scripted_settings`."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
async def site(dsn: str, data_dir: Path, upstream: ScriptedOpenAI, assistant: dict[str, Any]) -> AsyncIterator[Site]:
    """The application on a real socket, with the scripted model as its default."""
    async with serving(scripted_settings(data_dir, upstream, **assistant), dsn) as served:
        yield served


def scripted_settings(data_dir: Path, upstream: ScriptedOpenAI, **assistant: Any) -> Settings:
    """Settings with *upstream* as the first provider, under the name `scripted`.

    *assistant* is `[assistant]`, but for `provider`, which changes that provider's table, `others`, which has the differing
    keys of more providers by name, and `sse`, which is `[sse]`.
    """
    provider = {"kind": "openai", "name": "scripted", "base_url": upstream.base_url, "models": ("scripted",)}
    provider |= assistant.pop("provider", {})
    others = [{**provider, "name": name, **keys} for name, keys in assistant.pop("others", {}).items()]
    return settings_for(data_dir, sse=assistant.pop("sse", {}), assistant={"providers": (provider, *others), **assistant})
