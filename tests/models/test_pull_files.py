"""Pulls of files from a web server: whole, cut, corrupted, lying, silent."""

import hashlib
from pathlib import Path

from tests.models.conftest import library_settings
from tests.models.file_server import FileServer, answer, cut, head, redirect, silence
from tests.models.pulling import model_ids, names, pull, pulled, read_job, until_offered, until_over, until_swept
from tests.person import Person
from tests.site import serving


async def test_pulled_model_is_offered_at_once(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """The file is byte for byte the source's, the model is listed with what its header says, and an event of the audit log tells who."""
    job = await pulled(ada, files.put("/some/Tiny%20Story.gguf", story))
    assert (job["state"], job["bytes_done"], job["bytes_total"], job["code"]) == ("done", len(story), len(story), None)
    assert (folder / "Tiny-Story.gguf").read_bytes() == story
    await until_swept(folder)
    await until_offered(ada, "Tiny-Story")
    (item,) = [each for each in (await ada.get("/api/models")).json()["items"] if each["id"] == "Tiny-Story"]
    assert (item["provider"], item["state"], item["size_bytes"], item["is_removable"]) == (
        "llama_cpp",
        "available",
        len(story),
        True,
    )
    assert item["source"] == f"{files.url}/some/Tiny%20Story.gguf"
    shown = (await ada.get("/api/models/Tiny-Story")).json()
    assert shown["sha256"] == hashlib.sha256(story).hexdigest()
    assert (shown["architecture"], shown["title"], shown["trained_context_tokens"]) == ("llama", "story", 8_192)
    acts = [entry["action"] for entry in (await ada.get("/api/admin/audit")).json()["items"]]
    assert acts[:2] == ["model.pulled", "model.pull_asked"]


async def test_cut_download_goes_on_where_it_was(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """Each new request asks for the bytes that are missing, under the ETag of those that are there."""
    url = files.put("/story.gguf", story)
    files.once("/story.gguf", cut(files, 100_000), cut(files, 150_000))
    job = await pulled(ada, url)
    assert job["state"] == "done", job
    assert (folder / "story.gguf").read_bytes() == story
    assert [request.first_byte for request in files.requests] == [0, 100_000, 250_000]
    assert files.requests[1].headers["if-range"] == f'"{hashlib.md5(story).hexdigest()}"'
    assert all(request.headers["accept-encoding"] == "identity" for request in files.requests)


async def test_changed_file_is_downloaded_anew(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """When the source has another file under the address meanwhile, not a byte of the first is kept."""
    url = files.put("/story.gguf", story[:-8] + b"changed!")
    files.once("/story.gguf", cut(files, 100_000))
    job = await pull(ada, url)
    await files.until_asked(1)
    files.put("/story.gguf", story)
    assert (await until_over(ada, job["id"]))["state"] == "done"
    assert (folder / "story.gguf").read_bytes() == story


async def test_server_without_ranges_is_read_from_the_beginning(
    ada: Person, files: FileServer, story: bytes, folder: Path
) -> None:
    """A 200 in answer to a range is the whole file."""
    whole = {"Content-Length": str(len(story)), "ETag": '"one"'}
    url = files.put("/story.gguf", story)
    files.once("/story.gguf", answer(200, whole, story[:50_000]), answer(200, whole, story))
    assert (await pulled(ada, url))["state"] == "done"
    assert (folder / "story.gguf").read_bytes() == story


async def test_lost_range_begins_anew(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """A 416, and a 206 of another place, cost the part and nothing else."""
    url = files.put("/story.gguf", story)
    wrong = {"Content-Range": f"bytes 7-{len(story) - 1}/{len(story)}", "Content-Length": "10"}
    files.once("/story.gguf", cut(files, 50_000), answer(416), cut(files, 60_000), answer(206, wrong, b"0123456789"))
    assert (await pulled(ada, url))["state"] == "done"
    assert (folder / "story.gguf").read_bytes() == story


async def test_given_checksum_is_compared(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """A file with another SHA-256 is not kept; with the right one, in any case of letters, it is."""
    url = files.put("/story.gguf", story)
    digest = hashlib.sha256(story).hexdigest()
    wrong = await pulled(ada, url, sha256="0" * 64)
    assert (wrong["state"], wrong["code"]) == ("error", "checksum_mismatch")
    await until_swept(folder)
    assert names(folder) == []
    assert (await pulled(ada, url, sha256=digest.upper()))["state"] == "done"


NO_MODELS = {
    "zip": (b"PK\x03\x04" + b"\0" * 5_000, "does not begin like a GGUF"),
    "big": (b"GGUF\0\0\0\x03" + b"\xff" * 5_000, "big-endian"),
    "old": (b"GGUF\x01\0\0\0" + b"\xff" * 5_000, "version 1"),
    "liar": (b"GGUF\x03\0\0\0" + b"\xff" * 5_000, "claims to have"),
    "stump": (b"GGUF", "ends in the middle"),
    "nothing": (b"", "ends in the middle"),
}


async def test_what_is_no_model_is_not_kept(ada: Person, files: FileServer, folder: Path) -> None:
    """A zip, headers that lie and stumps are refused with a reason, and nothing stays."""
    for name, (content, reason) in NO_MODELS.items():
        job = await pulled(ada, files.put(f"/{name}.gguf", content))
        assert (name, job["state"], job["code"]) == (name, "error", "not_a_model"), job
        assert reason in job["message"]
    await until_swept(folder)
    assert names(folder) == []


async def test_truncated_model_is_not_kept(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """A file that is shorter than its tensors need is refused, though its length is what the server said."""
    job = await pulled(ada, files.put("/x.gguf", story[:-1]))
    assert (job["state"], job["code"]) == ("error", "not_a_model")
    assert "tensors need" in job["message"]
    assert await model_ids(ada) == ["demo"]


async def test_no_model_is_refused_before_it_is_downloaded(ada: Person, files: FileServer, folder: Path) -> None:
    """The beginning shows it: the rest, which never comes, is not waited for."""
    fields = {"Content-Length": str(10**9)}
    files.once("/x.gguf", silence(head(200, fields) + b"MZ" + b"\0" * 100_000))
    files.put("/x.gguf", b"")
    job = await pulled(ada, f"{files.url}/x.gguf")
    assert job["code"] == "not_a_model"


BAD_ANSWERS = [
    (200, {"Content-Type": "text/html; charset=utf-8"}, "source_garbage"),
    (200, {"Content-Encoding": "gzip"}, "source_garbage"),
    (404, {}, "source_refused"),
    (401, {}, "source_refused"),
    (200, {"Content-Length": str(2**50)}, "too_large"),
    (302, {"Location": "ftp://example.org/x.gguf"}, "address_refused"),
    (302, {"Location": "http://user:secret@example.org/x"}, "address_refused"),
    (302, {"Location": "http://[::"}, "source_garbage"),
    (302, {}, "source_garbage"),
]


async def test_bad_answers_end_the_pull(ada: Person, files: FileServer, folder: Path) -> None:
    """A web page, a compressed body, a refusal, too much, and redirects to nowhere: an error with its code, asked once."""
    for status, fields, code in BAD_ANSWERS:
        files.once("/x.gguf", answer(status, {"Content-Length": "0", **fields}))
        job = await pulled(ada, f"{files.url}/x.gguf")
        assert (status, fields, job["code"]) == (status, fields, code)
    assert len(files.requests) == len(BAD_ANSWERS)
    await until_swept(folder)
    assert names(folder) == []


async def test_source_that_is_busy_is_asked_again(ada: Person, files: FileServer, story: bytes) -> None:
    """503 and 429 pass."""
    url = files.put("/story.gguf", story)
    files.once("/story.gguf", answer(503, {"Content-Length": "0"}), answer(429, {"Content-Length": "0"}))
    assert (await pulled(ada, url))["state"] == "done"


async def test_patience_ends(dsn: str, data_dir: Path, files: FileServer) -> None:
    """A source that stays silent is given up after stall_seconds, tried again for retry_seconds, and then it is an error."""
    files.once("/x.gguf", *[silence(head(200, {"Content-Length": "1000000"})) for _ in range(20)])
    models = {"stall_seconds": 0.2, "retry_seconds": 0.5}
    async with serving(library_settings(data_dir, models=models), dsn) as site, await Person(site.url).set_up("Ada") as ada:
        job = await pulled(ada, f"{files.url}/x.gguf")
    assert (job["state"], job["code"]) == ("error", "source_stalled")


async def test_endless_body_is_cut_off(dsn: str, data_dir: Path, files: FileServer, story: bytes) -> None:
    """A body without a length ends at models.max_bytes."""
    files.once("/x.gguf", answer(200, {}, story + b"\0" * 500_000))
    models = {"max_bytes": len(story) + 100_000}
    async with serving(library_settings(data_dir, models=models), dsn) as site, await Person(site.url).set_up("Ada") as ada:
        job = await pulled(ada, f"{files.url}/x.gguf")
    assert (job["state"], job["code"]) == ("error", "too_large")


async def test_redirects_are_followed(ada: Person, files: FileServer, story: bytes) -> None:
    """To other paths, also relative ones; eleven in a row are too many."""
    files.put("/real", story)
    files.once("/a.gguf", redirect("/b"))
    files.once("/b", redirect(f"{files.url}/real"))
    assert (await pulled(ada, f"{files.url}/a.gguf"))["state"] == "done"
    files.once("/loop.gguf", *[redirect("/loop.gguf") for _ in range(20)])
    assert (await pulled(ada, f"{files.url}/loop.gguf"))["code"] == "source_garbage"


async def test_taken_name_is_a_conflict(ada: Person, files: FileServer, story: bytes) -> None:
    """A model of that name is not replaced; another name will do, and a name is needed where the address has none."""
    url = files.put("/story.gguf", story)
    assert (await pulled(ada, url))["state"] == "done"
    assert (await ada.post("/api/models/pull", {"source": url})).status_code == 409
    assert (await pulled(ada, url, name="other.gguf"))["model"] == "other"
    nameless = files.put("/download?id=5", story)
    assert (await ada.post("/api/models/pull", {"source": nameless})).status_code == 422
    assert (await pulled(ada, nameless, name="fifth"))["state"] == "done"
    await until_offered(ada, "story", "other", "fifth")


async def test_signature_of_an_address_is_shown_to_nobody(ada: Person, files: FileServer, story: bytes) -> None:
    """What follows the ? in an address is used and never told."""
    files.put("/s.gguf?signature=hunter2", story)
    job = await pull(ada, f"{files.url}/s.gguf?signature=hunter2")
    assert (await until_over(ada, job["id"]))["state"] == "done"
    for path in ("/api/models", "/api/models/s", "/api/models/jobs", "/api/admin/audit", f"/api/models/jobs/{job['id']}"):
        assert "hunter2" not in (await ada.get(path)).text
    assert (await read_job(ada, job["id"]))["source"] == f"{files.url}/s.gguf"
