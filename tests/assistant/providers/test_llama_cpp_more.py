"""What else llama.cpp does for us: counting tokens, embedding, and keeping several models in memory."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from rustygpt.assistant.providers import llama_cpp_engines
from rustygpt.assistant.providers.base import Loading, PromptMessage, ProviderRejected
from rustygpt.assistant.providers.llama_cpp import LlamaCppProvider
from rustygpt.settings import LlamaCppSettings
from tests.assistant.providers.replies import DEADLINE_SECONDS, ask, opened, reply_of, said
from tests.story_model import story_text, write_story_model


@pytest.fixture
async def provider(tmp_path: Path, story_file: Path) -> AsyncIterator[LlamaCppProvider]:
    """Three models, of which two may be in memory."""
    (tmp_path / "models").mkdir()
    for name in ("a", "b", "c"):
        os.link(story_file, tmp_path / "models" / f"{name}.gguf")
    async with opened(LlamaCppProvider(LlamaCppSettings(slots=1, max_models=2), tmp_path)) as provider:
        yield provider


async def loaded(provider: LlamaCppProvider) -> set[str]:
    """The models that take memory now, by the provider's own list."""
    return {model.id for model in await provider.models() if model.memory_bytes}


async def test_models_stay_until_another_needs_the_place(provider: LlamaCppProvider) -> None:
    """Two are kept; the third takes the place of the one that was not used for longest, and the list tells what each takes."""
    for model in ("a", "b", "a"):
        assert (await reply_of(provider, ask("x", model=model))).text == story_text()
    assert await loaded(provider) == {"a", "b"}
    assert all(model.memory_bytes is None or model.memory_bytes > 1_000_000 for model in await provider.models())
    await reply_of(provider, ask("x", model="c"))
    assert await loaded(provider) == {"a", "c"}


async def test_short_memory_makes_room_first(provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is short an idle model goes, though there is a place."""
    await reply_of(provider, ask("x", model="a"))
    monkeypatch.setattr(llama_cpp_engines, "available_bytes", lambda: 1_000)
    await reply_of(provider, ask("x", model="b"))
    assert await loaded(provider) == {"b"}


async def test_loading_is_told_once(provider: LlamaCppProvider) -> None:
    """Whoever has to wait for the file is told so first, and nobody after."""
    first = [item async for item in provider.stream(ask("x", model="a"))]
    assert first[0] == Loading()
    assert first.count(Loading()) == 1
    assert Loading() not in [item async for item in provider.stream(ask("x", model="a"))]


async def test_tokens_are_the_models_own(provider: LlamaCppProvider) -> None:
    """A prompt is counted as the reply's usage counts it: template and tokenizer are the file's."""
    question = ask("Tell me anything", model="a", before=(said("system", "Be brief"),))
    usage = (await reply_of(provider, question)).finish.usage
    assert usage is not None
    assert await provider.count_tokens("a", question.messages) == usage.prompt_tokens
    assert await provider.count_tokens("a", (PromptMessage("user", "x" * 100),)) != usage.prompt_tokens


async def test_model_without_pooling_makes_no_vectors(provider: LlamaCppProvider) -> None:
    """A model that only chats says that it cannot embed, by an engine of its own, and goes on chatting."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        with pytest.raises(ProviderRejected, match="ooling"):
            await provider.embed("a", ["x"])
    assert (await reply_of(provider, ask("x", model="a"))).text == story_text()
    assert len([child for child in psutil.Process().children() if "llama_cpp_engine.py" in " ".join(child.cmdline())]) == 2


async def test_model_with_pooling_makes_vectors(provider: LlamaCppProvider, tmp_path: Path) -> None:
    """A vector of length 1 for each text, in their order, the same for the same text, and the tokens are counted."""
    write_story_model(tmp_path / "models" / "vectors.gguf", is_pooling=True)
    texts = ["Once upon", "a time", "Once upon", "x" * 3_000]
    async with asyncio.timeout(DEADLINE_SECONDS):
        found = await provider.embed("vectors", texts)
    assert len(found.vectors) == 4
    assert found.vectors[0] == pytest.approx(found.vectors[2], abs=1e-4)
    assert found.vectors[0] != pytest.approx(found.vectors[1], abs=1e-2)
    assert all(sum(number * number for number in vector) == pytest.approx(1, abs=1e-3) for vector in found.vectors)
    assert found.prompt_tokens is not None
    assert found.prompt_tokens >= 3_000
