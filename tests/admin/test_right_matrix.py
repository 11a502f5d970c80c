"""Who may do what: every route of the API × every kind of caller, from the application's own route table."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx2
import pytest

from rustygpt.app import create_app
from rustygpt.auth.csrf import csrf_token
from rustygpt.settings import Settings
from rustygpt.tokens import new_token, token_hash
from tests.person import DEADLINE_SECONDS
from tests.route_table import api_routes, code_of
from tests.site import Site

Owner = asyncpg.Connection
ROLES: Final = ("viewer", "member", "admin", "owner")
USERS: Final = ("pending", "disabled", "user", *ROLES, "administrator")
SESSIONS: Final = ("user", *ROLES, "administrator")
"""Those with a session that is good for anything."""
KEYS: Final = {"chat key of the owner": ("owner", "chat"), "v1 key of the owner": ("owner", "v1")} | {
    f"{scope} key of the administrator": ("administrator", scope) for scope in ("chat", "admin")
}
CALLERS: Final = ("stranger", *USERS, *KEYS)
NOBODY: Final = {
    "stranger": (401, "RGP.AUTH.REQUIRED"),
    "pending": (403, "RGP.AUTH.PENDING"),
    "disabled": (423, "RGP.AUTH.DISABLED"),
}
FORBIDDEN: Final = (403, "RGP.RBAC.FORBIDDEN")
NOT_FOUND: Final = (404, "RGP.NOT_FOUND")
UNKNOWN: Final = "00000000-0000-7000-8000-000000000000"
NAMES: Final = {"email": "{new}@example.org", "password": "correct horse battery", "display_name": "New"}
PROFILE: Final = {"name": "slow", "requests": 1, "per_seconds": 1, "burst": 1}

Answer = tuple[int, str | None]


@dataclass(frozen=True)
class Rule:
    """Whom a route is for, what it answers them, and the body to send."""

    kind: str
    status: int
    code: str | None = None
    body: dict[str, Any] | None = None
    least: str = "viewer"

    def expected(self, caller: str) -> Answer:
        """What the caller gets."""
        done: Answer = (self.status, self.code)
        owner_of_key, scope = KEYS.get(caller, (caller, ""))
        if self.kind == "anybody":
            return done
        if self.kind == "waiting" and caller == "pending":
            return done
        if caller in NOBODY:
            return NOBODY[caller]
        if self.kind == "admin":
            return done if owner_of_key == "administrator" and scope in ("", "admin") else FORBIDDEN
        if self.kind == "v1":
            return done if scope in ("", "v1") else FORBIDDEN
        if self.kind == "models" and scope == "admin":
            return done
        if scope not in ("", "chat") or (scope and self.kind == "session"):
            return FORBIDDEN
        if self.kind == "author":  # the owner of the place
            return done if owner_of_key == "owner" else FORBIDDEN if owner_of_key in ROLES else NOT_FOUND
        if self.kind == "member":
            if owner_of_key not in ROLES:
                return NOT_FOUND
            return done if ROLES.index(owner_of_key) >= ROLES.index(self.least) else FORBIDDEN
        return done


def anybody(status: int, code: str | None = None, body: dict[str, Any] | None = None) -> Rule:
    return Rule("anybody", status, code, body)


def member(least: str, status: int, body: dict[str, Any] | None = None, code: str | None = None) -> Rule:
    return Rule("member", status, code, body, least)


C, M, T = "/api/conversations/{conversation_id}", "/api/messages/{message_id}", "/api/threads/{root_id}"
A = "/api/admin/limits"
RULES: Final = {
    "GET /api/setup": anybody(200),
    "POST /api/setup": anybody(409, "RGP.CONFLICT", NAMES),
    "POST /api/auth/register": anybody(201, None, NAMES),
    "POST /api/auth/login": anybody(401, "RGP.AUTH.INVALID_CREDENTIALS", {"email": "{new}@example.org", "password": "wrong"}),
    "POST /api/auth/logout": Rule("logout", 204),
    "POST /api/auth/refresh": Rule("session", 200),
    "GET /api/auth/me": Rule("waiting", 200),
    "GET /api/auth/sessions": Rule("session", 200),
    "DELETE /api/auth/sessions/{session_id}": Rule("session", 404, "RGP.NOT_FOUND"),
    "POST /api/auth/password": Rule("session", 422, "RGP.VALIDATION", {"current_password": "x", "new_password": "x" * 20}),
    "GET /api/auth/identities": Rule("session", 200),
    "DELETE /api/auth/identities/{provider}": Rule("session", 404, "RGP.NOT_FOUND"),
    "GET /api/keys": Rule("session", 200),
    "POST /api/keys": Rule("session", 201, None, {"name": "Key", "scopes": ["chat"]}),
    "DELETE /api/keys/{key_id}": Rule("session", 404, "RGP.NOT_FOUND"),
    **{f"GET /api/oauth/{name}": anybody(404, "RGP.NOT_FOUND") for name in ("github", "apple")},
    **{f"POST /api/oauth/{name}/manual": anybody(404, "RGP.NOT_FOUND") for name in ("github", "apple")},
    **{f"GET /api/oauth/{name}/callback": anybody(303) for name in ("github", "apple")},
    "POST /api/oauth/apple/callback": anybody(303),
    "GET /api/config": Rule("admin", 200),
    "POST /api/config": Rule("admin", 200, None, {"auth": {"signup": True}}),
    "GET /api/admin/users": Rule("admin", 200),
    "POST /api/admin/users": Rule("admin", 201, None, NAMES),
    "PATCH /api/admin/users/{user_id}": Rule("admin", 200, None, {"status": "disabled", "role": "admin"}),
    "GET /api/admin/audit": Rule("admin", 200),
    "GET /api/admin/users/{user_id}/quota": Rule("admin", 200),
    "PUT /api/admin/users/{user_id}/quota": Rule("admin", 200, None, {"generations": 10, "tokens": None}),
    "DELETE /api/admin/users/{user_id}/quota": Rule("admin", 204),
    "GET /api/usage": Rule("user", 200),
    f"GET {A}/profiles": Rule("admin", 200),
    f"POST {A}/profiles": Rule("admin", 201, None, {**PROFILE, "name": "{new}"}),
    f"PUT {A}/profiles/{{profile_id}}": Rule("admin", 404, "RGP.NOT_FOUND", PROFILE),
    f"DELETE {A}/profiles/{{profile_id}}": Rule("admin", 404, "RGP.NOT_FOUND"),
    f"GET {A}/assignments": Rule("admin", 200),
    f"POST {A}/assignments": Rule("admin", 404, "RGP.NOT_FOUND", {"profile_id": UNKNOWN, "route": "/api/models"}),
    f"DELETE {A}/assignments/{{assignment_id}}": Rule("admin", 404, "RGP.NOT_FOUND"),
    "GET /api/models": Rule("models", 200),
    "GET /v1/models": Rule("v1", 200),
    "GET /v1/models/{model}": Rule("v1", 404, "model_not_found"),
    "POST /v1/chat/completions": Rule("v1", 200, None, {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}),
    "POST /v1/embeddings": Rule("v1", 400, "provider_rejected", {"model": "demo", "input": "Hello"}),
    "POST /api/models": Rule("admin", 415, "RGP.MEDIA_TYPE"),
    "GET /api/models/{model_id}": Rule("models", 404, "RGP.NOT_FOUND"),
    "DELETE /api/models/{model_id}": Rule("admin", 404, "RGP.NOT_FOUND"),
    "POST /api/models/pull": Rule("admin", 422, "RGP.VALIDATION", {"source": "llama3.2"}),
    "GET /api/models/jobs": Rule("admin", 200),
    "GET /api/models/jobs/{job_id}": Rule("admin", 404, "RGP.NOT_FOUND"),
    "POST /api/models/jobs/{job_id}/cancel": Rule("admin", 404, "RGP.NOT_FOUND"),
    "GET /api/conversations": Rule("user", 200),
    "POST /api/conversations": Rule("user", 201, None, {"title": "Another"}),
    f"GET {C}": member("viewer", 200),
    f"PATCH {C}": member("admin", 200, {"title": "Renamed"}),
    f"DELETE {C}": member("owner", 204),
    f"GET {C}/participants": member("viewer", 200),
    f"POST {C}/participants": member("admin", 201, {"email": "user@example.org"}),
    f"PATCH {C}/participants/{{user_id}}": member("admin", 200, {"role": "member"}),
    f"DELETE {C}/participants/{{user_id}}": member("admin", 204),
    f"GET {C}/invites": member("admin", 200),
    f"POST {C}/invites": member("admin", 201, {"role": "viewer"}),
    "POST /api/invites/accept": Rule("user", 200, None, {"token": "{token}"}),
    "POST /api/invites/{invite_id}/revoke": member("admin", 204),
    f"GET {C}/messages": member("viewer", 200),
    f"POST {C}/messages": member("member", 201, {"content": "Hello"}),
    f"GET {C}/threads": member("viewer", 200),
    "POST /api/threads/{conversation_id}/root": member("member", 201, {"content": "Hello"}),
    f"GET {T}/tree": member("viewer", 200),
    f"POST {T}/read": member("viewer", 200, {"ordinal": 1}),
    f"GET {M}": member("viewer", 200),
    f"POST {M}/reply": member("member", 201, {"content": "Hello"}),
    f"GET {M}/chunks": member("viewer", 200),
    f"POST {M}/cancel": member("member", 409, None, "RGP.CONFLICT"),
    f"POST {M}/continue": member("member", 409, None, "RGP.CONFLICT"),
    f"POST {M}/regenerate": member("member", 409, None, "RGP.CONFLICT"),
    f"POST {M}/edit": Rule("author", 200, None, {"content": "Hello again"}),
    f"POST {M}/delete": member("admin", 200),
    f"POST {M}/restore": member("admin", 200),
    "GET /api/stream": Rule("user", 200),
    "GET /api/stream/{user_id}": Rule("user", 404, "RGP.NOT_FOUND"),
    "GET /api/stream/conversations/{conversation_id}": member("viewer", 200),
}


@dataclass
class Cast:
    """Everybody's credentials, as headers."""

    owner: Owner
    client: httpx2.AsyncClient
    ids: dict[str, UUID] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=lambda: {"stranger": {}})

    async def gather(self) -> None:
        """Make the people and their credentials."""
        for name in USERS:
            role = "admin" if name == "administrator" else "user"
            status = name if name in ("pending", "disabled") else "active"
            self.ids[name] = await self.owner.fetchval(
                "select (rustygpt.insert_user($1 || '@example.org', $1, null, $2, $3)).id", name, role, status
            )
        await self.sign_in()
        for caller, (name, scope) in KEYS.items():
            made = await self.client.post("/api/keys", json={"name": scope, "scopes": [scope]}, headers=self.headers[name])
            self.headers[caller] = {"Authorization": f"Bearer {made.json()['key']}"}

    async def sign_in(self) -> None:
        """Give everybody a fresh session."""
        for name in USERS:
            token = new_token()
            await self.owner.execute(
                """insert into rustygpt.sessions (user_id, token_hash, issued_at, last_seen_at, expires_at, absolute_expires_at)
                   values ($1, $2, now(), now(), now() + $3, now() + $3)""",
                *(self.ids[name], token_hash(token), timedelta(hours=1)),
            )
            csrf = csrf_token(token)
            self.headers[name] = {"Cookie": f"SESSION_ID={token}; CSRF-TOKEN={csrf}", "X-CSRF-TOKEN": csrf}

    async def act(self, method: str, path: str, body: Any = None) -> Any:
        """Do something as the owner."""
        answer = await self.client.request(method, path, json=body, headers=self.headers["owner"])
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def place(self) -> dict[str, str]:
        """A conversation with everybody who belongs in it and a target to act on, and the names of what is there."""
        target = await self.owner.fetchval("select (rustygpt.insert_user($1, 'Target', null, 'user')).id", f"{new_token()}@x.org")
        make = "select conversation ->> 'id' from rustygpt_api.create_conversation($1, 'A place', false, null, '', 'off', '{}', null)"
        conversation = await self.owner.fetchval(make, self.ids["owner"])
        for role, user_id in [*((role, self.ids[role]) for role in ROLES[:-1]), ("viewer", target)]:
            await self.owner.execute("select rustygpt.add_member($1, $2, $3)", UUID(conversation), user_id, role)
        posted = await self.act("POST", f"/api/conversations/{conversation}/messages", {"content": "Hello"})
        made = await self.act("POST", f"/api/conversations/{conversation}/invites", {"max_uses": 100})
        unknown = dict.fromkeys(("session_id", "key_id", "profile_id", "assignment_id", "model_id", "job_id"), UNKNOWN)
        names = {"conversation_id": conversation, "message_id": posted["message_id"], "root_id": posted["root_id"]}
        known = {"invite_id": made["id"], "token": made["token"], "user_id": str(target), "provider": "github"}
        return {**names, **known, **unknown}

    async def ask(self, caller: str, method: str, path: str, body: dict[str, Any] | None) -> Answer:
        """Ask as somebody; the status, and the code of a refusal. A stream is left at once."""
        self.client.cookies.clear()  # what an earlier caller was given
        async with self.client.stream(method, path, json=body, headers=self.headers[caller]) as answer:
            code = code_of(json.loads(await answer.aread())) if answer.status_code >= 400 else None
            return answer.status_code, code


@pytest.fixture
async def cast(site: Site, owner: Owner) -> AsyncIterator[Cast]:
    """One person of each kind, and what they act with."""
    async with httpx2.AsyncClient(base_url=site.url, timeout=DEADLINE_SECONDS) as client:
        made = Cast(owner, client)
        await made.gather()
        yield made


def test_every_route_has_a_rule(data_dir: Any) -> None:
    """A new route must say here whom it is for."""
    application = create_app(Settings(data_dir=data_dir), "postgres://nobody.invalid/nothing")
    assert set(RULES) == api_routes(application)


@pytest.mark.parametrize("kind", sorted({rule.kind for rule in RULES.values()}))
async def test_every_caller_gets_what_the_rule_says(cast: Cast, kind: str) -> None:
    """Strangers, those who wait or are disabled, users, members of each role, administrators and keys of each scope: status and code."""
    for route, rule in RULES.items():
        if rule.kind != kind:
            continue
        method, template = route.split(" ", 1)
        await cast.sign_in()
        names = await cast.place()
        for caller in CALLERS:
            names["new"] = new_token()[:20].lower().strip("-_") + "x"
            path = template.format(**names, model="nothing")
            body = rule.body and {
                key: value.format(**names) if isinstance(value, str) else value for key, value in rule.body.items()
            }
            got = await cast.ask(caller, method, path, body)
            assert (route, caller, got) == (route, caller, _expected(rule, caller))
            if method != "GET" and got[1] is None and kind in ("member", "author", "admin"):
                names = await cast.place()  # so that each caller meets the same


def _expected(rule: Rule, caller: str) -> Answer:
    if rule.kind == "logout":  # whoever has a session, or had one, may leave
        left: Answer = (204, None)
        return left if caller in (*SESSIONS, "pending", "disabled") else NOBODY["stranger"] if caller == "stranger" else FORBIDDEN
    return rule.expected(caller)
