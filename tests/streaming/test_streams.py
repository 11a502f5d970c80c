"""Streams over real sockets: what is posted is read, in log order, once."""

from tests.person import Person


async def test_reply_streams_to_both_kinds_of_stream(ada: Person) -> None:
    """A post and its reply reach the conversation's stream and the user's own stream as the same bytes."""
    conversation = await ada.make_conversation()
    async with (
        ada.stream(f"/api/stream/conversations/{conversation}") as one,
        ada.stream("/api/stream") as all_of_them,
    ):
        await one.until_type("stream.ready")
        await all_of_them.until_type("stream.ready")
        posted = await ada.say(conversation, "count to 20")
        reply = posted["generation"]["message_id"]
        for reader in (one, all_of_them):
            await reader.until(
                lambda r: r.events[-1].type == "thread.activity" and any(e.type == "message.done" for e in r.events)
            )
            assert reader.text_of(reply) == " ".join(str(n) for n in range(1, 21))
        assert [event.id for event in one.logged] == [event.id for event in all_of_them.logged]
        assert [event.body for event in one.logged] == [event.body for event in all_of_them.logged]
