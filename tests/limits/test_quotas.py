"""Quotas: what a person may have written in a period holds whoever asks where, and what was reserved ends as what was used."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from rustygpt.assistant.procedures import (
    Claim,
    cancel_generation,
    claim_generation,
    continue_generation,
    finish_generation,
    reap_generations,
)
from rustygpt.database.pool import Database
from rustygpt.errors import RateLimited
from rustygpt.ids import ConversationId, MessageId, UserId
from rustygpt.limits.quotas import (
    Quota,
    Terms,
    read_quota,
    reserve_quota,
    reserved_quota,
    set_quota_terms,
    settle_quota,
)
from rustygpt.maintenance import PRUNE_LIMIT
from rustygpt.messages.procedures import post_message
from rustygpt.streaming.procedures import append_deltas
from tests.person import Person
from tests.races import connected, until_somebody_waits
from tests.site import serving, settings_for

DAY = 86_400.0
REPLY_TOKENS = 100
QUESTION = "q" * 40
QUESTION_TOKENS = 10
AMPLE = Terms(None, 1_000_000, DAY, REPLY_TOKENS, 24_000)


class Asker:
    """One person; the test is the process that writes the replies."""

    def __init__(self, database: Database, user: UserId, conversations: list[UUID]) -> None:
        self.database = database
        self.user = user
        self.conversations = conversations

    async def ask(self, number: int = 0, database: Database | None = None, content: str = QUESTION) -> UUID:
        """Ask in one of the conversations; return the reply. Raises RateLimited."""
        posted = await post_message(
            database or self.database,
            actor=self.user,
            conversation=ConversationId(self.conversations[number % len(self.conversations)]),
            parent=None,
            content=content,
            model=None,
            mention=None,
            key=None,
            max_queued=1_000,
            max_queued_per_user=1_000,
        )
        return UUID(posted.answer["generation"]["message_id"])

    async def claim(self) -> Claim:
        claim = await claim_generation(self.database, owner="a", lease_seconds=15.0, deadline_seconds=600.0)
        assert claim is not None
        return claim

    async def say(self, claim: Claim, text: str, idx: int = 0) -> None:
        await append_deltas(
            self.database,
            messages=[claim.message_id],
            fences=[claim.fence],
            indexes=[idx],
            contents=[text],
            lease_seconds=15.0,
        )

    async def finish(self, claim: Claim, state: Any = "done", usage: tuple[int, int] | None = None) -> None:
        prompt, completion = usage or (None, None)
        await finish_generation(
            self.database,
            message=claim.message_id,
            fence=claim.fence,
            state=state,
            prompt_tokens=prompt,
            completion_tokens=completion,
            error_code=None,
            error_message=None,
        )

    async def quota(self) -> Quota:
        return await read_quota(self.database, actor=self.user)

    async def used(self) -> tuple[int, int, int, int]:
        """Generations used and reserved, tokens used and reserved."""
        quota = await self.quota()
        return quota.generations_used, quota.generations_reserved, quota.tokens_used, quota.tokens_reserved


@pytest.fixture
async def asker(database: Database, owner: asyncpg.Connection) -> Asker:
    """Somebody with five conversations whose assistant always answers, and a prompt of QUESTION_TOKENS."""
    await set_quota_terms(database, AMPLE)
    user = await owner.fetchval("select (rustygpt.insert_user('ada@example.org', 'Ada', 'x', 'user')).id")
    make = "select (conversation ->> 'id')::uuid from rustygpt_api.create_conversation($1, '', false, null, '', 'always', '{}', null)"
    return Asker(database, UserId(user), [await owner.fetchval(make, user) for _ in range(5)])


async def limit(asker: Asker, generations: int | None = None, tokens: int | None = 1_000_000, seconds: float = DAY) -> None:
    await set_quota_terms(asker.database, Terms(generations, tokens, seconds, REPLY_TOKENS, 24_000))


async def test_fifty_clients_on_two_processes_ask_no_more_than_allowed(dsn: str, data_dir: Path) -> None:
    """Of fifty questions at once through two processes exactly the quota is stored; the others are told the limit and store nothing."""
    assistant = {"max_queued_per_user": 100}
    settings = settings_for(data_dir, bus={"kind": "postgres"}, limits={"quota_generations": 7}, assistant=assistant)
    async with serving(settings, dsn) as here, serving(settings, dsn) as there, AsyncExitStack() as leaving:
        ada, elsewhere = Person(here.url), Person(there.url)
        leaving.push_async_callback(ada.close)
        leaving.push_async_callback(elsewhere.close)
        await ada.set_up("Ada")
        elsewhere.client.cookies = ada.client.cookies
        paths = [f"/api/conversations/{await ada.make_conversation()}/messages" for _ in range(5)]
        answers = await asyncio.gather(
            *(person.post(paths[n % 5], {"content": "Hello"}) for n in range(25) for person in (ada, elsewhere))
        )
        assert sorted(answer.status_code for answer in answers) == [201] * 7 + [429] * 43
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["code"] == "RGP.RATE_LIMITED"
        assert refused.json()["detail"] == "Your quota of 7 answers is used up. There will be more in 24 hours."
        names = ("limit", "remaining", "profile")
        assert [refused.headers[f"x-ratelimit-{name}"] for name in names] == ["7", "0", "quota-generations"]
        assert DAY - 600 < int(refused.headers["x-ratelimit-reset"]) <= DAY
        assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"]
        stored = [item for path in paths for item in (await ada.get(path)).json()["items"] if item["role"] == "user"]
        assert len(stored) == 7
        usage = (await ada.get("/api/usage")).json()["generations"]
        assert (usage["limit"], usage["used"] + usage["reserved"], usage["remaining"]) == (7, 7, 0)


async def test_tokens_are_reserved_before_anything_is_written(dsn: str, asker: Asker) -> None:
    """Fifty at once over two pools get as many reservations as the tokens suffice for, though nothing has been used yet."""
    each = QUESTION_TOKENS + REPLY_TOKENS
    await limit(asker, tokens=4 * each + each - 1)
    other = Database(dsn, asker.database._settings)
    await other.open()
    try:
        pools = (asker.database, other)
        results = await asyncio.gather(*(asker.ask(n, pools[n % 2]) for n in range(50)), return_exceptions=True)
    finally:
        await other.close()
    refused = [result for result in results if isinstance(result, RateLimited)]
    assert len(refused) == 46, results
    assert {error.limit.profile for error in refused if error.limit} == {"quota-tokens"}
    assert await asker.used() == (0, 4, 0, 4 * each)
    assert {error.retry_after_seconds for error in refused} == {10}, "what is reserved may turn out to be too much"


async def test_use_takes_the_place_of_the_reservation(asker: Asker) -> None:
    """A reply that ends counts as the tokens its provider counted."""
    await asker.ask()
    assert await asker.used() == (0, 1, 0, QUESTION_TOKENS + REPLY_TOKENS)
    claim = await asker.claim()
    await asker.say(claim, "Yes.")
    await asker.finish(claim, usage=(31, 4_000))
    assert await asker.used() == (1, 0, 4_031, 0)
    await asker.ask()
    assert await asker.used() == (1, 1, 4_031, QUESTION_TOKENS + REPLY_TOKENS), "settled ones are folded, and still count"


async def test_what_nobody_counted_is_estimated(asker: Asker) -> None:
    """Where the provider gives no usage, a token is four characters of what was asked and said; so too of a reply that was stopped."""
    for state in ("done", "cancelled"):
        await asker.ask()
        claim = await asker.claim()
        await asker.say(claim, "x" * 20)
        await asker.finish(claim, state)
    assert await asker.used() == (2, 0, 2 * (QUESTION_TOKENS + 5), 0)


async def test_what_never_began_costs_nothing(asker: Asker) -> None:
    """A reply that is stopped while it waits, or fails before its first word, is given back; one stopped by its reader is not."""
    reply = await asker.ask()
    await cancel_generation(asker.database, actor=asker.user, message=MessageId(reply))
    for state in ("error", "timeout"):
        await asker.ask()
        await asker.finish(await asker.claim(), state)
    assert await asker.used() == (0, 0, 0, 0)
    await asker.ask()
    await asker.finish(await asker.claim(), "cancelled")
    assert await asker.used() == (1, 0, QUESTION_TOKENS, 0)


async def test_without_a_limit_use_is_counted_all_the_same(asker: Asker) -> None:
    """A limit that is set later knows what was used before."""
    await limit(asker, tokens=None)
    for usage in ((300, 4), None):
        await asker.ask()
        claim = await asker.claim()
        await asker.say(claim, "x" * 20)
        await asker.finish(claim, usage=usage)
    assert await asker.used() == (2, 0, 304 + QUESTION_TOKENS + 5, 0)
    await limit(asker, tokens=320)
    with pytest.raises(RateLimited, match="This needs about 110 tokens; of your quota of 320, 1 are left"):
        await asker.ask()


async def test_a_killed_process_leaks_no_reservation(asker: Asker) -> None:
    """Replies whose process died are settled when they are closed: by what they said, or as nothing."""
    for text in ("x" * 40, ""):
        await asker.ask()
        claim = await asker.claim()
        if text:
            await asker.say(claim, text)
    await reap_generations(asker.database, running=[], is_alone=True, limit=10)
    assert await asker.used() == (1, 0, QUESTION_TOKENS + 10, 0)


async def test_archiving_settles_what_it_stops(asker: Asker, owner: asyncpg.Connection) -> None:
    """Replies that end with their conversation are settled too."""
    await asker.ask()
    await owner.execute("select rustygpt.stop_conversation($1)", asker.conversations[0])
    assert await asker.used() == (0, 0, 0, 0)


async def test_a_reply_that_goes_on_is_paid_for_once_more(asker: Asker) -> None:
    """Continuing takes a reservation of its own, which counts what it adds; over the quota it is refused and the reply stays as it was."""
    await limit(asker, generations=2)
    reply = await asker.ask()
    claim = await asker.claim()
    await asker.say(claim, "x" * 40)
    await asker.finish(claim, "length")
    bounds: dict[str, Any] = {"key": None, "max_queued": 10, "max_queued_per_user": 10}
    await continue_generation(asker.database, actor=asker.user, message=MessageId(reply), **bounds)
    claim = await asker.claim()
    await asker.say(claim, "y" * 8, idx=1)
    await asker.finish(claim, "length")
    said_before = 10
    assert await asker.used() == (2, 0, (QUESTION_TOKENS + 10) + (QUESTION_TOKENS + said_before + 2), 0)
    with pytest.raises(RateLimited, match="quota of 2 answers"):
        await continue_generation(asker.database, actor=asker.user, message=MessageId(reply), **bounds)
    assert (await asker.quota()).generations_reserved == 0


async def test_a_period_ends(asker: Asker, owner: asyncpg.Connection) -> None:
    """After its period the quota is whole again; what was asked before its end never counts in the next one."""
    await limit(asker, generations=1, seconds=60)
    await asker.ask()
    with pytest.raises(RateLimited, match=r"in (60|59|5\d) seconds"):
        await asker.ask()
    await owner.execute("update rustygpt.quota_periods set started_at = started_at - interval '61 seconds'")
    await owner.execute("update rustygpt.quota_reservations set period_started_at = period_started_at - interval '61 seconds'")
    assert (await asker.quota()).resets_at is None
    await asker.ask()
    await asker.finish(await asker.claim(), usage=(1, 1))
    assert await asker.used() == (0, 1, 0, QUESTION_TOKENS + REPLY_TOKENS)
    assert await owner.fetchval("select rustygpt_api.prune_rows(1, 1, $1)", PRUNE_LIMIT) == 1


async def test_a_clock_set_back_locks_nobody_out(asker: Asker, owner: asyncpg.Connection) -> None:
    """A period that begins in a time to come is none."""
    await limit(asker, generations=1)
    await asker.ask()
    await owner.execute("update rustygpt.quota_periods set started_at = started_at + interval '3 days'")
    await asker.ask()


async def test_who_waits_for_the_period_sees_what_was_taken(dsn: str, asker: Asker, owner: asyncpg.Connection) -> None:
    """A reservation that waits for another one of the same person counts it, though it began to wait before that was committed."""
    await limit(asker, generations=1)
    async with connected(dsn) as first, asyncio.TaskGroup() as group:
        taking = first.transaction()
        await taking.start()
        await first.execute("select rustygpt_api.reserve_quota($1, 1, 1, 60)", asker.user)
        second = group.create_task(_refusal(reserve_quota(asker.database, actor=asker.user, **ESTIMATE)))
        await until_somebody_waits(owner)
        await taking.commit()
        assert "quota of 1 answer is" in await second


ESTIMATE: dict[str, Any] = {"prompt_tokens": 10, "reply_tokens": None, "seconds": 60.0}


async def _refusal(reservation: Any) -> str:
    try:
        await reservation
    except RateLimited as error:
        return error.detail
    return ""


async def test_work_without_a_reply_is_reserved_and_settled(asker: Asker) -> None:
    """Who asks a model outside of conversations reserves by an estimate and settles by use, once; unused is free."""
    used = await reserve_quota(asker.database, actor=asker.user, **ESTIMATE)
    unused = await reserve_quota(asker.database, actor=asker.user, **ESTIMATE)
    assert await asker.used() == (0, 2, 0, 2 * (10 + REPLY_TOKENS))
    await settle_quota(asker.database, reservation=used, is_used=True, tokens=25)
    await settle_quota(asker.database, reservation=used, is_used=True, tokens=2_500)
    await settle_quota(asker.database, reservation=unused, is_used=False, tokens=None)
    assert await asker.used() == (1, 0, 25, 0)


async def test_a_reservation_is_settled_however_its_block_ends(asker: Asker) -> None:
    """An error and a cancelled request settle by what is known until then."""
    begun = asyncio.Event()

    async def serve() -> None:
        async with reserved_quota(asker.database, actor=asker.user, **ESTIMATE) as spent:
            spent.is_used, spent.tokens = True, 12
            begun.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        request = group.create_task(serve())
        await begun.wait()
        request.cancel()
    with pytest.raises(ZeroDivisionError):
        async with reserved_quota(asker.database, actor=asker.user, **ESTIMATE):
            raise ZeroDivisionError
    assert await asker.used() == (1, 0, 12, 0)


async def test_a_reservation_of_a_dead_process_expires(asker: Asker, owner: asyncpg.Connection) -> None:
    """What nobody settles in time counts as it was estimated, and is reserved no more."""
    await reserve_quota(asker.database, actor=asker.user, **ESTIMATE)
    await owner.execute("update rustygpt.quota_reservations set expires_at = clock_timestamp()")
    assert await asker.used() == (1, 0, 10 + REPLY_TOKENS, 0)
    await reserve_quota(asker.database, actor=asker.user, **ESTIMATE)
    assert await asker.used() == (1, 1, 10 + REPLY_TOKENS, 10 + REPLY_TOKENS)


async def test_an_administrator_gives_somebody_terms_of_their_own(ada: Person, bob: Person) -> None:
    """In force at once and audited; null is no limit, 0 nothing; taken away, the general terms hold again."""
    path = f"/api/admin/users/{bob.id}/quota"
    assert (await bob.get("/api/usage")).json()["is_default"] is True
    answer = await ada.request("PUT", path, json={"generations": 0, "tokens": None})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["generations"]["limit"], answer.json()["tokens"]["limit"], answer.json()["is_default"]) == (
        0,
        None,
        False,
    )
    conversation = await bob.make_conversation()
    body = {"content": "Hello", "client_id": "one"}
    refused = await bob.post(f"/api/conversations/{conversation}/messages", body)
    assert (refused.status_code, refused.headers["x-ratelimit-profile"]) == (429, "quota-generations")
    assert (await bob.get(f"/api/conversations/{conversation}/messages")).json()["items"] == []
    assert (await ada.request("DELETE", path)).status_code == 204
    assert (await ada.request("DELETE", path)).status_code == 204
    assert (await bob.post(f"/api/conversations/{conversation}/messages", body)).status_code == 201
    acts = [entry["action"] for entry in (await ada.get("/api/admin/audit")).json()["items"]]
    assert acts[:2] == ["limits.quota_cleared", "limits.quota_set"]


@pytest.mark.parametrize("body", [{}, {"generations": 1}, {"generations": -1, "tokens": 1}, {"generations": "1", "tokens": 1}])
async def test_terms_that_are_none_are_refused(ada: Person, body: dict[str, Any]) -> None:
    """Both amounts are named, whole and not below zero."""
    answer = await ada.request("PUT", f"/api/admin/users/{ada.id}/quota", json=body)
    assert answer.status_code == 422
