"""A person who goes to a provider and comes back, with a browser's cookies."""

from typing import Any, Self

import httpx2

from tests.auth.oauth.provider import TinyProvider, split
from tests.person import Person

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Traveller(Person):
    """`go` leaves for a provider, `come_back` brings its answer, `travel` does both."""

    def __init__(self, url: str, provider: TinyProvider) -> None:
        super().__init__(url)
        self.provider = provider

    async def go(self, name: str, **query: str) -> str:
        """Return where the browser is sent."""
        answer = await self.get(f"/api/oauth/{name}", params=query, headers=HTML)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def come_back(self, name: str, fields: dict[str, str], method: str = "") -> httpx2.Response:
        """Bring what the provider says: GitHub by the address, Apple by a form from its own site."""
        path = f"/api/oauth/{name}/callback"
        if (method or ("POST" if name == "apple" else "GET")) == "GET":
            return await self.client.get(path, params=fields)
        headers = {"Origin": "https://appleid.apple.com", "Sec-Fetch-Site": "cross-site"}
        states = [each.value for each in self.client.cookies.jar if each.name == "OAUTH_STATE" and path.startswith(each.path)]
        headers["Cookie"] = "; ".join(f"OAUTH_STATE={value}" for value in states)  # a session's is SameSite=Lax, and stays away
        return await self.client.post(path, data=fields, headers=headers)

    async def travel(self, name: str, **extra: Any) -> httpx2.Response:
        """Go and come back; *extra* are more fields of the answer."""
        code, state = self.provider.consent(await self.go(name))
        return await self.come_back(name, {"code": code, "state": state, **extra})

    async def sign_in(self, name: str, **extra: Any) -> Self:
        """Travel, and be signed in."""
        answer = await self.travel(name, **extra)
        assert reached(answer)[0] == "/auth/success", answer.headers["location"]
        self.id = (await self.me())["id"]
        return self

    async def me(self) -> dict[str, Any]:
        """Who the server says that this is."""
        answer = await self.get("/api/auth/me")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["user"])


def reached(answer: httpx2.Response) -> tuple[str, dict[str, str]]:
    """Where a 303 leads: path and query."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    assert answer.headers["cache-control"] == "no-store"
    return split(answer.headers["location"])


def refused(answer: httpx2.Response) -> str:
    """Why the sign-in came to nothing; fails when it did not."""
    path, query = reached(answer)
    assert path == "/login", answer.headers["location"]
    assert "SESSION_ID" not in answer.headers.get("set-cookie", "")
    return query["error"]
