"""Whom schemathesis is, what is theirs, and what they must never see: made in a fresh database, told to its hooks as JSON."""

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import asyncpg

from rustygpt.auth.csrf import csrf_token
from rustygpt.tokens import new_token, token_hash
from tests.person import Person

Kind = Literal["stranger", "member", "administrator"]
CONTENT_MARK = "Xq7-only-eve-may-read-this"
PERSON_MARK = "Zk9evename"
SPARES = 400
CONVERSATIONS = 8


@dataclass
class World:
    """What the hooks need. `spares` are credentials that a call may use up, each of a user of its own."""

    kind: Kind
    headers: dict[str, str] = field(default_factory=dict)
    spares: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)
    invites: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Everything, for `json.dump`."""
        return asdict(self)


class Maker:
    """Makes worlds of one site: *owner* is the database's."""

    def __init__(self, url: str, owner: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._url = url
        self._owner = owner

    async def make(self, kind: Kind) -> World:
        """Make the people, their conversations and their credentials."""
        world = World(kind)
        async with Person(self._url) as root, Person(self._url) as eve, Person(self._url) as member:
            await root.set_up("Root")
            await eve.register(PERSON_MARK)
            await member.register("Member")
            actor = root if kind == "administrator" else member
            foreign = await self._furnish(eve, [], 1, CONTENT_MARK)
            own = await self._furnish(actor, await self._guests(4), CONVERSATIONS, "Hello")
            world.ids = {name: [*values, *foreign[name]] for name, values in own.items()}
            world.invites = own["token"]
            await self._limits(root, world)
            await self._keys(actor, world)
            world.marks = [CONTENT_MARK] if kind == "administrator" else [CONTENT_MARK, PERSON_MARK, PERSON_MARK.lower()]
            world.headers = {} if kind == "stranger" else _headers(actor.client.cookies["SESSION_ID"])
            world.logins = [await self._login(number) for number in range(3)]
        if kind != "stranger":
            await self._spare(world, "admin" if kind == "administrator" else "user")
        return world

    async def _spare(self, world: World, role: str) -> None:
        """Make users with one session each."""
        tokens = [new_token() for _ in range(SPARES)]
        made = """with made as (
                    select t.hash, (rustygpt.insert_user(t.number || '@spare.example', 'Spare', null, $2)).id
                    from unnest($1::bytea[]) with ordinality t (hash, number))
                  insert into rustygpt.sessions (user_id, token_hash, issued_at, last_seen_at, expires_at, absolute_expires_at)
                  select id, hash, now(), now(), now() + $3, now() + $3 from made returning token_hash, id"""
        rows = await self._owner.fetch(made, [token_hash(token) for token in tokens], role, timedelta(hours=2))
        session_ids = {row["token_hash"]: str(row["id"]) for row in rows}
        world.spares = [{"headers": _headers(token), "session_id": session_ids[token_hash(token)]} for token in tokens]
        world.ids["session_id"] = list(session_ids.values())

    async def _furnish(self, person: Person, guests: list[UUID], count: int, text: str) -> dict[str, list[str]]:
        """Make conversations with something in them, and return the names of all that is there."""
        found: dict[str, list[str]] = {name: [] for name in ("conversation_id", "root_id", "message_id", "invite_id", "token")}
        found["user_id"] = [str(guest) for guest in guests]
        for number in range(count):
            conversation = await person.make_conversation(title=f"{text} {number}", system_prompt=text)
            for guest in guests:
                add = "select rustygpt.add_member($1, $2, 'member')"
                await self._owner.execute(add, UUID(conversation), guest)
            posted = await person.say(conversation, f"{text}, @assistant!")
            found["conversation_id"].append(conversation)
            found["root_id"].append(posted["root_id"])
            found["message_id"] += [posted["message_id"], posted["generation"]["message_id"]]
            made = await person.post(f"/api/conversations/{conversation}/invites", {"max_uses": 1_000})
            found["invite_id"].append(made.json()["id"])
            found["token"].append(made.json()["token"])
        return found

    async def _guests(self, count: int) -> list[UUID]:
        return [await self._user(f"guest{number}", "user") for number in range(count)]

    async def _limits(self, root: Person, world: World) -> None:
        for assignment in (await root.get("/api/admin/limits/assignments")).json()["items"]:
            await root.request("DELETE", f"/api/admin/limits/assignments/{assignment['id']}")  # we ask more often than people
        for number in range(4):
            profile = {"name": f"wide{number}", "requests": 1_000_000, "per_seconds": 1, "burst": 1_000_000}
            made = (await root.post("/api/admin/limits/profiles", profile)).json()
            world.ids.setdefault("profile_id", []).append(made["id"])
            body = {"profile_id": made["id"], "route": f"/api/none/{number}"}
            assigned = (await root.post("/api/admin/limits/assignments", body)).json()
            world.ids.setdefault("assignment_id", []).append(assigned["id"])

    async def _keys(self, person: Person, world: World) -> None:
        made = [await person.post("/api/keys", {"name": "Key", "scopes": ["chat"]}) for _ in range(10)]
        world.ids["key_id"] = [answer.json()["id"] for answer in made]

    async def _login(self, number: int) -> str:
        async with Person(self._url) as person:
            return (await person.register(f"Login {number}")).email

    async def _user(self, name: str, role: str) -> UUID:
        made = "select (rustygpt.insert_user($1, $2, null, $3)).id"
        user: UUID = await self._owner.fetchval(made, f"{name}-{new_token()[:6]}@example.org", name, role)
        return user


def _headers(token: str) -> dict[str, str]:
    csrf = csrf_token(token)
    return {"Cookie": f"SESSION_ID={token}; CSRF-TOKEN={csrf}", "X-CSRF-TOKEN": csrf}
