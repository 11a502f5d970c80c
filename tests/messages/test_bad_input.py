"""Bad input to conversations and messages: the exact code of the contract, a problem document, and not a row written."""

from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.person import Person
from tests.site import Site

MIB = 1_048_576
NOWHERE = "0198c2a4-7b1e-7c5e-9d0e-0f6f2b1c3d4e"
C = "/api/conversations"
POSTS = ("/api/conversations/{c}/messages", "/api/threads/{c}/root", "/api/messages/{m}/reply")


@dataclass(frozen=True)
class Bad:
    """A request, and how it must be refused; `field` is the one that a validation error names."""

    method: str
    path: str
    body: Any = None
    status: int = 422
    field: str | None = None
    raw: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


def bodies_of_posts(path: str) -> list[Bad]:
    """What every route that takes a message must refuse."""
    return [
        Bad("POST", path, {}, field="content"),
        Bad("POST", path, {"content": ""}, field="content"),
        Bad("POST", path, {"content": " \n\t\u2003"}, field="content"),
        Bad("POST", path, {"content": None}, field="content"),
        Bad("POST", path, {"content": 5}, field="content"),
        Bad("POST", path, {"content": ["x"]}, field="content"),
        Bad("POST", path, {"content": "a\0b"}, field="content"),
        Bad("POST", path, {"content": "x" * 200_001}, field="content"),
        Bad("POST", path, {"content": "x", "role": "assistant"}, field="role"),
        Bad("POST", path, {"content": "x", "author_id": NOWHERE}, field="author_id"),
        Bad("POST", path, {"content": "x", "model": ""}, field="model"),
        Bad("POST", path, {"content": "x", "model": "m" * 201}, field="model"),
        Bad("POST", path, {"content": "x", "model": "m\0"}, field="model"),
        Bad("POST", path, {"content": "x", "client_id": ""}, field="client_id"),
        Bad("POST", path, {"content": "x", "client_id": "k" * 129}, field="client_id"),
        Bad("POST", path, {"content": "x", "client_id": "two words"}, field="client_id"),
        Bad("POST", path, {"content": "x"}, 400, headers=(("Idempotency-Key", "k" * 129),)),
        Bad("POST", path, {"content": "x"}, 400, headers=(("Idempotency-Key", "two words"),)),
        Bad("POST", path, {"content": "x", "client_id": "a"}, 400, headers=(("Idempotency-Key", "b"),)),
        Bad("POST", path, status=413, raw=b'{"content": "' + b"x" * MIB + b'"}'),
        Bad("POST", path, status=400, raw=b"{"),
        Bad("POST", path, status=400, raw=b'["content"]'),
        Bad("POST", path, status=400, raw=b'{"content": "x", "content": "y"}'),
        Bad("POST", path, status=400, raw=b'{"content": "\xff"}'),
        Bad("POST", path, status=400, raw=b'{"content": "\\ud800"}'),
        Bad("POST", path, status=400, raw=b"\xef\xbb\xbf" + b'{"content": "x"}'),
        Bad("POST", path, status=400, raw=b'{"content": ' + b"[" * 100 + b"]" * 100 + b"}"),
        Bad("POST", path, status=415, raw=b'{"content": "x"}', headers=(("Content-Type", "text/plain"),)),
        Bad("POST", path, status=403, body={"content": "x"}, headers=(("X-CSRF-TOKEN", "wrong"),)),
    ]


MESSAGES = [
    *bodies_of_posts(POSTS[0]),
    *(bad for path in POSTS[1:] for bad in bodies_of_posts(path)[::4]),  # they share the body's model
    Bad("POST", POSTS[0], {"content": "x", "parent_id": "7"}, field="parent_id"),
    Bad("POST", POSTS[0], {"content": "x", "parent_id": "{0198c2a4-7b1e-7c5e-9d0e-0f6f2b1c3d4e}"}, field="parent_id"),
    Bad("POST", POSTS[0], {"content": "x", "parent_id": NOWHERE}, 404),
    Bad("POST", POSTS[0], {"content": "x", "parent_id": "{foreign_m}"}, 404),
    Bad("POST", POSTS[1], {"content": "x", "parent_id": "{m}"}, field="parent_id"),
    Bad("POST", POSTS[2], {"content": "x", "parent_id": "{m}"}, field="parent_id"),
    *(
        Bad(method, path.replace("{id}", identity), body, status)
        for identity, status in (("{foreign_c}", 404), (NOWHERE, 404), ("7", 400))
        for method, path, body in (
            ("POST", "/api/conversations/{id}/messages", {"content": "x"}),
            ("POST", "/api/threads/{id}/root", {"content": "x"}),
            ("POST", "/api/messages/{id}/reply", {"content": "x"}),
            ("POST", "/api/messages/{id}/cancel", None),
            ("POST", "/api/threads/{id}/read", {"ordinal": 1}),
            ("GET", "/api/conversations/{id}/messages", None),
            ("GET", "/api/conversations/{id}/threads", None),
            ("GET", "/api/threads/{id}/tree", None),
            ("GET", "/api/messages/{id}", None),
            ("GET", "/api/messages/{id}/chunks", None),
        )
    ),
    *(
        Bad(method, path, body, 404)
        for method, path, body in (
            ("POST", "/api/messages/{foreign_m}/reply", {"content": "x"}),
            ("POST", "/api/messages/{foreign_m}/cancel", None),
            ("POST", "/api/threads/{foreign_m}/read", {"ordinal": 1}),
            ("POST", "/api/threads/{m}/read", {"message_id": "{foreign_m}"}),
            ("GET", "/api/messages/{foreign_m}", None),
            ("GET", "/api/messages/{foreign_m}/chunks", None),
            ("GET", "/api/threads/{foreign_m}/tree", None),
            ("GET", "/api/threads/{m}/tree?around={foreign_m}", None),
            ("GET", "/api/threads/{reply}/tree", None),  # a message, but not a thread's root
            ("POST", "/api/threads/{reply}/read", {"ordinal": 1}),
        )
    ),
    *(
        Bad("POST", "/api/threads/{m}/read", body, 422, field)
        for body, field in (
            ({}, ""),
            ({"ordinal": 1, "message_id": "{m}"}, ""),
            ({"ordinal": -1}, "ordinal"),
            ({"ordinal": 2**31}, "ordinal"),
            ({"ordinal": 10**30}, "ordinal"),
            ({"ordinal": 1.5}, "ordinal"),
            ({"ordinal": "1"}, "ordinal"),
            ({"ordinal": True}, "ordinal"),
            ({"message_id": "x"}, "message_id"),
            ({"message_id": 7}, "message_id"),
            ({"ordinal": 1, "unread": 0}, "unread"),
        )
    ),
    *(Bad("GET", f"/api/messages/{identity}", None, 400) for identity in (NOWHERE.replace("-", ""), f"{{{NOWHERE}}}", "%00")),
    *(
        Bad("GET", path + query, None, 400)
        for path in ("/api/conversations/{c}/threads", "/api/threads/{m}/tree", C)
        for query in ("?limit=0", "?cursor=x", "?cursor={cursor}")  # a cursor of another list
    ),
    *(
        Bad("GET", "/api/conversations/{c}/messages" + query, None, 400)
        for query in (
            *("?limit=0", "?limit=201", "?limit=x", "?limit=-1", "?limit=1.5", "?limit=", "?limit=1&limit=2", "?limit=٣"),
            *(
                "?cursor=",
                "?cursor=x",
                "?cursor=x&cursor=y",
                "?cursor=" + "y" * 2_000,
                "?cursor=%00",
                "?cursor=%ff",
                "?cursor={cursor}x",
            ),
        )
    ),
    *(
        Bad("GET", "/api/threads/{m}/tree" + query, None, 400)
        for query in ("?direction=up", "?direction=", "?around=7", "?around=", "?around={m}&around={m}", "?around={m}&cursor=x")
    ),
    *(
        Bad("GET", "/api/messages/{m}/chunks" + query, None, 400)
        for query in ("?from=x", "?from=", "?from=-1", "?from=9999999999")
    ),
    Bad("PUT", "/api/messages/{m}", {"content": "x"}, 405),
    Bad("DELETE", "/api/conversations/{c}/messages", None, 405),
]

CONVERSATIONS = [
    *(
        Bad(method, path, body, 422, field)
        for method, path in (("POST", C), ("PATCH", C + "/{c}"))
        for body, field in (
            ({"title": "x" * 201}, "title"),
            ({"title": None}, "title"),
            ({"title": 5}, "title"),
            ({"title": "two\nlines"}, "title"),
            ({"title": "a\0b"}, "title"),
            ({"title": "x", "is_group": 1}, "is_group"),
            ({"title": "x", "is_group": "true"}, "is_group"),
            ({"title": "x", "model": ""}, "model"),
            ({"title": "x", "model": "  "}, "model"),
            ({"title": "x", "model": "m" * 201}, "model"),
            ({"title": "x", "system_prompt": "x" * 20_001}, "system_prompt"),
            ({"title": "x", "system_prompt": None}, "system_prompt"),
            ({"title": "x", "assistant_mode": "sometimes"}, "assistant_mode"),
            ({"title": "x", "assistant_mode": ["off"]}, "assistant_mode"),
            ({"title": "x", "archived": True}, "archived"),
            ({"title": "x", "role": "owner"}, "role"),
            ({"title": "x", "id": NOWHERE}, "id"),
        )
    ),
    Bad("PATCH", C + "/{c}", {}, 422, ""),
    Bad("POST", C, {"title": "x"}, 400, headers=(("Idempotency-Key", "k" * 129),)),
    Bad("POST", C, {"title": "x", "client_id": "k\n"}, 422, "client_id"),
    *(
        Bad("POST", C + "/{c}/participants", body, 422, field)
        for body, field in (
            ({}, ""),
            ({"user_id": "{u}", "email": "a@example.org"}, ""),
            ({"user_id": "7"}, "user_id"),
            ({"user_id": 7}, "user_id"),
            ({"email": "x"}, "email"),
            ({"email": "a" * 250 + "@example.org"}, "email"),
            ({"email": "a\0@example.org"}, "email"),
            ({"user_id": "{u}", "role": "king"}, "role"),
            ({"user_id": "{u}", "role": None}, "role"),
            ({"user_id": "{u}", "joined_at": "now"}, "joined_at"),
        )
    ),
    *(Bad("PATCH", C + "/{c}/participants/{u}", body, 422, "role") for body in ({}, {"role": "king"}, {"role": 1})),
    *(
        Bad(method, path.replace("{id}", identity), body, status)
        for identity, status in (("{foreign_c}", 404), (NOWHERE, 404), ("7", 400), ("%00", 400))
        for method, path, body in (
            ("GET", C + "/{id}", None),
            ("PATCH", C + "/{id}", {"title": "x"}),
            ("DELETE", C + "/{id}", None),
            ("GET", C + "/{id}/participants", None),
            ("POST", C + "/{id}/participants", {"user_id": "{u}"}),
            ("PATCH", C + "/{id}/participants/{u}", {"role": "admin"}),
            ("DELETE", C + "/{id}/participants/{u}", None),
        )
    ),
    *(Bad(method, C + "/{c}/participants/7", body, 400) for method, body in (("PATCH", {"role": "admin"}), ("DELETE", None))),
    *(Bad("GET", C + "/{c}/participants" + query, None, 400) for query in ("?limit=0", "?cursor=x", "?cursor={cursor}")),
]

CODES = {
    400: "RGP.BAD_REQUEST",
    403: "RGP.AUTH.CSRF",
    404: "RGP.NOT_FOUND",
    405: "RGP.METHOD",
    413: "RGP.TOO_LARGE",
    415: "RGP.MEDIA_TYPE",
    422: "RGP.VALIDATION",
}


@pytest.fixture
async def names(ada: Person, bob: Person) -> dict[str, str]:
    """Ids to fill in: a conversation of Ada's with a message and a reply, and one that only Bob is in."""
    mine, foreign = await ada.make_conversation(), await bob.make_conversation(assistant_mode="off")
    changed = await ada.request("PATCH", f"{C}/{mine}", json={"assistant_mode": "off"})
    assert changed.status_code == 200
    message = (await ada.say(mine, "Hello"))["message_id"]
    reply = (await ada.say(mine, "Hello again", parent_id=message))["message_id"]
    cursor = (await ada.get(f"{C}/{mine}/messages?limit=1")).json()["next_cursor"]
    foreign_message = (await bob.say(foreign, "Private"))["message_id"]
    return {
        "c": mine,
        "m": message,
        "reply": reply,
        "cursor": cursor,
        "u": bob.id,
        "foreign_c": foreign,
        "foreign_m": foreign_message,
    }


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, names) for key, item in value.items()}
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(f"{{{name}}}", text)
    return value


@pytest.mark.parametrize("cases", [MESSAGES, CONVERSATIONS], ids=["messages", "conversations"])
async def test_bad_requests_are_refused_and_write_nothing(
    site: Site, ada: Person, names: dict[str, str], owner: asyncpg.Connection, cases: list[Bad]
) -> None:
    """Each gets its status, its code and a problem document that repeats nothing of what was sent; no table grows by a row."""
    before = await _rows(owner)
    for bad in cases:
        headers = {"Content-Type": "application/json", **dict(bad.headers)} if bad.raw else dict(bad.headers)
        content = (
            {"content": bad.raw} if bad.raw is not None else {"json": _filled(bad.body, names)} if bad.body is not None else {}
        )
        answer = await ada.request(bad.method, _filled(bad.path, names), headers=headers, **content)
        case = (bad.method, bad.path[:80], str(bad.body)[:60], str(bad.raw)[:40], bad.headers)
        assert (case, answer.status_code) == (case, bad.status), answer.text[:300]
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json", case
        assert (case, problem["code"], problem["status"]) == (case, CODES[bad.status], bad.status)
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert {"type", "title", "detail", "instance"} <= set(problem), case
        if bad.status == 422:
            assert (case, [error["field"] for error in problem["errors"]]) == (case, [bad.field])
            assert all(set(error) == {"field", "message"} for error in problem["errors"])
        if bad.status == 405:
            assert answer.headers["allow"]
    assert await _rows(owner) == before


async def test_nobody_signed_in_gets_nowhere(site: Site, names: dict[str, str], owner: asyncpg.Connection) -> None:
    """Without a session every route answers 401 before it looks at ids or bodies."""
    before = await _rows(owner)
    routes = {(bad.method, bad.path.partition("?")[0]) for bad in (*MESSAGES, *CONVERSATIONS) if bad.status not in (404, 405)}
    async with Person(site.url) as nobody:
        for method, path in sorted(routes):
            answer = await nobody.request(method, _filled(path, names), json={"unknown": "\0"})
            assert (method, path, answer.status_code) == (method, path, 401)
            assert answer.json()["code"] == "RGP.AUTH.REQUIRED"
    assert await _rows(owner) == before


async def _rows(owner: asyncpg.Connection) -> dict[str, int]:
    """Count the rows of every table but those that a visit itself writes."""
    tables = await owner.fetch("select tablename from pg_tables where schemaname = 'rustygpt' and tablename <> 'sessions'")
    return {row[0]: await owner.fetchval(f"select count(*) from rustygpt.{row[0]}") for row in tables}
