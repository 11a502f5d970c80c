"""llama.cpp with real GGUF files: exact text, and what happens when an engine is stopped, crowded, killed or fed junk."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from rustygpt.assistant.providers.base import (
    CompletionRequest,
    Delta,
    Loading,
    ModelInfo,
    ProviderContextExceeded,
    ProviderError,
    ProviderRejected,
    Sampling,
    Usage,
)
from rustygpt.assistant.providers.llama_cpp import LlamaCppProvider
from rustygpt.settings import LlamaCppSettings
from tests.assistant.providers.conftest import SLOW_LENGTH
from tests.assistant.providers.replies import DEADLINE_SECONDS, ask, first_deltas_of, opened, reply_of, said, until
from tests.story_model import story_text, story_tokens, write_story_model


def engines() -> list[psutil.Process]:
    """The engine processes that this process has started."""
    return [child for child in psutil.Process().children() if "llama_cpp_engine.py" in " ".join(child.cmdline())]


@pytest.fixture
async def provider(tmp_path: Path, story_file: Path, slow_story_file: Path) -> AsyncIterator[LlamaCppProvider]:
    """A provider with two models in its folder, two slots, and 4 096 tokens for each."""
    (tmp_path / "models").mkdir()
    for file in (story_file, slow_story_file):
        os.link(file, tmp_path / "models" / file.name)
    async with opened(LlamaCppProvider(LlamaCppSettings(slots=2), tmp_path)) as provider:
        yield provider
    assert engines() == []


async def test_reply_is_the_story_to_the_character(provider: LlamaCppProvider) -> None:
    """A GGUF file in the folder is all it takes: template from the file, exact text at any temperature, real usage."""
    reply = await reply_of(provider, ask("Tell me anything 🌊", sampling=Sampling(temperature=1.8, seed=3)))
    assert reply.text == story_text()
    assert reply.finish.reason == "stop"
    assert reply.finish.usage == Usage(reply.finish.usage.prompt_tokens, 241) if reply.finish.usage else False


async def test_partial_answer_is_continued_by_the_model(provider: LlamaCppProvider) -> None:
    """When the prompt ends with the beginning of an answer, only the rest comes."""
    request = CompletionRequest("story", (said("user", "x"), said("assistant", "Once upon a time,")))
    assert (await reply_of(provider, request)).text == story_text().removeprefix("Once upon a time,")


async def test_replies_run_side_by_side(provider: LlamaCppProvider) -> None:
    """More replies than slots, all at once, share one engine and are all right."""
    replies = await asyncio.gather(*(reply_of(provider, ask(f"number {number}")) for number in range(5)))
    assert {reply.text for reply in replies} == {story_text()}
    assert len(engines()) == 1


async def test_stop_in_the_middle_stops_the_engine(provider: LlamaCppProvider) -> None:
    """Closing the stream gives the slot back: the rest of the story is not computed, and the next reply is right."""
    deltas = await first_deltas_of(provider, ask("x", model="slow"), 20)
    assert story_text(story_tokens(SLOW_LENGTH)).startswith("".join(deltas))
    (engine,) = engines()
    stopped_at = _cpu_seconds(engine)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await asyncio.to_thread(engine.cpu_percent, 0.5) > 5:  # a thread that computes gets more of the busiest machine
            pass
    assert _cpu_seconds(engine) - stopped_at < 5, "the whole story costs some twenty seconds of a processor"
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert (await reply_of(provider, ask("x", model="slow", sampling=Sampling(max_tokens=4)))).text == "Once upon a time"


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def test_cancel_while_loading_leaves_the_engine_to_others(provider: LlamaCppProvider) -> None:
    """Stop before the model is there: cancellation comes through, and the load goes on for the next reply."""
    task = asyncio.ensure_future(reply_of(provider, ask("x", model="slow")))
    await until(lambda: bool(provider._engines._engines))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (engine,) = engines()
    assert (await reply_of(provider, ask("x", model="slow", sampling=Sampling(max_tokens=4)))).text == "Once upon a time"
    assert engines() == [engine]


async def test_loading_does_not_stop_the_event_loop(provider: LlamaCppProvider) -> None:
    """While a model loads, other tasks get their turns: the interpreter's lock is not held by llama.cpp."""
    task = asyncio.ensure_future(first_deltas_of(provider, ask("x", model="slow"), 1))
    await until(lambda: bool(provider._engines._engines))
    (engine,) = provider._engines._engines.values()
    turns = 0
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not engine._protocol.ready.done():
            turns += 1
            await asyncio.sleep(0)
    assert turns > 200
    assert await task == ["Once"]


async def test_idle_engine_makes_room_for_another_model(provider: LlamaCppProvider, tmp_path: Path) -> None:
    """With a place for one model, one is loaded as long as the first is idle; a running reply keeps its engine."""
    provider._engines._settings = LlamaCppSettings(max_models=1)
    assert (await reply_of(provider, ask("x"))).text == story_text()
    slow = asyncio.ensure_future(reply_of(provider, ask("x", model="slow")))
    await until(lambda: provider._engines._engines.keys() == {(tmp_path / "models" / "slow.gguf", "chat")})
    assert (await reply_of(provider, ask("x"))).text == story_text()
    assert len(engines()) == 2
    assert not slow.done()
    slow.cancel()
    await asyncio.wait([slow], timeout=DEADLINE_SECONDS)


async def test_killed_engine_fails_its_reply_and_no_other(provider: LlamaCppProvider) -> None:
    """An engine that dies in the middle ends the reply with the reason; the next one starts a new engine."""
    stream = provider.stream(ask("x", model="slow"))
    assert await anext(stream) == Loading()
    assert await anext(stream) == Delta("Once")
    engines()[0].send_signal(signal.SIGKILL)
    with pytest.raises(ProviderRejected, match="killed by signal 9 while it ran slow"):
        async for _ in stream:
            pass
    assert (await reply_of(provider, ask("x"))).text == story_text()


async def test_changed_file_is_loaded_anew(provider: LlamaCppProvider, tmp_path: Path) -> None:
    """Another model under the same name answers from the next reply on."""
    await reply_of(provider, ask("x"))
    (tmp_path / "models" / "story.gguf").unlink()
    story = write_story_model(tmp_path / "models" / "story.gguf", tokens=story_tokens(300))
    assert (await reply_of(provider, ask("x"))).text == story


async def test_too_long_a_prompt_says_what_to_change(provider: LlamaCppProvider) -> None:
    """A prompt beyond a slot's context names its length, the room and the setting."""
    with pytest.raises(ProviderContextExceeded, match=r"\d+ tokens.*room for 4096\. .*assistant\.llama_cpp\.context_tokens"):
        await reply_of(provider, ask("y" * 5_000))


async def test_each_slot_has_the_whole_context(provider: LlamaCppProvider) -> None:
    """The setting is what one conversation may use, however many slots there are."""
    prompt = "y" * 3_500
    replies = await asyncio.gather(*(reply_of(provider, ask(prompt)) for _ in range(2)))
    assert {reply.text for reply in replies} == {story_text()}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"GGUF\x03\0\0\0" + b"junk" * 100, "cannot load bad"), (b"GGUF\x03\0\0\0", "cannot load bad")],
)
async def test_broken_file_is_told_plainly(provider: LlamaCppProvider, tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that llama.cpp cannot read is an error with llama.cpp's words and without our paths; others still answer."""
    (tmp_path / "models" / "bad.gguf").write_bytes(content)
    with pytest.raises(ProviderRejected, match=reason) as caught:
        await reply_of(provider, ask("x", model="bad"))
    assert str(tmp_path) not in caught.value.message
    assert "It said:" in caught.value.message
    assert (await reply_of(provider, ask("x"))).text == story_text()


async def test_models_are_the_files(provider: LlamaCppProvider, tmp_path: Path, story_file: Path) -> None:
    """Ids are file names; later parts of a split model, projectors and files that only look like GGUF are none."""
    folder = tmp_path / "models"
    for name in ("big-00001-of-00002", "big-00002-of-00002", "mmproj-x"):
        shutil.copy(story_file, folder / f"{name}.gguf")
    (folder / "page.gguf").write_bytes(b"<html>not found</html>")
    (folder / "empty.gguf").touch()
    (folder / "folder.gguf").mkdir()
    os.mkfifo(folder / "pipe.gguf")
    names = ("big-00001-of-00002", "slow", "story")
    sizes = {name: (folder / f"{name}.gguf").stat().st_size for name in names}
    assert set(await provider.models()) == {ModelInfo(name, "llama_cpp", 4_096, size_bytes=sizes[name]) for name in names}
    with pytest.raises(ProviderRejected, match="no model file"):
        await reply_of(provider, ask("x", model="../story"))


@pytest.mark.parametrize("is_absolute", [True, False])
async def test_configured_file_comes_first(tmp_path: Path, story_file: Path, is_absolute: bool) -> None:
    """The setting names a file anywhere, or one in the models folder, and that one leads the list."""
    (tmp_path / "models").mkdir()
    for name in ("a", "z"):
        shutil.copy(story_file, tmp_path / "models" / f"{name}.gguf")
    chosen = str(story_file) if is_absolute else "z.gguf"
    provider = LlamaCppProvider(LlamaCppSettings(model_file=chosen), tmp_path)
    names = ["story", "a", "z"] if is_absolute else ["z", "a"]
    assert [model.id for model in await provider.models()] == names


async def test_no_folder_means_no_models(tmp_path: Path) -> None:
    """A fresh data folder is no error."""
    assert await LlamaCppProvider(LlamaCppSettings(model_file="gone.gguf"), tmp_path).models() == ()


async def test_unreadable_setting_is_told(tmp_path: Path) -> None:
    """A home folder of nobody is the provider's error, not a crash of the start."""
    provider = LlamaCppProvider(LlamaCppSettings(model_file="~nobody-of-this-name/x.gguf"), tmp_path)
    with pytest.raises(ProviderRejected, match="cannot be read"):
        await provider.models()


async def test_missing_package_is_told_plainly(provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without xllamacpp nothing crashes: listing and asking say what is missing."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    for attempt in (provider.models(), reply_of(provider, ask("x"))):
        with pytest.raises(ProviderError, match="xllamacpp"):
            await attempt


async def test_engine_wants_its_key_and_listens_on_loopback_only(provider: LlamaCppProvider) -> None:
    """Another process of the machine cannot use the model: the one port is on loopback and refuses without the key."""
    await reply_of(provider, ask("x"))
    (engine,) = engines()
    (listener,) = [each for each in engine.net_connections() if each.status == psutil.CONN_LISTEN]
    assert listener.laddr.ip == "127.0.0.1"
    reader, writer = await asyncio.open_connection(*listener.laddr)
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    status = await asyncio.wait_for(reader.readline(), DEADLINE_SECONDS)
    writer.close()
    assert b" 401 " in status
    assert not any(len(word) >= 32 for word in engine.cmdline()[3:])


async def test_engine_dies_with_its_parent(tmp_path: Path, story_file: Path) -> None:
    """After kill -9 of the server no engine is left."""
    (tmp_path / "models").mkdir()
    shutil.copy(story_file, tmp_path / "models")
    program = (
        "import asyncio, pathlib, sys\n"
        "from rustygpt.assistant.providers.llama_cpp import LlamaCppProvider\n"
        "from rustygpt.settings import LlamaCppSettings\n"
        "from tests.assistant.providers.replies import ask, reply_of\n"
        "async def main():\n"
        "    provider = LlamaCppProvider(LlamaCppSettings(), pathlib.Path(sys.argv[1]))\n"
        "    print((await reply_of(provider, ask('x'))).text.split()[0], flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "import uvloop\n"
        "uvloop.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            await process.stdout.readuntil(b"Once\n")
        (engine,) = psutil.Process(process.pid).children()
    finally:
        process.kill()
        await process.wait()
    await until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)
