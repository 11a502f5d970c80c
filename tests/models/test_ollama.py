"""Models that Ollama keeps: pulled, shown and deleted through it, from its API reference, and on its bad days."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import library_settings
from tests.models.pulling import pulled
from tests.person import Person
from tests.scripted_http import Answer, ScriptedServer, scripted_server
from tests.scripted_ollama import NDJSON, tags
from tests.site import Site, serving

LAYER, CONFIG = "sha256:8eeb52dfb3bb", "sha256:34bb5ab01051"
PROGRESS: list[dict[str, Any]] = [
    {"status": "pulling manifest"},
    {"status": f"pulling {LAYER}", "digest": LAYER, "total": 2_000_000_000},
    {"status": f"pulling {LAYER}", "digest": LAYER, "total": 2_000_000_000, "completed": 241_970},
    {"status": f"pulling {LAYER}", "digest": LAYER, "total": 2_000_000_000, "completed": 2_000_000_000},
    {"status": f"pulling {CONFIG}", "digest": CONFIG, "total": 561, "completed": 561},
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]
SHOWN = {
    "details": {"family": "llama", "parameter_size": "3.2B", "quantization_level": "Q4_K_M"},
    "model_info": {"general.architecture": "llama", "llama.context_length": 131_072},
    "capabilities": ["completion"],
}


def lines(*records: dict[str, Any], then: Any = "end") -> Answer:
    """Answer with a line for each record."""
    return Answer(tuple(json.dumps(record).encode() + b"\n" for record in records), content_type=NDJSON, then=then)


@pytest.fixture
async def ollama() -> AsyncIterator[ScriptedServer]:
    """An Ollama that has nothing yet."""
    async with scripted_server() as server:
        server.answer("/api/tags", tags())
        server.answer("/api/ps", tags())
        yield server


@pytest.fixture
async def site(dsn: str, data_dir: Path, ollama: ScriptedServer) -> AsyncIterator[Site]:
    """A site with that Ollama."""
    async with serving(library_settings(data_dir, assistant={"ollama_base_url": ollama.base_url}), dsn) as served:
        yield served


async def test_name_is_pulled_by_ollama(ada: Person, ollama: ScriptedServer) -> None:
    """The job counts all layers, and the model is offered when it ends, with what Ollama tells of it."""
    ollama.answer("/api/pull", lines(*PROGRESS))
    ollama.answer("/api/tags", tags("llama3.2:latest"))
    ollama.answer("/api/show", Answer((json.dumps(SHOWN).encode(),)))
    job = await pulled(ada, "llama3.2")
    assert (job["state"], job["kind"], job["model"], job["provider"]) == ("done", "ollama", "llama3.2:latest", "ollama")
    assert (job["bytes_done"], job["bytes_total"]) == (2_000_000_561, 2_000_000_561)
    (asked,) = [request.body for request in ollama.requests if request.path == "/api/pull"]
    assert asked == {"model": "llama3.2:latest", "stream": True}
    shown = (await ada.get("/api/models/llama3.2")).json()
    assert (shown["parameters"], shown["quantization"], shown["trained_context_tokens"]) == ("3.2B", "Q4_K_M", 131_072)
    assert (shown["size_bytes"], shown["is_removable"]) == (2_019_393_189, True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lines(PROGRESS[0], {"error": "pull model manifest: file does not exist"}), "file does not exist"),
        (lines(*PROGRESS[:3]), "hung up"),
        (lines(*PROGRESS[:3], then="hang up"), "hung up"),
        (Answer((b"<html>",), content_type="text/html"), "could not be understood"),
        (Answer((b'["status"]\n',)), "could not be understood"),
        (Answer((b'{"error": "no space left"}',), status=507), "no space left"),
    ],
)
async def test_failed_pull_says_why(ada: Person, ollama: ScriptedServer, answer: Answer, said: str) -> None:
    """An error inside a 200, a broken connection, a page and a refusal: an error with Ollama's own words."""
    ollama.answer("/api/pull", answer)
    job = await pulled(ada, "llama3.2")
    assert (job["state"], job["code"]) == ("error", "provider_failed"), job
    assert said in job["message"]


async def test_model_is_deleted_by_ollama(ada: Person, ollama: ScriptedServer) -> None:
    """By its name; one that is gone meanwhile is 404, and a refusal is told."""
    ollama.answer("/api/tags", tags("llama3.2:latest"))
    ollama.answer("/api/pull", lines(PROGRESS[-1]))
    ollama.answer("/api/delete", Answer((b"",)), Answer((b'{"error":"model not found"}',), status=404), Answer(status=500))
    assert (await pulled(ada, "llama3.2"))["state"] == "done"
    statuses = [(await ada.request("DELETE", "/api/models/ollama/llama3.2")).status_code for _ in range(3)]
    assert statuses == [204, 404, 503]
    (first, *_) = [request.body for request in ollama.requests if request.path == "/api/delete"]
    assert first == {"model": "llama3.2:latest"}


async def test_names_need_an_ollama(dsn: str, tmp_path: Path) -> None:
    """Without one a name is 422, and so are fields that are for files."""
    async with serving(library_settings(tmp_path / "none"), dsn) as site, await Person(site.url).set_up("Ada") as ada:
        answer = await ada.post("/api/models/pull", {"source": "llama3.2"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "source")
        assert (await ada.post("/api/models/pull", {"source": "llama3.2", "name": "x"})).status_code == 422
