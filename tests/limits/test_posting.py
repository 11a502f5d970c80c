"""How fast a member may post: counted where messages are stored, so neither processes nor clients together exceed it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from tests.person import Person
from tests.site import serving, settings_for


async def test_fifty_clients_on_two_processes_post_no_more_than_allowed(
    dsn: str, data_dir: Path, owner: asyncpg.Connection
) -> None:
    """Of fifty posts at once through two processes exactly the burst is stored; the others are 429 with a wait, and may come again."""
    await owner.execute("update rustygpt.limit_profiles set requests = 1, per_seconds = 86400, burst = 7 where name = 'posting'")
    settings = settings_for(data_dir, bus={"kind": "postgres"})
    async with serving(settings, dsn) as here, serving(settings, dsn) as there, AsyncExitStack() as leaving:
        ada, elsewhere = Person(here.url), Person(there.url)
        leaving.push_async_callback(ada.close)
        leaving.push_async_callback(elsewhere.close)
        await ada.set_up("Ada")
        elsewhere.client.cookies = ada.client.cookies
        conversation = await ada.make_conversation(assistant_mode="off")
        path = f"/api/conversations/{conversation}/messages"
        answers = await asyncio.gather(
            *(person.post(path, {"content": "Hello", "client_id": f"{n}"}) for n in range(25) for person in (ada, elsewhere))
        )
        statuses = [answer.status_code for answer in answers]
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "RGP.RATE_LIMITED"
        assert int(refused.headers["retry-after"]) == 120
        assert [refused.headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "profile")] == ["7", "0", "posting"]
        stored = (await ada.get(path)).json()["items"]
        assert len(stored) == 7
        assert set(statuses) == {201, 429}
        again = statuses.index(201) // 2
        assert (await ada.post(path, {"content": "Hello", "client_id": f"{again}"})).status_code == 201, (
            "a repeated post is no new one"
        )
        other = await ada.make_conversation(assistant_mode="off")
        await ada.say(other, "Elsewhere it is another count")
