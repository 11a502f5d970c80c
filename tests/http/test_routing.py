"""405 and OPTIONS name every method of a path, and an address has one spelling."""

import pytest

from tests.person import Person


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/conversations", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("DELETE", "/api/setup", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/api/auth/me", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/api/auth/login", {"POST", "OPTIONS"}),
    ],
)
async def test_wrong_method_is_told_the_right_ones(ada: Person, method: str, path: str, allowed: set[str]) -> None:
    """A 405 has a code and an Allow header with all methods that the path takes."""
    answer = await ada.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "RGP.METHOD")
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_options_names_the_methods(ada: Person) -> None:
    """OPTIONS answers 204 with Allow, and every method still reaches its own route."""
    answer = await ada.request("OPTIONS", "/api/conversations")
    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    conversation = await ada.make_conversation()
    path = f"/api/conversations/{conversation}"
    assert (await ada.get(path)).status_code == 200
    assert (await ada.request("PATCH", path, json={"title": "Other"})).json()["title"] == "Other"
    assert (await ada.request("DELETE", path)).status_code == 204
    assert (await ada.get(path)).status_code == 404


async def test_trailing_slash_is_another_address(ada: Person) -> None:
    """No redirect repeats a made-up Host: an address with a slash too many does not exist."""
    answer = await ada.post("/api/conversations/", {"title": "x"}, headers={"Host": "evil.example"})
    assert answer.status_code in (403, 404)
    assert "location" not in answer.headers
    assert (await ada.get("/api/conversations/")).status_code == 404
