"""Uploads: to the folder as they come, whole or not at all."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.models.conftest import library_settings
from tests.models.pulling import model_ids, names, until_swept
from tests.person import DEADLINE_SECONDS, Person
from tests.scripted_http import scripted_server
from tests.scripted_ollama import tags
from tests.site import serving

BOUNDARY = "----test"


async def upload(person: Person, content: bytes, name: str = "story.gguf", **fields: str) -> Any:
    """Post a form as browsers do."""
    return await person.request("POST", "/api/models", files={"file": (name, content)}, data=fields)


def form(*parts: tuple[str, bytes], end: bool = True) -> bytes:
    """Return a body of parts, each with its disposition's parameters and content."""
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts
    )
    return body + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


async def post_raw(person: Person, body: bytes, content_type: str = f"multipart/form-data; boundary={BOUNDARY}") -> Any:
    return await person.request("POST", "/api/models", content=body, headers={"Content-Type": content_type})


async def test_uploaded_model_is_offered_at_once(ada: Person, story: bytes, folder: Path) -> None:
    """201 with what its header says; the file is whole, the audit log tells who, and the name is taken then."""
    digest = hashlib.sha256(story).hexdigest()
    answer = await upload(ada, story, "My Story.gguf", sha256=digest)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["id"], made["source"], made["sha256"], made["architecture"]) == ("My-Story", "upload", digest, "llama")
    assert (folder / "My-Story.gguf").read_bytes() == story
    assert names(folder) == ["My-Story.gguf"]
    assert "My-Story" in await model_ids(ada)
    assert (await ada.get("/api/admin/audit")).json()["items"][0]["action"] == "model.uploaded"
    assert (await upload(ada, story, "My Story.gguf")).status_code == 409
    assert names(folder) == ["My-Story.gguf"]


async def test_bad_uploads_leave_nothing(ada: Person, story: bytes, folder: Path) -> None:
    """No model, another checksum, a stump, no file, two files, an unknown field, no form, a form that ends early: a reason each."""
    file = ('name="file"; filename="x.gguf"', story)
    cases = [
        (await upload(ada, b"PK\x03\x04" + b"\0" * 100), 422),
        (await upload(ada, story[:-1]), 422),
        (await upload(ada, story, sha256="0" * 64), 422),
        (await upload(ada, story, sha256="nonsense"), 422),
        (await upload(ada, story, name="...gguf"), 422),
        (await post_raw(ada, form(('name="name"', b"x"))), 422),
        (await post_raw(ada, form(file, file)), 422),
        (await post_raw(ada, form(('name="mood"', b"good"), file)), 422),
        (await post_raw(ada, form(('name="name"', b"x" * 2_000), file)), 422),
        (await post_raw(ada, form(*[(f'name="n{number}"', b"") for number in range(20)])), 422),
        (await post_raw(ada, form(file, end=False)), 400),
        (await post_raw(ada, b"not a form at all"), 400),
        (await post_raw(ada, b"{}", "application/json"), 415),
        (await post_raw(ada, form(file), "multipart/form-data"), 415),
        (await post_raw(ada, form(file), "multipart/form-data; boundary=" + "x" * 300), 400),
    ]
    assert [(number, answer.status_code) for number, (answer, _) in enumerate(cases)] == [
        (number, status) for number, (_, status) in enumerate(cases)
    ]
    assert names(folder) == []


async def test_name_may_be_given(ada: Person, story: bytes, folder: Path) -> None:
    """Before the file or after it, in the form."""
    before = form(('name="name"', b"before"), ('name="file"; filename="x.gguf"', story))
    after = form(('name="file"; filename="x.gguf"', story), ('name="name"', b"after"))
    assert [(await post_raw(ada, body)).json()["id"] for body in (before, after)] == ["before", "after"]
    assert names(folder) == ["after.gguf", "before.gguf"]


async def test_late_name_counts_where_the_files_own_is_taken(ada: Person, story: bytes, folder: Path) -> None:
    """`name` after the file stands in for a name that is taken; without one, and for one that is taken too, 409."""
    assert (await upload(ada, story)).status_code == 201
    file = ('name="file"; filename="story.gguf"', story)
    assert (await post_raw(ada, form(file, ('name="name"', b"other")))).json()["id"] == "other"
    refused = [form(file), form(file, ('name="name"', b"other")), form(('name="name"', b"other"), file)]
    assert [(await post_raw(ada, body)).status_code for body in refused] == [409] * 3
    assert names(folder) == ["other.gguf", "story.gguf"]


async def test_names_of_other_providers_models_are_refused(dsn: str, data_dir: Path, story: bytes) -> None:
    """409 with whose it is, for uploads and pulls, in whatever case; `demo` also while the demo is off."""
    async with scripted_server() as ollama:
        ollama.answer("/api/tags", tags("llama3.2:latest", "qwen3"))
        assistant = {"demo": {"enabled": False}, "ollama_base_url": ollama.base_url}
        settings = library_settings(data_dir, assistant=assistant)
        async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
            for name, owner in (("demo", "demo"), ("Demo", "demo"), ("llama3.2", "ollama"), ("QWEN3", "ollama")):
                source = {"source": f"http://127.0.0.1:9/{name}.gguf"}
                for answer in (await upload(ada, story, f"{name}.gguf"), await ada.post("/api/models/pull", source)):
                    assert answer.status_code == 409, answer.text
                    assert answer.json()["detail"] == f"A model of {owner} is called {name}. Give the file another name."
            assert (
                await post_raw(ada, form(('name="file"; filename="demo.gguf"', story), ('name="name"', b"story")))
            ).status_code == 201
    assert names(data_dir / "models") == ["story.gguf"]


async def test_upload_is_bounded(dsn: str, data_dir: Path, story: bytes) -> None:
    """413 by Content-Length at once, and by count where it is not told; one at a time where the settings say so."""
    settings = library_settings(data_dir, models={"max_bytes": 300_000, "max_concurrent_jobs": 1})

    async def pieces() -> Any:
        for at in range(0, len(story), 65_536):
            yield form(('name="file"; filename="x.gguf"', story), end=False)[at : at + 65_536]

    async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
        assert (await upload(ada, story)).status_code == 413
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        assert (await ada.request("POST", "/api/models", content=pieces(), headers=headers)).status_code == 413
        await until_swept(data_dir / "models")
        async with half_an_upload(ada, story):
            await until_part(data_dir / "models")
            assert (await upload(ada, b"GGUF")).status_code == 503
    assert names(data_dir / "models") == []


class half_an_upload:  # noqa: N801 - reads like the function it could be
    """The first half of an upload, on a connection that is then cut."""

    def __init__(self, person: Person, content: bytes) -> None:
        self._person = person
        self._body = form(('name="file"; filename="x.gguf"', content))

    async def __aenter__(self) -> None:
        url = urlsplit(str(self._person.client.base_url))
        cookies = "; ".join(f"{name}={value}" for name, value in self._person.client.cookies.items())
        _, self._writer = await asyncio.open_connection(url.hostname, url.port)
        head = f"POST /api/models HTTP/1.1\r\nHost: {url.netloc}\r\nCookie: {cookies}\r\n"
        head += f"X-CSRF-TOKEN: {self._person.client.cookies['CSRF-TOKEN']}\r\nContent-Length: {len(self._body)}\r\n"
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        self._writer.write(head.encode() + self._body[: len(self._body) // 2])
        await self._writer.drain()

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()


async def until_part(folder: Path) -> None:
    """Wait until an upload has begun to write."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not any(name.endswith(".part") for name in names(folder)):  # noqa: ASYNC110 - nobody signals it
            await asyncio.sleep(0.01)


async def test_hang_up_leaves_nothing(ada: Person, story: bytes, folder: Path) -> None:
    """The part of a client that went away is removed at once."""
    async with half_an_upload(ada, story):
        await until_part(folder)
    await until_swept(folder)
    assert names(folder) == []


async def test_silent_upload_is_given_up(dsn: str, data_dir: Path, story: bytes) -> None:
    """After models.stall_seconds without a byte the part is removed, though the client is still there."""
    settings = library_settings(data_dir, models={"stall_seconds": 0.3})
    async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada, half_an_upload(ada, story):
        await until_part(data_dir / "models")
        await until_swept(data_dir / "models")


@pytest.mark.parametrize("kind", ["upload", "job"])
async def test_abandoned_parts_are_swept(dsn: str, data_dir: Path, kind: str) -> None:
    """What a killed process left is removed at the next start; what is no part of ours stays."""
    folder = data_dir / "models"
    folder.mkdir(parents=True)
    part = "01900000-0000-7000-8000-000000000000.part"
    (folder / (f"upload-{part}" if kind == "upload" else part)).write_bytes(b"x")
    (folder / "somebody's.part").write_bytes(b"x")
    async with serving(library_settings(data_dir), dsn):
        async with asyncio.timeout(DEADLINE_SECONDS):
            while names(folder) != ["somebody's.part"]:  # noqa: ASYNC110 - nobody signals it
                await asyncio.sleep(0.02)
