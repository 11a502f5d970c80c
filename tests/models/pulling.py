"""Short forms for tests of the library: pull, wait for the end of a job, list."""

import asyncio
from pathlib import Path
from typing import Any

from tests.person import DEADLINE_SECONDS, Person

OPEN = ("queued", "running")


async def pull(person: Person, source: str, **fields: Any) -> dict[str, Any]:
    """Ask for a pull and return its job."""
    answer = await person.post("/api/models/pull", {"source": source, **fields})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/api/models/jobs/{answer.json()['id']}"
    return dict(answer.json())


async def read_job(person: Person, job: str) -> dict[str, Any]:
    """Return one job."""
    answer = await person.get(f"/api/models/jobs/{job}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def until_over(person: Person, job: str) -> dict[str, Any]:
    """Wait for the end of a job and return it."""
    async with asyncio.timeout(2 * DEADLINE_SECONDS):
        while (found := await read_job(person, job))["state"] in OPEN:  # noqa: ASYNC110 - a client polls
            await asyncio.sleep(0.05)
    return found


async def pulled(person: Person, source: str, **fields: Any) -> dict[str, Any]:
    """Pull to the end and return the job."""
    return await until_over(person, (await pull(person, source, **fields))["id"])


async def model_ids(person: Person) -> list[str]:
    """Return the ids of the models that are offered."""
    answer = await person.get("/api/models")
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def until_offered(person: Person, *models: str) -> None:
    """Wait until all of *models* are offered: a job's end is told a moment before every process has looked at the folder."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not set(models) <= set(await model_ids(person)):  # noqa: ASYNC110 - a client polls
            await asyncio.sleep(0.02)


def names(folder: Path) -> list[str]:
    """Return what is in the models folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def until_swept(folder: Path) -> None:
    """Wait until no part of a file is left; a job removes its part just after it has said how it ended."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while any(name.endswith(".part") for name in names(folder)):  # noqa: ASYNC110 - nobody signals it
            await asyncio.sleep(0.02)
