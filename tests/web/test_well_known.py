"""`/.well-known/…`: what the settings list, and nothing else of the disk."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rustygpt.app import create_app
from rustygpt.settings import Settings, SettingsError
from rustygpt.settings_sources import load_settings
from rustygpt.web.well_known import MAX_BYTES
from tests.person import DEADLINE_SECONDS, Person
from tests.site import serving, settings_for

SECURITY = "Contact: mailto:security@example.org\nExpires: 2030-01-01T00:00:00Z\n"
ASSOCIATION = b'{"applinks": {}}'


@pytest.fixture
def listed(tmp_path: Path) -> list[dict[str, Any]]:
    """A text of the settings, and a file, with a secret beside it."""
    folder = tmp_path / "public"
    folder.mkdir()
    (folder / "association").write_bytes(ASSOCIATION)
    (tmp_path / "secret.txt").write_text("not for anybody")
    return [
        {"path": "security.txt", "content": SECURITY},
        {"path": "acme/association", "file": str(folder / "association"), "content_type": "application/json"},
    ]


async def test_documents_are_served_with_type_and_validator(dsn: str, data_dir: Path, listed: list[dict[str, Any]]) -> None:
    """GET and HEAD answer alike, a known ETag gets 304, and no session is needed; everything else is 404."""
    async with serving(settings_for(data_dir, well_known=listed), dsn) as site, Person(site.url) as stranger:
        answer = await stranger.get("/.well-known/security.txt")
        assert (answer.status_code, answer.text) == (200, SECURITY)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "public, max-age=3600"
        assert answer.headers["x-content-type-options"] == "nosniff"
        head = await stranger.request("HEAD", "/.well-known/security.txt")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(SECURITY)))
        tag = answer.headers["etag"]
        for given in (tag, f'"other", W/{tag}', "*"):
            again = await stranger.get("/.well-known/security.txt", headers={"If-None-Match": given})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        other = await stranger.get("/.well-known/acme/association", headers={"If-None-Match": tag})
        assert (other.status_code, other.content) == (200, ASSOCIATION)
        assert other.headers["content-type"] == "application/json"
        assert (await stranger.post("/.well-known/security.txt")).status_code == 405
        for path in ("", "security.txt/", "acme", "nothing", "SECURITY.TXT"):
            missing = await stranger.get(f"/.well-known/{path}")
            assert (missing.status_code, missing.json()["code"]) == (404, "RGP.NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["../secret.txt", "acme/../../secret.txt", "%2e%2e/secret.txt", "acme%2f..%2f..%2fsecret.txt", "/etc/passwd", "x%00"]
)
async def test_no_address_leads_out(dsn: str, data_dir: Path, listed: list[dict[str, Any]], path: str) -> None:
    """However the way out is written, sent as it stands: there is no such document."""
    async with serving(settings_for(data_dir, well_known=listed), dsn) as site:
        answer = await _as_it_stands(site.url, f"/.well-known/{path}")
        assert b" 404 " in answer.split(b"\r\n", 1)[0]
        assert b"not for anybody" not in answer


async def _as_it_stands(url: str, path: str) -> bytes:
    """Ask without a client that tidies paths up; return the whole answer."""
    address = httpx2.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.host}\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("path", ["", "/x", "x/", "../x", "a/../b", ".", "a//b", "a b", "ü", "a?b", "a%2fb", "x" * 201])
def test_paths_that_are_none_are_refused(path: str) -> None:
    """A path is made of plain segments; the message says which."""
    with pytest.raises(SettingsError, match=r"well_known\.0\.path"):
        load_settings({"well_known": [{"path": path, "content": "x"}]}, environ={})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"content": "x", "file": "/x"},
        {"content": "x", "content_type": "text/plain\r\nSet-Cookie: a=b"},
        {"content": "x", "more": 1},
    ],
)
def test_entries_that_cannot_be_meant_are_refused(fields: dict[str, Any]) -> None:
    """Neither text nor file, both, a type that is none, and unknown keys stop the start."""
    with pytest.raises(SettingsError, match=r"well_known\.0"):
        load_settings({"well_known": [{"path": "x", **fields}]}, environ={})


def test_files_are_read_at_the_start(tmp_path: Path) -> None:
    """A file that is not there, a folder, one that is too large and a path listed twice stop the start, and say which."""
    (tmp_path / "large").write_bytes(b"x" * (MAX_BYTES + 1))
    for entries, said in (
        ([{"path": "x", "file": tmp_path / "none"}], "cannot be read: No such file"),
        ([{"path": "x", "file": tmp_path}], "cannot be read: Is a directory"),
        ([{"path": "x", "file": tmp_path / "large"}], "has more than 262144 bytes"),
        ([{"path": "x", "content": "a"}, {"path": "x", "content": "b"}], "x is listed twice"),
    ):
        settings = Settings.model_validate({"data_dir": tmp_path / "data", "well_known": entries})
        with pytest.raises(SettingsError, match=said):
            create_app(settings, "postgres://nobody.invalid/nothing")
