"""Who may do what: every role on every route of conversations, members, messages and streams."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from tests.person import Person
from tests.site import Site

ROLES = ("owner", "admin", "member", "viewer", "stranger")
ALL = (200, 200, 200, 200, 404)
MEMBERS = (201, 201, 201, 403, 404)


@dataclass
class Cast:
    """One person of each role, and what they act on."""

    conversation: str
    message: str
    root: str
    people: dict[str, Person] = field(default_factory=dict)
    targets: dict[str, Person] = field(default_factory=dict)


@pytest.fixture
async def cast(site: Site, ada: Person) -> AsyncIterator[Cast]:
    """A conversation with an owner, an admin, a member, a viewer and a stranger, and a second person of each lower role."""
    conversation = await ada.make_conversation(assistant_mode="off")
    posted = await ada.say(conversation, "Hello")
    cast = Cast(conversation, posted["message_id"], posted["root_id"], {"owner": ada})
    async with AsyncExitStack() as stack:

        async def come(name: str) -> Person:
            return await (await stack.enter_async_context(Person(site.url))).register(name)

        for role in ROLES[1:]:
            cast.people[role] = await come(f"The {role}")
        for role in ROLES:
            cast.targets[role] = await come(f"Another {role}")
        for role in ROLES[:-1]:
            if role != "owner":
                await ada.add(conversation, cast.people[role], role)
            await ada.add(conversation, cast.targets[role], role)
        yield cast


@dataclass(frozen=True)
class Rule:
    """A request, and the status for owner, admin, member, viewer and stranger."""

    method: str
    path: str
    body: dict[str, Any] | None
    statuses: tuple[int, int, int, int, int]


RULES = [
    Rule("GET", "/api/conversations/{c}", None, ALL),
    Rule("GET", "/api/conversations/{c}/participants", None, ALL),
    Rule("GET", "/api/conversations/{c}/messages", None, ALL),
    Rule("GET", "/api/conversations/{c}/threads", None, ALL),
    Rule("GET", "/api/threads/{r}/tree", None, ALL),
    Rule("GET", "/api/threads/{r}/tree?around={m}", None, ALL),
    Rule("GET", "/api/messages/{m}", None, ALL),
    Rule("GET", "/api/messages/{m}/chunks", None, ALL),
    Rule("POST", "/api/threads/{r}/read", {"ordinal": 1}, ALL),
    Rule("HEAD", "/api/stream/conversations/{c}", None, ALL),
    Rule("POST", "/api/conversations/{c}/messages", {"content": "x"}, MEMBERS),
    Rule("POST", "/api/conversations/{c}/messages", {"content": "x", "parent_id": "{m}"}, MEMBERS),
    Rule("POST", "/api/threads/{c}/root", {"content": "x"}, MEMBERS),
    Rule("POST", "/api/messages/{m}/reply", {"content": "x"}, MEMBERS),
    Rule("POST", "/api/messages/{m}/cancel", None, (409, 409, 409, 403, 404)),
    Rule("PATCH", "/api/conversations/{c}", {"title": "x"}, (200, 200, 403, 403, 404)),
    Rule("PATCH", "/api/conversations/{c}", {"assistant_mode": "off"}, (200, 200, 403, 403, 404)),
    Rule("POST", "/api/conversations/{c}/participants", {"user_id": "{stranger}"}, (201, 201, 403, 403, 404)),
    Rule("POST", "/api/conversations/{c}/participants", {"user_id": "{stranger}", "role": "owner"}, (201, 403, 403, 403, 404)),
    *(
        Rule("PATCH", f"/api/conversations/{{c}}/participants/{{{role}}}", {"role": to}, statuses)
        for role, to, statuses in (
            ("viewer", "member", (200, 200, 403, 403, 404)),
            ("member", "admin", (200, 200, 403, 403, 404)),
            ("admin", "viewer", (200, 200, 403, 403, 404)),
            ("admin", "owner", (200, 403, 403, 403, 404)),
            ("owner", "admin", (200, 403, 403, 403, 404)),
            ("stranger", "viewer", (404, 404, 403, 403, 404)),
        )
    ),
    *(
        Rule("DELETE", f"/api/conversations/{{c}}/participants/{{{role}}}", None, statuses)
        for role, statuses in (
            ("viewer", (204, 204, 403, 403, 404)),
            ("member", (204, 204, 403, 403, 404)),
            ("admin", (204, 204, 403, 403, 404)),
            ("owner", (204, 403, 403, 403, 404)),
            ("stranger", (404, 404, 404, 404, 404)),
        )
    ),
    Rule("DELETE", "/api/conversations/{c}", None, (204, 403, 403, 403, 404)),
]


async def test_every_role_on_every_route(cast: Cast, owner: asyncpg.Connection) -> None:
    """Each role gets exactly the status that the rules say; who is refused is told nothing and has written nothing."""
    names = {"c": cast.conversation, "m": cast.message, "r": cast.root}
    names |= {role: person.id for role, person in cast.targets.items()}
    for rule in RULES:
        path = rule.path.format(**names)
        body = {key: str(value).format(**names) if isinstance(value, str) else value for key, value in (rule.body or {}).items()}
        for role, expected in zip(ROLES, rule.statuses, strict=True):
            async with Undone(owner, rule.method):
                before = await _state(owner)
                answer = await cast.people[role].request(rule.method, path, json=body or None)
                assert (rule, role, answer.status_code) == (rule, role, expected)
                if answer.status_code >= 400:
                    assert await _state(owner) == before, (rule, role)
                    assert rule.method == "HEAD" or answer.json()["code"] == CODES[answer.status_code]


CODES = {403: "RGP.RBAC.FORBIDDEN", 404: "RGP.NOT_FOUND", 409: "RGP.CONFLICT"}


async def _state(owner: asyncpg.Connection) -> tuple[Any, ...]:
    """What a refused request must leave as it was."""
    return tuple(
        await owner.fetchrow(
            """select (select position from rustygpt.event_head), (select count(*) from rustygpt.messages),
                      (select md5(string_agg(m::text, ',' order by m::text)) from rustygpt.members m),
                      (select md5(string_agg(c::text, ',' order by c::text)) from rustygpt.conversations c)"""
        )
    )


class Undone:
    """Puts members and the conversation back as they were, so that each role meets the same place."""

    def __init__(self, owner: asyncpg.Connection, method: str) -> None:
        self._owner = owner
        self._method = method
        self._members: list[asyncpg.Record] = []

    async def __aenter__(self) -> None:
        self._members = await self._owner.fetch("select * from rustygpt.members")

    async def __aexit__(self, *_: object) -> None:
        if self._method == "GET":
            return
        async with self._owner.transaction():
            await self._owner.execute("delete from rustygpt.members")
            await self._owner.copy_records_to_table("members", schema_name="rustygpt", records=[tuple(r) for r in self._members])
            await self._owner.execute(
                "update rustygpt.conversations set archived_at = null, member_count = (select count(*) from rustygpt.members)"
            )
