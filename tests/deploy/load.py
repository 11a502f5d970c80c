"""A little of everything that people do, against a running server, round after round: metrics move while others look."""

import asyncio

from tests.person import DEADLINE_SECONDS, Person

PAUSE_SECONDS = 0.2


class Load:
    """Two people who talk, reload, stop an answer, mistype a password and get lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.rounds = 0

    async def run(self, ended: asyncio.Event) -> None:
        """Go round until *ended* is set."""
        async with Person(self._url) as ada, Person(self._url) as bob:
            await ada.set_up("Ada")
            await bob.register("Bob")
            await self._go_round(ada, bob, ended)

    async def _go_round(self, ada: Person, bob: Person, ended: asyncio.Event) -> None:
        conversation = await ada.make_conversation(assistant_mode="always", model="demo")
        await ada.add(conversation, bob)
        while not ended.is_set():
            await self._talk(ada, bob, conversation)
            await self._stumble(ada)
            self.rounds += 1
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    await ended.wait()
            except TimeoutError:
                continue

    async def _talk(self, ada: Person, bob: Person, conversation: str) -> None:
        path = f"/api/stream/conversations/{conversation}"
        async with ada.stream(path) as reader, bob.stream("/api/stream"):
            await reader.until_type("stream.ready")
            await ada.say(conversation, "count to 20")
            await reader.until_type("message.done")
            first = reader.logged[0].id
            posted = await bob.say(conversation, "count to 100000")
            answer = posted["generation"]["message_id"]
            await reader.until(lambda read: read.text_of(answer))
            assert (await bob.post(f"/api/messages/{answer}/cancel")).status_code < 300
            await reader.until(lambda read: sum(event.type == "message.done" for event in read.events) == 2)
        for cursor in (first, "zzzz-1"):
            async with bob.stream(path, headers={"Last-Event-ID": cursor}) as again:
                await again.until_type("stream.ready")

    async def _stumble(self, ada: Person) -> None:
        async with Person(self._url) as wrong:
            login = await wrong.post("/api/auth/login", {"email": ada.email, "password": "not my password"})
        assert login.status_code in (401, 429)  # who mistypes round after round is slowed down
        assert (await ada.post("/api/auth/refresh")).status_code == 200
        assert (await ada.get("/api/nowhere")).status_code == 404
        assert (await ada.get("/api/conversations")).status_code == 200
        assert (await ada.get("/healthz")).status_code == 200
        async with asyncio.timeout(DEADLINE_SECONDS):
            # Each check of /readyz has 1.5 s, which a machine that is busy with other tests may not keep.
            while (await ada.get("/readyz")).status_code != 200:  # noqa: ASYNC110  # HTTP has no event to wait for
                await asyncio.sleep(PAUSE_SECONDS)
