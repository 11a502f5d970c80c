"""Deleting models: not while they write, out of memory at once, and for nobody but administrators."""

import asyncio
import shutil
from pathlib import Path

import httpx2
import psutil  # type: ignore[import-untyped]

from tests.assistant.exchange import ask, until_status
from tests.models.conftest import library_settings
from tests.models.pulling import model_ids, names
from tests.person import DEADLINE_SECONDS, Person
from tests.site import serving
from tests.story_model import SLOW, story_tokens, write_story_model


def engines() -> list[psutil.Process]:
    """The engine processes that this process has started."""
    return [child for child in psutil.Process().children() if "llama_cpp_engine.py" in " ".join(child.cmdline())]


async def test_model_is_deleted_when_it_has_nothing_to_say(dsn: str, data_dir: Path) -> None:
    """409 while it writes a reply; afterwards the file, its engine and its place in the list are gone, and a reply by it fails."""
    (data_dir / "models").mkdir(parents=True)
    write_story_model(data_dir / "models" / "slow.gguf", tokens=story_tokens(3_000), layers=4, feed_forward=SLOW)
    async with serving(library_settings(data_dir), dsn) as site, await Person(site.url).set_up("Ada") as ada:
        conversation = await ada.make_conversation(model="slow")
        async with ada.stream(f"/api/stream/conversations/{conversation}") as reader:
            reply = await ask(ada, conversation, "Tell me a story.")
            await reader.until_type("message.delta")
            assert (await ada.get("/api/models/slow")).json()["state"] in ("available", "loaded")
            assert (await ada.request("DELETE", "/api/models/slow")).status_code == 409
            await ada.post(f"/api/messages/{reply}/cancel")
            await until_status(ada, reply, "cancelled")
        await until_deleted(ada, "slow")
        assert engines() == []
        assert names(data_dir / "models") == []
        assert await model_ids(ada) == ["demo"]
        assert (await ada.request("DELETE", "/api/models/slow")).status_code == 404


async def until_deleted(person: Person, model: str) -> None:
    """Delete as soon as the engine has let go of the reply that was stopped."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (answer := await person.request("DELETE", f"/api/models/{model}")).status_code == 409:  # noqa: ASYNC110 - a client tries again
            await asyncio.sleep(0.05)
    assert answer.status_code == 204, answer.text


async def test_what_is_not_ours_is_not_deleted(ada: Person, data_dir: Path, story: bytes, tmp_path: Path) -> None:
    """Models of other servers are 409, what nobody has is 404, and no name leads out of the folder."""
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(story)
    assert (await ada.request("DELETE", "/api/models/demo")).status_code == 409
    for name in ("nothing", "..%2F..%2Foutside", "%2Fetc%2Fpasswd", "llama_cpp/../../outside"):
        answer = await ada.client.send(
            ada.client.build_request("DELETE", f"/api/models/{name}", headers={"X-CSRF-TOKEN": ada.client.cookies["CSRF-TOKEN"]})
        )
        assert answer.status_code == 404, name
    assert outside.exists()


async def test_broken_and_split_files_are_deleted(ada: Person, folder: Path, story: bytes) -> None:
    """What no provider offers goes by its name; of a split model all parts go, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.gguf").write_bytes(b"nothing")
    for number in (1, 2):
        (folder / f"big-0000{number}-of-00002.gguf").write_bytes(story)
    shutil.copy(folder / "broken.gguf", folder / "bigger.gguf")
    assert (await ada.request("DELETE", "/api/models/broken")).status_code == 204
    assert (await ada.request("DELETE", "/api/models/llama_cpp/big-00001-of-00002")).status_code == 204
    assert names(folder) == ["bigger.gguf"]


async def test_users_see_models_and_change_none(ada: Person, site: object, story: bytes, folder: Path) -> None:
    """A user reads the list and one model; an administrator's key without the scope admin changes nothing, with it, it reads and does."""
    made = await ada.request("POST", "/api/models", files={"file": ("story.gguf", story)})
    assert made.status_code == 201
    async with await Person(str(ada.client.base_url)).register("Bob") as bob:
        assert (await bob.get("/api/models/story")).json()["parameters"] == made.json()["parameters"]
        assert (await bob.request("DELETE", "/api/models/story")).status_code == 403
    statuses = []
    for scopes in (["chat", "v1"], ["admin"]):
        key = (await ada.post("/api/keys", {"name": "Key", "scopes": scopes})).json()["key"]
        async with httpx2.AsyncClient(
            base_url=ada.client.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=DEADLINE_SECONDS
        ) as program:
            assert [(await program.get(f"/api/models{one}")).status_code for one in ("", "/story")] == [200, 200]
            statuses.append((await program.delete("/api/models/story")).status_code)
    assert statuses == [403, 204]
    assert names(folder) == []
