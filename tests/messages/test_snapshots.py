"""Snapshot at cursor c + events after c = snapshot now: for every snapshot, in conversations full of chance."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.messages import reducer
from tests.person import DEADLINE_SECONDS, Person
from tests.scripted_openai import Call, ScriptedOpenAI, scripted_openai
from tests.site import Site, serving, settings_for

STEPS = 80
PAGE = {"limit": "200"}
KINDS = ("messages", "threads", "conversation")
TOLD = ("title", "model", "assistant_mode", "member_count", "last_activity_at", "role", "system_prompt", "is_group")
"""What events tell of a conversation; its unread sum is told by threads only."""


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedOpenAI]:
    """A model that speaks when the test lets it."""
    async with scripted_openai() as server:
        yield server


@pytest.fixture
async def site(dsn: str, data_dir: Path, upstream: ScriptedOpenAI) -> AsyncIterator[Site]:
    """The application with that model, and few replies at once, so that some stay queued."""
    provider = {"kind": "openai", "name": "scripted", "base_url": upstream.base_url, "models": ("scripted",)}
    settings = settings_for(data_dir, assistant={"providers": (provider,), "max_concurrency": 3}, sse={"flush_ms": 0})
    async with serving(settings, dsn) as served:
        yield served


@pytest.fixture
async def carol(site: Site, bob: Person) -> AsyncIterator[Person]:
    """A third user."""
    async with Person(site.url) as person:
        yield await person.register("Carol")


@dataclass
class Story:
    """People who do things at random, and the snapshots that one of them takes meanwhile."""

    schedule: random.Random
    """What happens when, the same in every run with one seed; *chance* is asked in between, in an order that differs."""
    chance: random.Random
    upstream: ScriptedOpenAI
    conversation: str
    ada: Person
    bob: Person
    carol: Person
    messages: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    snapshots: list[tuple[int, str, Any]] = field(default_factory=list)

    async def step(self) -> None:
        """Do one thing, or two at once."""
        deeds = [self.post, self.post, self.reply, self.speak, self.speak, self.speak, self.stop, self.end, self.die, self.go_on]
        deeds += [self.move_carol, self.mark, self.rename, self.go_on, self.again, self.edit, self.delete, self.restore]
        deeds += [self.snapshot] * 5
        await asyncio.gather(*(deed() for deed in self.schedule.sample(deeds, self.schedule.choice((1, 2, 3)))))

    async def post(self, **fields: Any) -> None:
        person = self.chance.choice((self.ada, self.bob))
        text = self.chance.choice(("Hello", "@assistant \U0001f331?", "@scripted go on", "`@assistant`"))
        posted = await person.say(self.conversation, text, **fields)
        self.messages.append(posted["message_id"])
        if posted["generation"]:
            self.replies.append(posted["generation"]["message_id"])

    async def reply(self) -> None:
        if self.messages:
            await self.post(parent_id=self.chance.choice([*self.messages, *self.replies]))

    def _running(self) -> list[Call]:
        self.calls += [call for call in self.upstream.calls if call not in self.calls]
        return [call for call in self.calls if not call.over.is_set()]

    async def speak(self) -> None:
        if calls := self._running():
            await _unless_gone(self.chance.choice(calls).say(*self.chance.sample(["one ", "\U0001f980", "\n", "d\u00e9"], 3)))

    async def end(self) -> None:
        if calls := self._running():
            usage = self.chance.choice((None, {"prompt_tokens": 3, "completion_tokens": 5}))
            await _unless_gone(self.chance.choice(calls).finish(self.chance.choice(("stop", "length")), usage))

    async def die(self) -> None:
        if calls := self._running():
            self.chance.choice(calls).die()

    async def stop(self) -> None:
        if self.replies:
            answer = await self.bob.post(f"/api/messages/{self.chance.choice(self.replies)}/cancel")
            assert answer.status_code == 200, answer.text

    async def go_on(self) -> None:
        if self.replies:
            answer = await self.bob.post(f"/api/messages/{self.chance.choice(self.replies)}/continue")
            assert answer.status_code in (200, 409), answer.text

    async def again(self) -> None:
        if self.messages:
            message = self.chance.choice([*self.messages, *self.replies])
            answer = await self.bob.post(f"/api/messages/{message}/regenerate")
            assert answer.status_code in (201, 409), answer.text
            if answer.status_code == 201:
                self.replies.append(answer.json()["message_id"])

    async def edit(self) -> None:
        if self.messages:
            text = self.chance.choice(("Hello", "\U0001f331" * 201, "Goodbye"))
            answer = await self.ada.post(f"/api/messages/{self.chance.choice(self.messages)}/edit", {"content": text})
            assert answer.status_code in (200, 403, 409), answer.text

    async def delete(self) -> None:
        if self.messages:
            message = self.chance.choice([*self.messages[-4:], *self.replies[-4:]])
            assert (await self.ada.post(f"/api/messages/{message}/delete")).status_code in (200, 409)

    async def restore(self) -> None:
        if self.messages:
            message = self.chance.choice([*self.messages[-4:], *self.replies[-4:]])
            assert (await self.ada.post(f"/api/messages/{message}/restore")).status_code == 200

    async def move_carol(self) -> None:
        path = f"/api/conversations/{self.conversation}/participants"
        role = self.chance.choice(("viewer", "member", "admin"))
        requests = (
            ("POST", path, {"user_id": self.carol.id, "role": role}),
            ("PATCH", f"{path}/{self.carol.id}", {"role": role}),
            ("DELETE", f"{path}/{self.carol.id}", None),
        )
        method, where, body = self.chance.choice(requests)
        assert (await self.ada.request(method, where, json=body)).status_code in (200, 201, 204, 404, 409)

    async def mark(self) -> None:
        if self.messages:
            message = (await self.ada.get(f"/api/messages/{self.chance.choice(self.messages)}")).json()
            answer = await self.ada.post(f"/api/threads/{message['root_id']}/read", {"message_id": message["id"]})
            assert answer.status_code == 200, answer.text

    async def rename(self) -> None:
        changes = self.chance.choice(
            ({"title": "T"}, {"model": "scripted"}, {"model": None}, {"assistant_mode": "always"}, {"assistant_mode": None})
        )
        assert (await self.bob.request("PATCH", f"/api/conversations/{self.conversation}", json=changes)).status_code == 200

    async def snapshot(self) -> None:
        """Read one of the three snapshots that carry a cursor."""
        self.snapshots.append(await self.read(self.schedule.choice(KINDS)))

    async def read(self, kind: str) -> tuple[int, str, Any]:
        """Return a snapshot's position, kind and content."""
        path = "/api/conversations" if kind == "conversation" else f"/api/conversations/{self.conversation}/{kind}"
        answer = await self.ada.get(path, params=PAGE)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page["next_cursor"] is None
        return int(page["stream_cursor"].partition("-")[2]), kind, page["items"]


async def _unless_gone(saying: Any) -> None:
    with suppress(ConnectionError):  # it may have been stopped in this very moment
        await saying


def content_of(kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Bring a snapshot into the reducer's form."""
    if kind == "conversation":
        return {key: items[0][key] for key in TOLD}
    key = "id" if kind == "messages" else "root_id"
    return {item[key]: item for item in items}


@pytest.mark.parametrize("seed", range(3))
async def test_snapshot_and_events_make_the_present(
    ada: Person, bob: Person, carol: Person, upstream: ScriptedOpenAI, seed: int
) -> None:
    """Posts, replies, stops, deaths, members and marks in any order: each snapshot plus the events after it is the last one, read live or later."""
    conversation = await ada.make_conversation()
    await ada.add(conversation, bob, "admin")
    story = Story(random.Random(seed), random.Random(seed + 1_000), upstream, conversation, ada, bob, carol)
    for kind in KINDS:
        story.snapshots.append(await story.read(kind))
    async with ada.stream("/api/stream?since=0") as live:
        for _ in range(STEPS):
            await story.step()
        await _finish(story)
        for kind in KINDS:
            story.snapshots.append(await story.read(kind))
        head = story.snapshots[-1][0]
        epoch = live.last_id.partition("-")[0]
        async with ada.stream(f"/api/stream/conversations/{conversation}?last_event_id={epoch}-0") as again:
            for reader in (live, again):
                await reader.until(lambda r: r.logged and r.logged[-1].position >= head)
    assert [event.id for event in live.logged] == [event.id for event in again.logged]
    assert not [event for event in live.events if event.type == "stream.gap"]
    for kind in KINDS:
        snapshots = sorted(
            ((at, content_of(kind, items)) for at, of_kind, items in story.snapshots if of_kind == kind), key=lambda pair: pair[0]
        )
        assert len(snapshots) > 5
        # Only now: what is read from the log tells a text as it is when it is read, not as it was at each event's time.
        present = snapshots[-1][1]
        for events in (live.logged, again.logged):
            for at, state in snapshots:
                assert reducer.after(kind, state, [event for event in events if event.position > at], ada.id) == present


async def _finish(story: Story) -> None:
    """Let every reply come to its end."""
    story.upstream.script = lambda call: call.answer("The end.")
    for call in list(story.upstream.calls):  # those that come from now on speak for themselves
        if not call.over.is_set():
            await _unless_gone(call.finish())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while {"queued", "streaming"} & {item["status"] for item in (await story.read("messages"))[2]}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
