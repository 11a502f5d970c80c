"""I5 for a reader that is slow: the first removal ends its stream, whatever has happened since."""

import asyncio
from uuid import UUID, uuid4

from rustygpt.streaming.conversation_subscriber import ConversationSubscriber
from tests.person import DEADLINE_SECONDS, Person
from tests.site import Site

REMOVED = b'"action":"removed"'


async def test_second_removal_does_not_hide_the_first(gated_site: Site, carol: Person, dave: Person) -> None:
    """While the first removal is being sent, the member comes back and goes again: what was said in between is not sent after it."""
    shared = await carol.make_conversation(assistant_mode="off")
    await carol.add(shared, dave)
    coordinator = gated_site.application._parts.coordinator
    sent: list[bytes] = []
    is_told, go_on = asyncio.Event(), asyncio.Event()

    async def send(data: bytes) -> None:
        sent.append(data)
        if REMOVED in data:
            is_told.set()
            await go_on.wait()

    async with carol.stream(f"/api/stream/conversations/{shared}") as of_carol, asyncio.TaskGroup() as group:
        await of_carol.until_type("stream.ready")
        subscriber = ConversationSubscriber(coordinator, UUID(dave.id), uuid4(), UUID(shared))
        subscriber.cursor = coordinator.head
        try:
            task = group.create_task(subscriber.run(send))
            path = f"/api/conversations/{shared}/participants/{dave.id}"
            assert (await carol.request("DELETE", path)).status_code == 204
            async with asyncio.timeout(DEADLINE_SECONDS):
                await is_told.wait()
            await carol.say(shared, "Dave may not read this.")
            await carol.add(shared, dave)
            assert (await carol.request("DELETE", path)).status_code == 204
            await of_carol.until(lambda r: r.raw.count(REMOVED) == 2)
            go_on.set()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await task
        finally:
            subscriber.end("disconnected")
            coordinator.unregister(subscriber)
    assert b"may not read" not in b"".join(sent)
    assert b"".join(sent).count(REMOVED) == 1
