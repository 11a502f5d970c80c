"""A text that was deleted at one process is not replayed by the other, whatever that one had in memory of it."""

from tests.streaming.bus.pair import Pair

SECRET = "wormwood"


async def test_text_deleted_at_one_process_is_not_replayed_by_the_other(pair: Pair) -> None:
    """B has the text in its ring and in a page when A deletes it; whoever asks B from then on gets it from neither."""
    conversation = await pair.ada.make_conversation(assistant_mode="off")
    path = f"/api/stream/conversations/{conversation}"
    async with pair.ada_at_b.stream(path) as live:
        await live.until_type("stream.ready")
        message = (await pair.ada.say(conversation, SECRET))["message_id"]
        await live.until_type("thread.new")
        async with pair.ada_at_b.stream(path, params={"since": "0"}) as before:
            await before.until_type("thread.new")
        assert SECRET in before.raw.decode()
        before_it = before.logged[0].id or ""
        assert (await pair.ada.post(f"/api/messages/{message}/delete")).status_code == 200
        for where in (path, "/api/stream"):
            for options in ({"params": {"since": "0"}}, {"headers": {"Last-Event-ID": before_it}}):
                async with pair.ada_at_b.stream(where, **options) as after:
                    await after.until_type("message.deleted")
                assert SECRET not in after.raw.decode()
                ids = [event.id for event in after.logged]
                assert ids[:-1] == [event.id for event in before.logged][-len(ids[:-1]) :]
