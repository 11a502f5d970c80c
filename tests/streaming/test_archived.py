"""A conversation that is archived: its replies stop, its streams end with that event, and nothing follows."""

from pathlib import Path

from tests.assistant.conftest import scripted_settings
from tests.assistant.exchange import ask
from tests.person import Person
from tests.scripted_openai import scripted_openai
from tests.site import serving


async def test_archiving_stops_replies_and_ends_streams(dsn: str, data_dir: Path) -> None:
    """The running reply and the waiting one end as cancelled, the upstream is closed, and conversation.updated is the last event of all."""
    async with scripted_openai() as upstream, serving(scripted_settings(data_dir, upstream, max_concurrency=1), dsn) as site:
        ada, bob = await Person(site.url).set_up("Ada"), await Person(site.url).register("Bob")
        conversation, other = (
            await ada.make_conversation(assistant_mode="always"),
            await ada.make_conversation(assistant_mode="off"),
        )
        await ada.add(conversation, bob)
        async with bob.stream(f"/api/stream/conversations/{conversation}") as one, ada.stream("/api/stream") as everything:
            running = await ask(ada, conversation, "Running")
            call = await upstream.next_call("Running")
            await call.say("Once")
            waiting = await ask(bob, conversation, "Waiting")
            for reader in (one, everything):
                await reader.until(lambda r: r.text_of(running) == "Once")
            assert (await ada.request("DELETE", f"/api/conversations/{conversation}")).status_code == 204
            await one.until_closed()
            await call.until_gone()
            await ada.say(other, "The end.")
            await everything.until(lambda r: "The end." in r.raw.decode())
        for reader in (one, everything):
            own = [event for event in reader.logged if event.body["conversation_id"] == conversation]
            done = {event.payload["message_id"]: event.payload["finish_reason"] for event in own if event.type == "message.done"}
            assert done == {running: "cancelled", waiting: "cancelled"}
            assert own[-1].type == "conversation.updated"
            assert own[-1].payload["archived_at"]
        assert (await bob.get(f"/api/stream/conversations/{conversation}")).status_code == 404
        for person in (ada, bob):
            await person.close()
