"""A pull never reads the network that the server is in, unless the operator says so."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.models.conftest import library_settings
from tests.models.file_server import FileServer, file_server, redirect
from tests.models.pulling import model_ids, pulled, until_offered
from tests.person import Person
from tests.site import Site, serving

PRIVATE = (
    *("http://127.0.0.1:{port}/x.gguf", "http://localhost:{port}/x.gguf", "http://127.1:{port}/x.gguf"),
    *("http://2130706433:{port}/x.gguf", "http://0x7f000001:{port}/x.gguf", "http://0:{port}/x.gguf"),
    *("http://[::1]:{port}/x.gguf", "http://[::ffff:127.0.0.1]:{port}/x.gguf", "http://169.254.169.254/x.gguf"),
    *("https://10.0.0.1/x.gguf", "http://[fe80::1]/x.gguf", "http://224.0.0.1/x.gguf"),
)


@pytest.fixture
async def hub() -> AsyncIterator[FileServer]:
    """What hf: names: the operator's own mirror, which may be on a private address."""
    async with file_server() as served:
        yield served


@pytest.fixture
async def site(dsn: str, data_dir: Path, hub: FileServer) -> AsyncIterator[Site]:
    """A site that may not read its own network."""
    models = {"allow_private_addresses": False, "hf_base_url": hub.url, "hf_token": "hf_secret", "retry_seconds": 0}
    async with serving(library_settings(data_dir, models=models), dsn) as served:
        yield served


async def test_private_address_is_refused_at_once(ada: Person, files: FileServer) -> None:
    """In whatever spelling: a 422 that names the field, no job, and nobody is asked."""
    port = files.url.rpartition(":")[2]
    for template in PRIVATE:
        answer = await ada.post("/api/models/pull", {"source": template.format(port=port)})
        assert (template, answer.status_code) == (template, 422)
        assert answer.json()["errors"][0]["field"] == "source"
    assert (await ada.get("/api/models/jobs")).json()["items"] == []
    assert files.requests == []


async def test_redirect_to_a_private_address_is_refused(ada: Person, files: FileServer, hub: FileServer, story: bytes) -> None:
    """The mirror itself may be private; where it leads may not, and is not asked."""
    files.put("/x.gguf", story)
    hub.once("/org/repo/resolve/main/x.gguf", redirect(f"{files.url}/x.gguf"))
    job = await pulled(ada, "hf:org/repo/x.gguf")
    assert (job["state"], job["code"]) == ("error", "address_refused")
    assert files.requests == []


async def test_mirror_of_the_operator_may_be_private(ada: Person, hub: FileServer, story: bytes) -> None:
    """hf:org/repo/file comes from hf_base_url, with the token, and is compared with the checksum that it tells."""
    hub.put("/org/repo/resolve/main/x.gguf", story)
    job = await pulled(ada, "hf:org/repo/x.gguf")
    assert (job["state"], job["source"]) == ("done", "hf:org/repo/x.gguf")
    assert hub.requests[0].headers["authorization"] == "Bearer hf_secret"
    hub.put("/cdn", story)
    hub.once("/org/repo/resolve/main/y.gguf", redirect("/cdn", X_Linked_ETag='"' + "0" * 64 + '"'))
    assert (await pulled(ada, "hf:org/repo/y.gguf"))["code"] == "checksum_mismatch"
    await until_offered(ada, "x")
    assert await model_ids(ada) == ["x", "demo"]


async def test_address_is_looked_up_once_for_each_connection(
    dsn: str, tmp_path: Path, files: FileServer, story: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was judged is the one that is asked: a name that leads elsewhere the second time gains nothing."""
    asked: list[str] = []
    real = asyncio.BaseEventLoop.getaddrinfo

    async def resolve(loop: Any, host: Any, port: Any, **options: Any) -> Any:
        if host != "model.test":
            return await real(loop, host, port, **options)
        asked.append(host)
        address = "127.0.0.1" if len(asked) in (1, 2) else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    loop_type = type(asyncio.get_running_loop())
    monkeypatch.setattr(loop_type, "getaddrinfo", resolve, raising=False)
    port = files.url.rpartition(":")[2]
    files.put("/x.gguf", story)
    async with serving(library_settings(tmp_path / "other"), dsn) as other, await Person(other.url).set_up("Ada") as ada:
        job = await pulled(ada, f"http://model.test:{port}/x.gguf")
    assert job["state"] == "done", job
    assert asked == ["model.test"]
    assert files.requests[0].headers["host"] == f"model.test:{port}"
