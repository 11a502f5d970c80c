"""Rate limits over HTTP: administrators set them, every process obeys within two seconds, and a limiter that cannot ask lets everybody in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site, serving, settings_for

PROFILE = {"name": "slow", "requests": 1, "per_seconds": 3_600, "burst": 2}
ROUTE = "/api/conversations"


@pytest.fixture
async def site(dsn: str, data_dir: Path) -> AsyncIterator[Site]:
    """The whole application on a real socket, behind a proxy on loopback."""
    async with serving(settings_for(data_dir, server={"trusted_proxies": ("127.0.0.1",)}), dsn) as served:
        yield served


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[Person]:
    """The administrator, signed in."""
    person = await Person(site.url).set_up("Ada")
    yield person
    await person.close()


@pytest.fixture
async def stranger(site: Site) -> AsyncIterator[Person]:
    """Somebody without a session."""
    person = Person(site.url)
    yield person
    await person.close()


async def _limit(ada: Person, route: str = ROUTE, **fields: Any) -> dict[str, Any]:
    """Make the slow profile hold for a route, and wait until it does here."""
    profile = await ada.post("/api/admin/limits/profiles", PROFILE)
    assert profile.status_code == 201, profile.text
    assignment = await ada.post("/api/admin/limits/assignments", {"profile_id": profile.json()["id"], "route": route, **fields})
    assert assignment.status_code == 201, assignment.text
    return dict(assignment.json())


def _refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def _until_limited(person: Person, path: str = ROUTE) -> httpx2.Response:
    """Ask until an answer carries the limit's headers."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while "x-ratelimit-profile" not in (answer := await person.get(path)).headers:  # noqa: ASYNC110 - no signal says it
            await asyncio.sleep(0.02)
    return answer


async def test_limit_is_told_and_then_enforced(ada: Person, stranger: Person) -> None:
    """Allowed answers carry the headers; beyond the burst it is 429 with the wait; others are not held up; the decisions are counted."""
    await _limit(ada)
    first = await _until_limited(ada)
    assert first.status_code == 200
    assert {name: first.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "profile")} == {
        "limit": "2",
        "remaining": "1",
        "profile": "slow",
    }
    assert (await ada.get(ROUTE)).headers["x-ratelimit-remaining"] == "0"
    refused = await ada.get(ROUTE)
    assert _refusal(refused) == (429, "RGP.RATE_LIMITED")
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert 3_500 < int(refused.headers["retry-after"]) <= 3_600
    assert 7_000 < int(refused.headers["x-ratelimit-reset"]) <= 7_200
    bob = await stranger.register("Bob")
    assert (await bob.get(ROUTE)).status_code == 200
    scrape = (await ada.get("/metrics")).text
    assert f'http_rate_limit_requests_total{{decision="limited",route="{ROUTE}"}} 1.0' in scrape
    assert f'http_rate_limit_requests_total{{decision="allowed",route="{ROUTE}"}} 3.0' in scrape
    assert "rustygpt_limits_assignments 4.0" in scrape


async def test_limits_change_on_another_process_within_two_seconds(dsn: str, data_dir: Path) -> None:
    """A process that hears no signal obeys new, changed and deleted limits two seconds later at most."""
    settings = settings_for(data_dir, bus={"kind": "postgres"})
    async with serving(settings, dsn) as here, serving(settings, dsn) as there, AsyncExitStack() as leaving:
        ada, elsewhere = Person(here.url), Person(there.url)
        leaving.push_async_callback(ada.close)
        leaving.push_async_callback(elsewhere.close)
        await ada.set_up("Ada")
        elsewhere.client.cookies = ada.client.cookies
        assignment = await _limit(ada)
        await _until_limited(elsewhere)
        profile = f"/api/admin/limits/profiles/{assignment['profile_id']}"
        assert (await ada.request("PUT", profile, json={**PROFILE, "requests": 1_000, "burst": 1_000})).json()["burst"] == 1_000
        assert (await elsewhere.get(ROUTE)).headers["x-ratelimit-limit"] == "1000", "a profile is read where requests are counted"
        assert (await ada.request("DELETE", f"/api/admin/limits/assignments/{assignment['id']}")).status_code == 204
        async with asyncio.timeout(DEADLINE_SECONDS):
            while "x-ratelimit-limit" in (await elsewhere.get(ROUTE)).headers:  # noqa: ASYNC110 - no signal says it
                await asyncio.sleep(0.02)


async def test_strangers_are_counted_by_address(ada: Person, stranger: Person) -> None:
    """Who is not signed in shares a limit with his address, as the trusted proxy tells it, and with nobody else."""
    await _limit(ada, route="/api/setup", method="GET")
    await _until_limited(ada, "/api/setup")

    async def status(address: str) -> int:
        return (await stranger.get("/api/setup", headers={"X-Forwarded-For": address})).status_code

    assert [await status("203.0.113.1") for _ in range(3)] == [200, 200, 429]
    assert await status("203.0.113.2") == 200
    assert [await status(f"2001:db8::{number}") for number in range(3)] == [200, 200, 429], "a /64 is one caller"
    assert await status("2001:db8:0:1::1") == 200
    assert await status("198.51.100.9, 203.0.113.1") == 429, "what a client writes before the proxy's entry changes nothing"


async def test_forged_address_counts_for_nothing_without_a_trusted_proxy(dsn: str, data_dir: Path) -> None:
    """X-Forwarded-For from a peer that is no trusted proxy does not make new callers."""
    async with serving(settings_for(data_dir), dsn) as site:
        ada = await Person(site.url).set_up("Ada")
        await _limit(ada, route="/api/setup", method="GET", counted_by="ip")
        await _until_limited(ada, "/api/setup")
        statuses = [
            (await ada.get("/api/setup", headers={"X-Forwarded-For": f"203.0.113.{number}"})).status_code for number in range(3)
        ]
        assert statuses == [200, 429, 429]
        await ada.close()


async def test_limiter_that_cannot_ask_lets_everybody_in(ada: Person, owner: asyncpg.Connection) -> None:
    """Without its tables the limiter fails open, and says so in a metric."""
    await _limit(ada)
    await _until_limited(ada)
    async with owner.transaction():
        await owner.execute("lock table rustygpt.limit_states in access exclusive mode")
        answers = await asyncio.gather(*(ada.get(ROUTE) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert f'http_rate_limit_requests_total{{decision="failed_open",route="{ROUTE}"}} 3.0' in (await ada.get("/metrics")).text


async def test_guessing_passwords_becomes_slow(ada: Person, stranger: Person, owner: asyncpg.Connection) -> None:
    """After five wrong passwords the sixth is 429, also with the right one, for known and unknown accounts alike, and only from there."""
    for email in ("ada@example.org", "nobody@example.org"):

        async def attempt(address: str, password: str, email: str = email) -> httpx2.Response:
            stranger.client.cookies.clear()
            body = {"email": email, "password": password}
            return await stranger.post("/api/auth/login", body, headers={"X-Forwarded-For": address})

        answers = [await attempt("203.0.113.1", f"guess number {number}") for number in range(6)]
        assert {_refusal(answer) for answer in answers} == {(401, "RGP.AUTH.INVALID_CREDENTIALS")}
        slowed = await attempt("203.0.113.1", "correct horse battery")
        assert _refusal(slowed) == (429, "RGP.RATE_LIMITED")
        assert (slowed.headers["x-ratelimit-profile"], slowed.headers["x-ratelimit-remaining"]) == ("passwords", "0")
        assert 1 <= int(slowed.headers["retry-after"]) <= 300
        expected = 200 if email.startswith("ada") else 401
        assert (await attempt("203.0.113.7", "correct horse battery")).status_code == expected, "the owner is not locked out"
        await owner.execute("update rustygpt.login_failures set retry_at = now() - interval '1 second'")
        assert (await attempt("203.0.113.1", "correct horse battery")).status_code == expected
    assert "example.org" not in str(await owner.fetch("select f::text from rustygpt.login_failures f"))


async def test_sign_in_is_limited_by_address(ada: Person, stranger: Person) -> None:
    """From one address a hundred sign-ins may come at once, whatever the accounts; then it is 429."""

    async def attempt(number: int) -> httpx2.Response:
        return await stranger.post("/api/auth/login", {"email": f"person{number}@example.org", "password": "a guess of mine"})

    answers = await asyncio.gather(*(attempt(number) for number in range(110)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.headers["x-ratelimit-profile"] for answer in answers} == {"sign-in"}
    assert 1 <= len(refused) <= 11, "110 of these, and the set-up"


@pytest.mark.parametrize(
    "fields",
    [
        {"requests": 0},
        {"per_seconds": 0},
        {"burst": 0},
        {"burst": 1_000_001},
        {"name": ""},
        {"name": "Slow Lane"},
        {"requests": "9"},
    ],
)
async def test_bad_profiles_are_refused(ada: Person, fields: dict[str, Any]) -> None:
    """What is out of range, wrongly typed or badly named is 422, and nothing is made."""
    assert _refusal(await ada.post("/api/admin/limits/profiles", {**PROFILE, **fields})) == (422, "RGP.VALIDATION")
    assert [item["name"] for item in (await ada.get("/api/admin/limits/profiles")).json()["items"]] == ["posting", "sign-in"]


@pytest.mark.parametrize(
    "fields", [{"route": "api"}, {"route": "/a*b"}, {"route": "/a?b"}, {"route": ""}, {"method": "TRACE"}, {"counted_by": "moon"}]
)
async def test_bad_assignments_are_refused(ada: Person, fields: dict[str, Any]) -> None:
    """Routes are templates with at most one star, at the end; methods and counting are of a closed set."""
    profile = (await ada.post("/api/admin/limits/profiles", PROFILE)).json()["id"]
    body = {"profile_id": profile, "route": "/api/*", **fields}
    assert _refusal(await ada.post("/api/admin/limits/assignments", body)) == (422, "RGP.VALIDATION")


async def test_conflicts_and_strange_ids(ada: Person) -> None:
    """A name and a route's method are taken once; an assigned profile stays; what is not there is 404; `posting` is needed."""
    assignment = await _limit(ada)
    profile = assignment["profile_id"]
    nothing = "00000000-0000-7000-8000-000000000000"
    profiles, assignments = "/api/admin/limits/profiles", "/api/admin/limits/assignments"
    posting = (await ada.get(profiles)).json()["items"][0]
    for expected, answer in [
        (409, await ada.post(profiles, PROFILE)),
        (409, await ada.post(assignments, {"profile_id": profile, "route": ROUTE})),
        (404, await ada.post(assignments, {"profile_id": nothing, "route": "/api/other"})),
        (409, await ada.request("DELETE", f"{profiles}/{profile}")),
        (404, await ada.request("DELETE", f"{profiles}/{nothing}")),
        (404, await ada.request("PUT", f"{profiles}/{nothing}", json=PROFILE)),
        (409, await ada.request("PUT", f"{profiles}/{profile}", json={**PROFILE, "name": "sign-in"})),
        (409, await ada.request("PUT", f"{profiles}/{posting['id']}", json=PROFILE | {"name": "talking"})),
        (409, await ada.request("DELETE", f"{profiles}/{posting['id']}")),
        (404, await ada.request("DELETE", f"{assignments}/{nothing}")),
        (400, await ada.request("DELETE", f"{assignments}/5")),
    ]:
        assert answer.status_code == expected, answer.text
    assert (await ada.request("DELETE", f"{assignments}/{assignment['id']}")).status_code == 204
    assert (await ada.request("DELETE", f"{profiles}/{profile}")).status_code == 204


async def test_only_administrators_and_their_admin_keys(ada: Person, stranger: Person) -> None:
    """Users get 403 from every route, strangers 401, keys without scope admin 403; what administrators do is in the audit log."""
    keys = {scope: (await ada.post("/api/keys", {"name": scope, "scopes": [scope]})).json()["key"] for scope in ("chat", "admin")}
    for scope, expected in (("chat", 403), ("admin", 201)):
        answer = await stranger.post("/api/admin/limits/profiles", PROFILE, headers={"Authorization": f"Bearer {keys[scope]}"})
        assert answer.status_code == expected
    paths = ("/api/admin/limits/profiles", "/api/admin/limits/assignments", "/api/admin/audit")
    assert {_refusal(await stranger.get(path)) for path in paths} == {(401, "RGP.AUTH.REQUIRED")}
    bob = await stranger.register("Bob")
    assert {_refusal(await bob.get(path)) for path in paths} == {(403, "RGP.RBAC.FORBIDDEN")}
    page = (await ada.get("/api/admin/audit", params={"actor_id": ada.id})).json()
    entry, *before = page["items"]
    assert [each["action"] for each in before] == ["key.created", "installation.set_up"]
    assert (entry["actor_id"], entry["actor_email"]) == (ada.id, "ada@example.org")
    assert (entry["action"], entry["subject"]) == ("limits.profile_created", "slow")
    assert entry["details"] == {"requests": 1, "per_seconds": 3_600, "burst": 2}
