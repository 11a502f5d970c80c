"""Which models are found, which one is the default, and how models are named."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from rustygpt.assistant import catalogue as module
from rustygpt.assistant.catalogue import Catalogue
from rustygpt.assistant.configured import build_catalogue
from rustygpt.assistant.mentions import Mention
from rustygpt.assistant.providers.base import ProviderRejected, ProviderUnreachable
from rustygpt.settings import AssistantSettings, DemoSettings, LlamaCppSettings, ProviderSettings
from tests.assistant.providers.replies import DEADLINE_SECONDS, ask, reply_of
from tests.scripted_http import Answer, ScriptedServer, scripted_server
from tests.scripted_ollama import chat, tags
from tests.story_model import story_text, write_story_model

NOBODY = "http://127.0.0.1:9"
"""The discard port: nobody listens."""


@pytest.fixture
async def ollama() -> AsyncIterator[ScriptedServer]:
    """An Ollama with two models."""
    async with scripted_server() as server:
        server.answer("/api/tags", tags("llama3.2:latest", "qwen3:8b"))
        server.answer("/api/chat", chat("from ollama"))
        yield server


@pytest.fixture
async def hosted() -> AsyncIterator[ScriptedServer]:
    """An OpenAI-compatible server with one model."""
    async with scripted_server() as server:
        server.answer("/v1/models", Answer((b'{"data":[{"id":"org/gpt-x"}]}',)))
        yield server


@pytest.fixture
def gguf_dir(tmp_path: Path) -> Path:
    """A data folder with one GGUF file."""
    (tmp_path / "models").mkdir()
    write_story_model(tmp_path / "models" / "story.gguf")
    return tmp_path


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No list is given up because the machine is busy; tests of providers that are silent set a shorter time."""
    monkeypatch.setattr(module, "LIST_SECONDS", DEADLINE_SECONDS)


@asynccontextmanager
async def opened(settings: AssistantSettings, data_dir: Path) -> AsyncIterator[Catalogue]:
    """A catalogue that is open."""
    catalogue = build_catalogue(settings, data_dir)
    await catalogue.open()
    try:
        yield catalogue
    finally:
        await catalogue.close()


def everything(ollama: ScriptedServer, hosted: ScriptedServer) -> AssistantSettings:
    """Settings of a machine that has it all."""
    return AssistantSettings(ollama_base_url=ollama.base_url, openai_base_url=hosted.base_url, openai_api_key=SecretStr("sk-abc"))


async def test_everything_found_is_offered_in_order(ollama: ScriptedServer, hosted: ScriptedServer, gguf_dir: Path) -> None:
    """Ollama, then the OpenAI-compatible server, then GGUF files, then the demo; the first is the default, and says so."""
    async with opened(everything(ollama, hosted), gguf_dir) as catalogue:
        found = [(model.provider, model.id) for model in await catalogue.models()]
        assert found == [
            ("ollama", "llama3.2:latest"),
            ("ollama", "qwen3:8b"),
            ("openai", "org/gpt-x"),
            ("llama_cpp", "story"),
            ("demo", "demo"),
        ]
        assert catalogue.default_model() == "llama3.2:latest"
        sentence = catalogue.detection().sentence
        assert "llama3.2:latest of ollama" in sentence
        assert "assistant.default_model" in sentence
        assert "4 more" in sentence


@pytest.mark.parametrize(
    ("has_ollama", "has_hosted", "has_file", "default"),
    [
        (True, True, True, "llama3.2:latest"),
        (False, True, True, "org/gpt-x"),
        (False, False, True, "story"),
        (False, False, False, "demo"),
    ],
)
async def test_the_best_that_is_there_is_the_default(
    ollama: ScriptedServer,
    hosted: ScriptedServer,
    gguf_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
    has_ollama: bool,
    has_hosted: bool,
    has_file: bool,
    default: str,
) -> None:
    """What is missing is passed over without a fuss; the demo is the default only when there is nothing else."""
    settings = AssistantSettings(
        ollama_base_url=ollama.base_url if has_ollama else NOBODY,
        openai_base_url=hosted.base_url if has_hosted else "",
        openai_api_key=SecretStr("sk-abc" if has_hosted else ""),
    )
    async with opened(settings, gguf_dir if has_file else tmp_path_factory.mktemp("empty")) as catalogue:
        assert catalogue.default_model() == default
        provider, model = await catalogue.resolve(None)
        assert model == default
        if default == "demo":
            assert "Only the built-in demo answers" in catalogue.detection().sentence
            assert "ollama cannot be reached" in catalogue.detection().sentence
            assert provider.name == "demo"


async def test_key_alone_means_openai(tmp_path: Path) -> None:
    """OPENAI_API_KEY without an address is for OpenAI itself."""
    catalogue = build_catalogue(AssistantSettings(openai_api_key=SecretStr("sk-abc")), tmp_path)
    assert [provider.name for provider in catalogue.providers] == ["ollama", "openai", "llama_cpp", "demo"]
    assert vars(catalogue.providers[1])["_upstream"]._base_url == "https://api.openai.com/v1"


async def test_configured_providers_replace_detection(ollama: ScriptedServer, hosted: ScriptedServer, gguf_dir: Path) -> None:
    """With [[assistant.providers]] nobody else is asked over the network; files and demo stay."""
    settings = everything(ollama, hosted).model_copy(
        update={"providers": (ProviderSettings(kind="openai", name="office", base_url=hosted.base_url, models=("m1",)),)}
    )
    async with opened(settings, gguf_dir) as catalogue:
        assert [(model.provider, model.id) for model in await catalogue.models()] == [
            ("office", "m1"),
            ("llama_cpp", "story"),
            ("demo", "demo"),
        ]
    assert ollama.requests == []
    assert hosted.requests == []


async def test_nothing_at_all_is_told(tmp_path: Path) -> None:
    """With the demo switched off and nothing found, the error says so, and the sentence what to do."""
    settings = AssistantSettings(
        ollama_base_url=NOBODY, demo=DemoSettings(enabled=False), llama_cpp=LlamaCppSettings(enabled=False)
    )
    async with opened(settings, tmp_path) as catalogue:
        assert await catalogue.models() == ()
        assert catalogue.detection().default_model is None
        assert "Start Ollama" in catalogue.detection().sentence
        with pytest.raises(ProviderRejected, match="no model to answer"):
            await catalogue.resolve(None)


@pytest.mark.parametrize("chosen", ["qwen3:8b", "ollama/qwen3:8b"])
async def test_chosen_default_wins(ollama: ScriptedServer, tmp_path: Path, chosen: str) -> None:
    """assistant.default_model beats the order."""
    settings = AssistantSettings(ollama_base_url=ollama.base_url, default_model=chosen)
    async with opened(settings, tmp_path) as catalogue:
        assert (await catalogue.resolve(None))[1] == "qwen3:8b"
        assert (catalogue.detection().default_provider, catalogue.detection().default_model) == ("ollama", "qwen3:8b")
        assert "as assistant.default_model" in catalogue.detection().sentence


async def test_added_file_never_takes_the_default(gguf_dir: Path) -> None:
    """Among files the oldest answers, then by name: for who saw the others come, for who starts later, and as long as it is there."""
    settings = AssistantSettings(ollama_base_url=NOBODY)
    models = gguf_dir / "models"
    async with opened(settings, gguf_dir) as running:
        for name, seconds in (("aaa", 60), ("zzz", 30), ("bbb", 30)):
            shutil.copyfile(models / "story.gguf", models / f"{name}.gguf")
            at = models.joinpath("story.gguf").stat().st_mtime + seconds
            os.utime(models / f"{name}.gguf", (at, at))
        await running.refresh()
        async with opened(settings, gguf_dir) as restarted:
            for catalogue in (running, restarted):
                assert catalogue.default_model() == "story"
                names = [model.id for model in await catalogue.models() if model.provider == "llama_cpp"]
                assert names == ["story", "bbb", "zzz", "aaa"]
            (models / "story.gguf").unlink()
            for catalogue in (running, restarted):
                await catalogue.refresh()
                assert catalogue.default_model() == "bbb"
    async with opened(AssistantSettings(ollama_base_url=NOBODY, default_model="aaa"), gguf_dir) as chosen:
        assert chosen.default_model() == "aaa"


async def test_missing_chosen_default_is_no_demo(tmp_path: Path) -> None:
    """A chosen model that is not there is an error with its name; nobody else answers in its place."""
    async with opened(AssistantSettings(ollama_base_url=NOBODY, default_model="mistral"), tmp_path) as catalogue:
        assert "mistral was not found" in catalogue.detection().sentence
        with pytest.raises(ProviderRejected, match="no model called 'mistral'"):
            await catalogue.resolve(None)


async def test_models_have_three_names(ollama: ScriptedServer, hosted: ScriptedServer, tmp_path: Path) -> None:
    """By id, by provider and id, and without Ollama's default tag; an id with a slash is not taken for a provider."""
    async with opened(everything(ollama, hosted), tmp_path) as catalogue:
        for name, provider, model in (
            ("llama3.2:latest", "ollama", "llama3.2:latest"),
            ("llama3.2", "ollama", "llama3.2:latest"),
            ("ollama/llama3.2", "ollama", "llama3.2:latest"),
            ("org/gpt-x", "openai", "org/gpt-x"),
            ("openai/org/gpt-x", "openai", "org/gpt-x"),
            ("demo/demo", "demo", "demo"),
        ):
            found, found_model = await catalogue.resolve(name)
            assert (found.name, found_model) == (provider, model)
        for name in ("nothing", "ollama/nothing", "nobody/demo", "/", "x" * 5_000):
            with pytest.raises(ProviderRejected, match="no model called"):
                await catalogue.resolve(name)


async def test_model_that_appears_later_is_found(
    gguf_dir: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file put into the folder while the server runs answers without a restart, and takes the demo's place."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    data_dir = tmp_path_factory.mktemp("late")
    async with opened(AssistantSettings(ollama_base_url=NOBODY), data_dir) as catalogue:
        assert catalogue.default_model() == "demo"
        (data_dir / "models").mkdir()
        shutil.copy(gguf_dir / "models" / "story.gguf", data_dir / "models")
        provider, model = await catalogue.resolve("story")
        assert (await reply_of(provider, ask("x", model=model))).text == story_text()
        assert catalogue.default_model() == "story"


async def test_ollama_that_goes_away_keeps_its_place(ollama: ScriptedServer, tmp_path: Path) -> None:
    """While Ollama is away its model stays the default and says that Ollama is away: no silent change to the demo."""
    async with opened(AssistantSettings(ollama_base_url=ollama.base_url), tmp_path) as catalogue:
        ollama.answer("/api/tags", Answer(then="hang up"))
        ollama.answer("/api/chat", Answer(then="hang up"))
        await catalogue.refresh()
        assert [model.id for model in await catalogue.models()] == ["demo"]
        provider, model = await catalogue.resolve(None)
        assert (provider.name, model) == ("ollama", "llama3.2:latest")


async def test_never_seen_model_of_an_absent_provider_gets_its_error(tmp_path: Path) -> None:
    """provider/id reaches a provider whose list could not be had, so that the user learns why."""
    async with opened(AssistantSettings(ollama_base_url=NOBODY), tmp_path) as catalogue:
        provider, model = await catalogue.resolve("ollama/llama3.2")
        with pytest.raises(ProviderUnreachable, match="ollama cannot be reached"):
            await reply_of(provider, ask("x", model=model))


async def test_hanging_provider_does_not_hold_up_the_others(
    hosted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that never answers costs its own deadline, is reported, and the rest is listed."""
    monkeypatch.setattr(module, "LIST_SECONDS", 0.2)
    hosted.answer("/v1/models", Answer(then="hang"))
    settings = AssistantSettings(ollama_base_url=NOBODY, openai_base_url=hosted.base_url)
    async with asyncio.timeout(DEADLINE_SECONDS), opened(settings, tmp_path) as catalogue:
        assert [model.id for model in await catalogue.models()] == ["demo"]
        assert catalogue.detection().providers[1].error == "openai did not list its models in time."


async def test_silent_provider_is_soon_left_alone(
    hosted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stands before the default and never answers is waited for once, then not again for a multiple of that time."""
    monkeypatch.setattr(module, "LIST_SECONDS", 0.5)
    monkeypatch.setattr(module, "PATIENCE_RATIO", 1_000)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    hosted.answer("/v1/models", Answer(then="hang"))
    async with opened(AssistantSettings(ollama_base_url="", openai_base_url=hosted.base_url), tmp_path) as catalogue:
        for _ in range(20):
            assert (await catalogue.resolve(None))[1] == "demo"
    assert len(hosted.requests) == 1


async def test_reply_waits_only_for_lists_that_decide(
    ollama: ScriptedServer, hosted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes after the default, and everybody else when a known model is named, is not asked before a reply."""
    monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
    settings = AssistantSettings(ollama_base_url=ollama.base_url, openai_base_url=hosted.base_url)
    async with opened(settings, tmp_path) as catalogue:
        await catalogue.resolve(None)
        assert (len(ollama.requests), len(hosted.requests)) == (2, 1)
        await catalogue.resolve("org/gpt-x")
        assert (len(ollama.requests), len(hosted.requests)) == (2, 2)
        with pytest.raises(ProviderRejected, match="no model called"):
            await catalogue.resolve("nobody's")
        assert (len(ollama.requests), len(hosted.requests)) == (4, 4)


async def test_lists_are_asked_for_seldom(ollama: ScriptedServer, tmp_path: Path) -> None:
    """Many questions in a short time, also at once, cost the upstream one request."""
    async with opened(AssistantSettings(ollama_base_url=ollama.base_url), tmp_path) as catalogue:
        await asyncio.gather(*(catalogue.models() for _ in range(20)), *(catalogue.resolve(None) for _ in range(20)))
    assert len(ollama.requests) == 1


async def test_mentions_know_the_models(ollama: ScriptedServer, tmp_path: Path) -> None:
    """A model of the last list may be addressed; @assistant leaves the choice to the conversation."""
    async with opened(AssistantSettings(ollama_base_url=ollama.base_url), tmp_path) as catalogue:
        assert catalogue.find_mention("hi @qwen3:8b") == Mention("qwen3:8b", 3, 12)
        assert catalogue.find_mention("hi @assistant") == Mention(None, 3, 13)
        assert catalogue.find_mention("hi @gpt") is None
