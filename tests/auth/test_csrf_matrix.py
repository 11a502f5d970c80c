"""Every route of the application that changes something refuses forged requests. The routes come from the application's own table."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from rustygpt.auth.csrf import CROSS_SITE_POSTS
from tests.person import Person
from tests.route_table import changing_routes, code_of
from tests.site import Site, serving, settings_for

FORGED = {
    "no token": {"X-CSRF-TOKEN": ""},
    "wrong token": {"X-CSRF-TOKEN": "wrong"},
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "a sibling": {"Sec-Fetch-Site": "same-site", "Origin": "http://evil.example.org"},
    "a foreign origin": {"Origin": "https://evil.example"},
    "no origin that one may name": {"Origin": "null"},
}
STATE = """select (select md5(string_agg(x::text, '' order by x::text)) from rustygpt.users x),
                  (select md5(string_agg(x::text, '' order by x::text)) from rustygpt.sessions x),
                  (select md5(string_agg(x::text, '' order by x::text)) from rustygpt.conversations x),
                  (select md5(string_agg(x::text, '' order by x::text)) from rustygpt.members x),
                  (select count(*) from rustygpt.invites), (select count(*) from rustygpt.api_keys),
                  (select count(*) from rustygpt.limit_profiles), (select count(*) from rustygpt.audit_log),
                  (select position from rustygpt.event_head)"""


def address(template: str, person: Person) -> str:
    """A path of that template: the person's own id wherever one is asked for."""
    return re.sub(r"\{[a-z_]+\}", person.id, template)


@pytest.fixture
async def site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The whole application on a real socket."""
    async with serving(settings_for(data_dir, session={"max_sessions": 10}), dsn) as served:
        yield served


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[Person]:
    """The administrator, signed in."""
    async with await Person(site.url).set_up("Ada") as person:
        yield person


async def test_forged_requests_are_refused_everywhere(site: Site, ada: Person, owner: asyncpg.Connection) -> None:
    """Each changing route × each forgery is 403 RGP.AUTH.CSRF, and nothing is written; what Apple's page posts is the one exception."""
    async with await Person(site.url).register("Bob") as bob:
        others = {"another session's token": {"X-CSRF-TOKEN": bob.client.cookies["CSRF-TOKEN"]}}
    routes = [route for route in changing_routes(site.application) if route[1] not in CROSS_SITE_POSTS]
    assert len(routes) > 25
    before = tuple(await owner.fetchrow(STATE))
    for method, template in routes:
        for name, headers in {**FORGED, **others}.items():
            answer = await ada.request(method, address(template, ada), headers=headers, json={})
            assert (answer.status_code, code_of(answer.json())) == (403, "RGP.AUTH.CSRF"), (method, template, name)
    assert tuple(await owner.fetchrow(STATE)) == before


@pytest.mark.parametrize("kind", ["session", "stranger", "key"])
async def test_honest_requests_pass_the_guard_everywhere(site: Site, ada: Person, kind: str) -> None:
    """With the right token, with no session at all, or with a key and no token, no changing route speaks of forgery."""
    made = await ada.post("/api/keys", {"name": "Key", "scopes": ["admin", "chat", "v1"]})
    headers = {"Authorization": f"Bearer {made.json()['key']}"} if kind == "key" else {}
    async with Person(site.url) as program:
        program.id = ada.id
        for method, template in changing_routes(site.application):
            if kind == "session" and template in ("/api/auth/logout", "/api/auth/refresh"):
                continue  # the first ends the session; the second has tests of its own
            person = ada if kind == "session" else program
            answer = await person.request(method, address(template, ada), headers=headers, json={})
            assert answer.status_code < 500, (method, template)
            assert answer.status_code < 400 or code_of(answer.json()) != "RGP.AUTH.CSRF", (method, template)


async def test_changing_requests_of_nobody_are_refused(site: Site, ada: Person) -> None:
    """Another site can send nothing without a session either: it could sign a visitor in to an account of its own."""
    async with Person(site.url) as visitor:
        for method, template in changing_routes(site.application):
            if template not in CROSS_SITE_POSTS:
                path = address(template, ada)
                answer = await visitor.request(method, path, headers={"Sec-Fetch-Site": "cross-site"}, json={})
                assert (answer.status_code, code_of(answer.json())) == (403, "RGP.AUTH.CSRF"), (method, template)
