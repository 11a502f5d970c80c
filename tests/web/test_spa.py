"""Serving the page: what is the page's, what is the API's, and how long a browser may keep it."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from rustygpt.http.problem import exception_handlers
from rustygpt.web.spa import IMMUTABLE, RESERVED, spa_routes

SCRIPT = "console.log('hello');" * 100


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A built page, and a secret beside it."""
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<!doctype html><title>Page</title>")
    (dist / "favicon.svg").write_text("<svg/>")
    (dist / "notes.py").write_text("print()")
    (dist / "assets" / "index-abc.js").write_text(SCRIPT)
    (dist / "assets" / "index-abc.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (tmp_path / "secret.json").write_text("{}")
    (dist / "link.json").symlink_to(tmp_path / "secret.json")
    return dist


@pytest.fixture
def client(dist: Path) -> Iterator[TestClient]:
    """A client of an app with one API route before the page's."""
    app = Starlette(routes=[Route("/api/things", _things), *spa_routes(dist)], exception_handlers=exception_handlers())
    with TestClient(app) as client:
        yield client


async def _things(_request: Request) -> Response:
    return PlainTextResponse("things")


@pytest.mark.parametrize(
    "path", ["/", "/c/01a1fe0f-b5ba-7ee0-81f5-4fa7ddca167a", "/settings", "/settings/", "/login", "/invite/a_B-1"]
)
def test_every_address_of_the_page_is_the_page(client: TestClient, path: str) -> None:
    """The page's own script knows what its addresses mean, so a reload works on each."""
    answer = client.get(path, headers={"Accept": "text/html,application/xhtml+xml"})
    assert answer.status_code == 200
    assert "<title>Page</title>" in answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/some/day", "/c/1", "/settings/more", "/login%20", "/invite/"])
def test_address_that_the_page_does_not_know_is_a_404(client: TestClient, path: str) -> None:
    """With the page, which says so to people."""
    answer = client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "<title>Page</title>" in answer.text
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("segment", sorted(RESERVED))
def test_reserved_addresses_are_never_the_page(client: TestClient, segment: str) -> None:
    """A wrong call of the API is told so, and not answered with a page that a program takes for data."""
    answer = client.get(f"/{segment}/nothing")
    assert answer.status_code == 404
    assert "<title>" not in answer.text


def test_api_keeps_its_405(client: TestClient) -> None:
    """The page matches no address of the API, so that a wrong method stays a wrong method."""
    assert client.post("/api/things").status_code == 405
    assert client.get("/api/things").text == "things"


def test_page_takes_no_other_method(client: TestClient) -> None:
    """Posting to the page is refused."""
    assert client.post("/settings").status_code == 405
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "path", ["/.env", "/wp-login.php", "/robots.txt", "/assets/gone.js", "/c/x.json", "/notes.py", "/.sources"]
)
def test_files_that_do_not_exist_are_404(client: TestClient, path: str) -> None:
    """Something that looks like a file is one or is missing; it is never the page."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "RGP.NOT_FOUND"


@pytest.mark.parametrize(
    "path",
    [
        "/..%2fsecret.json",
        "/assets/..%2f..%2fsecret.json",
        "/assets/%2e%2e/%2e%2e/secret.json",
        "/link.json",
        "/assets/%00.js",
        f"/assets/{'x' * 300}.js",
    ],
)
def test_nothing_outside_the_folder_is_served(client: TestClient, path: str) -> None:
    """Neither a path nor a link leads out of the built page."""
    assert client.get(path).status_code == 404


def test_hashed_files_are_kept_for_good(client: TestClient) -> None:
    """Their names change with their content."""
    answer = client.get("/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
    assert answer.text == SCRIPT
    assert answer.headers["cache-control"] == IMMUTABLE
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("gzip; q=0.000", None),
        ("identity", None),
        ("", None),
    ],
)
def test_prepared_compression_is_served_to_who_takes_it(client: TestClient, accepted: str, encoding: str | None) -> None:
    """The build compressed the file; the server compresses nothing."""
    answer = client.get("/assets/index-abc.js", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.text == SCRIPT
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


def test_page_is_asked_for_again_but_not_sent_again(client: TestClient) -> None:
    """A browser that has the page of now gets a 304."""
    tag = client.get("/favicon.svg").headers["etag"]
    again = client.get("/favicon.svg", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert again.headers["cache-control"] == "no-cache"


def test_program_that_wants_json_gets_a_problem(client: TestClient) -> None:
    """Only who takes HTML gets the page."""
    answer = client.get("/nothing", headers={"Accept": "application/json"})
    assert answer.status_code == 404
    assert answer.json()["code"] == "RGP.NOT_FOUND"


def test_page_that_is_not_built_says_how(client: TestClient, dist: Path) -> None:
    """Without the built page the server says what to do; once it is built, it is served without a restart."""
    index = (dist / "index.html").read_text()
    (dist / "index.html").unlink()
    answer = client.get("/")
    assert answer.status_code == 503
    assert "just ui" in answer.text
    assert answer.headers["retry-after"] == "10"
    (dist / "index.html").write_text(index)
    assert client.get("/").status_code == 200


def test_missing_folder_is_not_an_error(tmp_path: Path) -> None:
    """A server without any built page starts, and its API works."""
    app = Starlette(routes=spa_routes(tmp_path / "nowhere"), exception_handlers=exception_handlers())
    with TestClient(app) as client:
        assert client.get("/").status_code == 503
        assert client.get("/assets/index.js").status_code == 404
