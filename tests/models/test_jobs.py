"""Jobs of the library: joined, bounded, cancelled, streamed, and gone on with after a restart or kill -9."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.models.conftest import library_settings
from tests.models.file_server import FileServer
from tests.models.pulling import names, pull, pulled, read_job, until_offered, until_over, until_swept
from tests.person import DEADLINE_SECONDS, Person
from tests.server_process import ServerProcess
from tests.site import serving

GATE_BYTES = 200_000


async def until_bytes(person: Person, job: str, least: int) -> dict[str, Any]:
    """Wait until so many bytes of a job are safe."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (found := await read_job(person, job))["bytes_done"] < least:  # noqa: ASYNC110 - a client polls
            await asyncio.sleep(0.02)
    return found


async def test_two_pulls_of_one_model_are_one_job(ada: Person, files: FileServer, story: bytes) -> None:
    """The same source joins, another for the same name is a conflict, and the source is asked once."""
    files.gate_bytes = GATE_BYTES
    url, other = files.put("/story.gguf", story), files.put("/other/story.gguf", story)
    first, second = await asyncio.gather(pull(ada, url), pull(ada, url))
    assert first["id"] == second["id"]
    assert (await ada.post("/api/models/pull", {"source": other})).status_code == 409
    assert (await ada.post("/api/models/pull", {"source": url, "sha256": "0" * 64})).status_code == 409
    files.gate.set()
    assert (await until_over(ada, first["id"]))["state"] == "done"
    assert len(files.requests) == 1


async def test_repeated_request_gets_the_same_job(ada: Person, files: FileServer, story: bytes) -> None:
    """With an idempotency key also when the model is there already; another request with the key is a conflict."""
    url = files.put("/story.gguf", story)
    asked = {"source": url, "client_id": "once"}
    first = await pulled(ada, url, client_id="once")
    again = await ada.post("/api/models/pull", {**asked, "name": "another"})
    assert again.status_code == 409
    assert first["state"] == "done"
    assert (await ada.get("/api/models/jobs")).json()["items"][0]["id"] == first["id"]


async def test_cancelled_pull_leaves_nothing(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """Stop works in the middle, twice is once, and what is over stays as it is."""
    files.gate_bytes = GATE_BYTES
    job = await pull(ada, files.put("/story.gguf", story))
    await files.is_held.wait()
    path = f"/api/models/jobs/{job['id']}/cancel"
    assert (await ada.post(path)).json()["is_cancelling"]
    assert (await ada.post(path)).status_code == 200
    assert (await until_over(ada, job["id"]))["state"] == "cancelled"
    assert (await ada.post(path)).json()["state"] == "cancelled"
    await until_swept(folder)
    assert names(folder) == []
    acts = [entry["action"] for entry in (await ada.get("/api/admin/audit")).json()["items"]]
    assert acts[:2] == ["model.pull_cancelled", "model.pull_asked"]


async def test_few_run_at_once_and_the_others_wait(ada: Person, files: FileServer, story: bytes) -> None:
    """Two by default; a waiting one is cancelled without having begun, and the next begins when one has ended."""
    files.gate_bytes = GATE_BYTES
    jobs = [await pull(ada, files.put(f"/{number}.gguf", story)) for number in range(4)]
    await files.until_asked(2)
    states = [(await read_job(ada, job["id"]))["state"] for job in jobs]
    assert states == ["running", "running", "queued", "queued"]
    assert (await ada.post(f"/api/models/jobs/{jobs[2]['id']}/cancel")).json()["state"] == "cancelled"
    files.gate.set()
    ends = [(await until_over(ada, job["id"]))["state"] for job in jobs]
    assert ends == ["done", "done", "cancelled", "done"]


async def test_open_jobs_are_bounded(dsn: str, data_dir: Path, files: FileServer, story: bytes) -> None:
    """One more than models.max_open_jobs is 503 with Retry-After."""
    files.gate_bytes = GATE_BYTES
    settings = library_settings(data_dir, models={"max_open_jobs": 1})
    async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
        await pull(ada, files.put("/a.gguf", story))
        answer = await ada.post("/api/models/pull", {"source": files.put("/b.gguf", story)})
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_jobs_are_listed_by_pages(ada: Person, files: FileServer) -> None:
    """Newest first, with a cursor of their own kind."""
    made = [(await pulled(ada, f"{files.url}/{number}.gguf"))["id"] for number in range(3)]
    page = (await ada.get("/api/models/jobs?limit=2")).json()
    assert [job["id"] for job in page["items"]] == made[:0:-1]
    rest = (await ada.get(f"/api/models/jobs?limit=2&cursor={page['next_cursor']}")).json()
    assert ([job["id"] for job in rest["items"]], rest["next_cursor"]) == (made[:1], None)
    assert (await ada.get("/api/models/jobs?cursor=forged")).status_code == 400


async def read_stream(person: Person, job: str) -> list[tuple[str, dict[str, Any]]]:
    """Read a job's stream to its end: event and data of each frame."""
    frames: list[tuple[str, dict[str, Any]]] = []
    accept = {"Accept": "text/event-stream"}
    async with person.client.stream("GET", f"/api/models/jobs/{job}", headers=accept) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        body = (await answer.aread()).decode()
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            frames.append((fields["event"], json.loads(fields["data"])))
    return frames


async def test_stream_of_a_job_answers_head_and_ends_with_the_server(
    dsn: str, data_dir: Path, files: FileServer, story: bytes
) -> None:
    """HEAD gets the head alone; a server that ends does not wait for a pull's end to close its stream."""
    files.gate_bytes = GATE_BYTES
    accept = {"Accept": "text/event-stream"}
    async with AsyncExitStack() as leaving:
        site = await leaving.enter_async_context(serving(library_settings(data_dir), dsn))
        ada = await leaving.enter_async_context(Person(site.url))
        await ada.set_up("Ada")
        job = await pull(ada, files.put("/story.gguf", story))
        await files.is_held.wait()
        path = f"/api/models/jobs/{job['id']}"
        head = await ada.client.head(path, headers=accept)
        assert (head.status_code, head.headers["content-type"], head.content) == (200, "text/event-stream; charset=utf-8", b"")
        async with ada.client.stream("GET", path, headers=accept) as answer:
            lines = answer.aiter_lines()
            while not (await anext(lines)).startswith("data:"):
                pass
            site.application.begin_drain()
            async with asyncio.timeout(DEADLINE_SECONDS):
                assert [line async for line in lines if line.startswith("event: job")] == []


async def test_two_processes_share_jobs_and_models(dsn: str, tmp_path: Path, files: FileServer, story: bytes) -> None:
    """Progress is streamed, and a stop works, on the process that does not run the job; a new model is known on both within seconds."""
    files.gate_bytes = GATE_BYTES
    tables: dict[str, Any] = {"bus": {"kind": "postgres"}, "secret_key": "a secret of thirty-two characters"}
    models = {"folder": str(tmp_path / "shared")}
    async with AsyncExitStack() as stack:
        sites = [
            await stack.enter_async_context(serving(library_settings(tmp_path / name, models=models, **tables), dsn))
            for name in ("a", "b")
        ]
        ada = await stack.enter_async_context(Person(sites[0].url))
        await ada.set_up("Ada")
        other = await stack.enter_async_context(Person(sites[1].url))
        other.client.cookies = ada.client.cookies
        stopped = await pull(ada, files.put("/stopped.gguf", story))
        await files.is_held.wait()
        for person in (ada, other):
            await person.post(f"/api/models/jobs/{stopped['id']}/cancel")
        assert (await until_over(other, stopped["id"]))["state"] == "cancelled"
        job = await pull(ada, files.put("/story.gguf", story))
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read_stream(person, job["id"])) for person in (ada, other)]
            await until_bytes(other, job["id"], GATE_BYTES - 70_000)
            files.gate.set()
        for reader in readers:
            kinds = [kind for kind, _ in reader.result()]
            assert kinds == ["progress"] * (len(kinds) - 1) + ["job.done"]
            assert reader.result()[-1][1]["bytes_done"] == len(story)
        for person in (ada, other):
            await until_offered(person, "story")


async def test_restarted_server_goes_on_with_a_pull(dsn: str, data_dir: Path, files: FileServer, story: bytes) -> None:
    """A server that is stopped lets its job wait, and the next one asks for the rest only."""
    files.gate_bytes = GATE_BYTES
    url = files.put("/story.gguf", story)
    async with serving(library_settings(data_dir), dsn) as site, await Person(site.url).set_up("Ada") as ada:
        job = await pull(ada, url)
        safe = (await until_bytes(ada, job["id"], GATE_BYTES - 70_000))["bytes_done"]
        cookies = ada.client.cookies
    files.gate.set()
    async with serving(library_settings(data_dir), dsn) as site, Person(site.url) as ada:
        ada.client.cookies = cookies
        assert (await until_over(ada, job["id"]))["state"] == "done"
    assert files.requests[-1].first_byte >= safe
    assert (data_dir / "models" / "story.gguf").read_bytes() == story


async def test_job_that_ends_its_processes_is_given_up(ada: Person, files: FileServer, owner: asyncpg.Connection) -> None:
    """After five claims that brought not a byte it is an error, and no sixth process falls."""
    await owner.execute(
        "insert into rustygpt.model_jobs (kind, source, url, provider, model, attempts) values ('file', 'x', $1, 'llama_cpp', 'x', 5)",
        f"{files.url}/x.gguf",
    )
    job = (await ada.get("/api/models/jobs")).json()["items"][0]
    assert (await until_over(ada, job["id"]))["code"] == "internal"
    assert files.requests == []


@pytest.mark.acceptance
async def test_killed_server_goes_on_with_a_pull(tmp_path: Path, files: FileServer, story: bytes) -> None:
    """kill -9 in the middle: after the restart the rest is asked for by range, and the file is whole."""
    files.gate_bytes = GATE_BYTES
    environment = {"RUSTYGPT__MODELS__ALLOW_PRIVATE_ADDRESSES": "true", "RUSTYGPT__MODELS__MIN_FREE_BYTES": "0"}
    (tmp_path / "data").mkdir()
    server = ServerProcess(tmp_path / "data", environment=environment)
    try:
        await server.start()
        async with Person(server.url) as ada:
            await ada.set_up("Ada")
            job = await pull(ada, files.put("/story.gguf", story))
            safe = (await until_bytes(ada, job["id"], GATE_BYTES - 70_000))["bytes_done"]
            await server.kill()
            files.gate.set()
            await server.start()
            assert (await until_over(ada, job["id"]))["state"] == "done"
            await until_offered(ada, "story")
    finally:
        await server.stop()
    assert files.requests[-1].first_byte >= safe > 0
    assert names(tmp_path / "data" / "models") == ["story.gguf"]
