"""A disk that has too little room, or none any more half-way: an error that says so, and nothing left behind."""

from pathlib import Path

from tests.models.conftest import library_settings
from tests.models.file_server import FileServer
from tests.models.pulling import names, pulled, until_swept
from tests.models.small_disk import files_of_at_most
from tests.person import Person
from tests.site import serving


async def test_disk_that_fills_half_way_ends_a_pull(ada: Person, files: FileServer, story: bytes, folder: Path) -> None:
    """The write that fails ends the job, the part is gone, and the next pull goes well."""
    url = files.put("/story.gguf", story)
    with files_of_at_most(len(story) // 2):
        job = await pulled(ada, url)
    assert (job["state"], job["code"]) == ("error", "disk_full"), job
    await until_swept(folder)
    assert names(folder) == []
    assert (await pulled(ada, url))["state"] == "done"


async def test_disk_that_fills_half_way_ends_an_upload(ada: Person, story: bytes, folder: Path) -> None:
    """503, and nothing stays."""
    with files_of_at_most(len(story) // 2):
        answer = await ada.request("POST", "/api/models", files={"file": ("story.gguf", story)})
    assert (answer.status_code, answer.json()["code"]) == (503, "RGP.UNAVAILABLE")
    assert "disk is full" in answer.json()["detail"]
    assert names(folder) == []


async def test_room_is_asked_for_before_the_first_byte(dsn: str, data_dir: Path, files: FileServer, story: bytes) -> None:
    """Where models.min_free_bytes would be touched, nothing is written; of a pull no byte is read."""
    settings = library_settings(data_dir, models={"min_free_bytes": 2**44})
    async with serving(settings, dsn) as site, await Person(site.url).set_up("Ada") as ada:
        job = await pulled(ada, files.put("/story.gguf", story))
        assert (job["code"], job["bytes_done"]) == ("disk_full", 0)
        answer = await ada.request("POST", "/api/models", files={"file": ("story.gguf", story)})
        assert (answer.status_code, answer.json()["code"]) == (503, "RGP.UNAVAILABLE")
        await until_swept(data_dir / "models")
    assert names(data_dir / "models") == []
