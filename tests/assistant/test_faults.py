"""A provider's bad days: the message ends as an error with what was said, the people are told why, and the next message works."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from rustygpt.assistant import runner
from tests.assistant.exchange import ask, read, until_done, until_status
from tests.person import Person
from tests.scripted_openai import Call, ScriptedOpenAI

PATIENCE = {
    "others": {
        "deaf": {"first_token_timeout_seconds": 0.3},
        "absent": {"first_token_timeout_seconds": 2.0},  # the head of the answer must have come by then, on a busy machine too
        "hesitant": {"idle_timeout_seconds": 0.3},
    }
}
"""Providers by what they wait for, all at one upstream: a deadline is short only where nothing more is to come."""


@dataclass(frozen=True)
class Fault:
    """What the upstream does, what is kept of the reply, what the people are told, and which provider is asked."""

    act: Callable[[Call], Awaitable[None]]
    kept: str
    code: str
    told: str
    provider: str = "scripted"


async def refuse(call: Call) -> None:
    await call.respond("503 Busy", "application/json", b'{"error": {"message": "no slot is free"}}')


async def hang_at_once(call: Call) -> None:
    await call.until_gone()


async def hang_after_headers(call: Call) -> None:
    await call.raw(b": I am here\n\n")
    await call.until_gone()


async def hang_midway(call: Call) -> None:
    await call.say("Once upon a time")
    await call.until_gone()


async def send_html(call: Call) -> None:
    await call.respond("200 OK", "text/html", b"<html><body>Sign in to the hotel's network</body></html>")


async def babble(call: Call) -> None:
    await call.say("Once")
    await call.raw(b"data: {not json at all\n\n")
    call.hang_up()


async def send_binary(call: Call) -> None:
    await call.say("Once")
    await call.raw(b"data: \xff\xfe\x00\x80\n\n")
    call.hang_up()


async def send_half_a_pair(call: Call) -> None:
    await call.say("Once")
    await call.raw(b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n')
    await call.finish()


async def cut_short(call: Call) -> None:
    await call.say("Once upon", " a time")
    call.hang_up()


async def die(call: Call) -> None:
    await call.say("Once upon", " a time")
    call.die()


async def die_at_once(call: Call) -> None:
    call.die()


async def report_an_error(call: Call) -> None:
    await call.say("Once")
    await call.event({"error": {"message": "out of memory", "type": "server_error"}})
    call.hang_up()


async def report_nul(call: Call) -> None:
    await call.say("Once")
    await call.event({"error": {"message": "bad\0ly broken"}})
    call.hang_up()


FAULTS = {
    "refuses": Fault(refuse, "", "provider_rejected", "no slot is free"),
    "hangs before the first byte": Fault(hang_at_once, "", "provider_timeout", "did not begin", "deaf"),
    "hangs before the first token": Fault(hang_after_headers, "", "provider_timeout", "stopped answering", "absent"),
    "hangs in the middle": Fault(hang_midway, "Once upon a time", "provider_timeout", "stopped answering", "hesitant"),
    "sends a web page": Fault(send_html, "", "provider_garbage", "could not be understood"),
    "babbles": Fault(babble, "Once", "provider_garbage", "could not be understood"),
    "sends bytes that are no text": Fault(send_binary, "Once", "provider_garbage", "could not be understood"),
    "sends half a surrogate pair": Fault(send_half_a_pair, "Once", "provider_garbage", "could not be understood"),
    "ends without an end": Fault(cut_short, "Once upon a time", "provider_garbage", "hung up"),
    "dies in the middle": Fault(die, "Once upon a time", "provider_garbage", "hung up"),
    "dies at once": Fault(die_at_once, "", "provider_garbage", "hung up"),
    "reports an error inside a 200": Fault(report_an_error, "Once", "provider_rejected", "out of memory"),
    "reports an error with a NUL": Fault(report_nul, "Once", "provider_rejected", "broken"),
}


@pytest.mark.parametrize("assistant", [PATIENCE], indirect=True)
async def test_provider_that_fails_ends_its_message_alone(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Whatever the provider does, the message ends as an error with its partial text, says why, is logged, and the next works."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        await stream.until_type("stream.ready")
        for name, fault in FAULTS.items():
            upstream.script = fault.act
            with capture_logs() as logs:
                reply = await ask(ada, conversation, name, model=f"{fault.provider}/scripted")
                ends = await until_done(stream, reply)
            message = await read(ada, reply)
            assert (name, message["status"], message["finish_reason"]) == (name, "error", "error")
            assert (name, message["content"], stream.text_of(reply)) == (name, fault.kept, fault.kept)
            assert (name, message["error"]["code"]) == (name, fault.code)
            assert fault.told in message["error"]["message"], name
            assert [kind for kind, _ in ends] == ["message.done", "error"], name
            assert ends[0][1]["finish_reason"] == "error"
            assert ends[0][1]["chunks"] == message["next_idx"]
            assert ends[1][1] == {**message["error"], "message_id": reply, "attempt": 1}
            failures = [line for line in logs if line["event"] == "provider_failed" and line["message_id"] == reply]
            assert [line["code"] for line in failures] == [fault.code], name
            assert ": " not in failures[0]["reason"], "an upstream's own words may quote the conversation"
            upstream.script = lambda call: call.answer("Yes.")
            assert await _answer(ada, conversation, stream) == "Yes."


async def _answer(person: Person, conversation: str, stream: Any) -> str:
    reply = await ask(person, conversation, "Do you still work?")
    await until_done(stream, reply)
    message = await read(person, reply)
    assert (message["status"], message["finish_reason"], message["error"]) == ("complete", "stop", None)
    return str(message["content"])


ODD_USAGES: dict[str, Any] = {
    "negative": {"prompt_tokens": -5, "completion_tokens": -1},
    "beyond 32 bits": {"prompt_tokens": 2**31, "completion_tokens": 2**40},
    "beyond 32 bits in total": {"prompt_tokens": 2**31 - 1, "completion_tokens": 2**31 - 1},
    "beyond 64 bits": {"prompt_tokens": 2**80, "completion_tokens": 1},
    "booleans": {"prompt_tokens": True, "completion_tokens": False},
    "texts": {"prompt_tokens": "7", "completion_tokens": "8"},
    "half": {"prompt_tokens": 7},
    "nothing": {},
}


async def test_odd_usage_costs_nobody_anything(ada: Person, upstream: ScriptedOpenAI) -> None:
    """Token counts that cannot be are left out; the reply is complete, and so is the next."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        for name, usage in ODD_USAGES.items():
            upstream.script = lambda call, usage=usage: call.answer("Yes.", usage)  # type: ignore[misc]
            reply = await ask(ada, conversation, name)
            await until_done(stream, reply)
            message = await read(ada, reply)
            assert (name, message["status"], message["content"], message["usage"]) == (name, "complete", "Yes.", None)
    upstream.script = lambda call: call.answer("Yes.", {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
    assert (await ada.get("/readyz")).status_code == 200


async def test_usage_and_model_are_told(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A reply's usage and model are the same in its last event and in the message."""
    upstream.script = lambda call: call.answer("Yes.", {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = await ask(ada, conversation, "Hello?")
        ((_, done),) = await until_done(stream, reply)
    message = await read(ada, reply)
    assert message["usage"] == done["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert message["model"] == done["model"] == "scripted"


async def test_nul_in_a_reply_is_shown_as_a_replacement(ada: Person, upstream: ScriptedOpenAI) -> None:
    """PostgreSQL's text has no NUL; a reply does not fail over one."""
    upstream.script = lambda call: call.answer("a\0b")
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = await ask(ada, conversation, "Hello?")
        await until_done(stream, reply)
    assert (await read(ada, reply))["content"] == "a\ufffdb"


async def test_model_that_has_gone_is_an_error_that_says_so(
    ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection
) -> None:
    """A model that nobody has any more when its turn comes ends in an error naming it; the next message works."""
    upstream.script = lambda call: call.answer("Yes.")
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = await owner.fetchval(
            """select answer -> 'generation' ->> 'message_id'
               from rustygpt_api.post_message($1, $2, null, 'Hello?', 'no-such-model', null, null)""",
            UUID(ada.id),
            UUID(conversation),
        )
        assert await _answer(ada, conversation, stream) == "Yes."
        await until_done(stream, reply)
    message = await read(ada, reply)
    assert (message["status"], message["error"]["code"], message["model"]) == ("error", "provider_rejected", "no-such-model")
    assert "no-such-model" in message["error"]["message"]


@pytest.mark.parametrize("assistant", [{"max_reply_bytes": 1_024}], indirect=True)
async def test_reply_without_end_is_cut_at_its_limit(ada: Person, upstream: ScriptedOpenAI) -> None:
    """A model that never stops is stopped at assistant.max_reply_bytes: `length`, and its connection is closed."""
    conversation = await ada.make_conversation()
    reply = await ask(ada, conversation, "Go on for ever.")
    call = await upstream.next_call()
    async with ada.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        while not call.gone.is_set():
            try:
                await call.say("word " * 20)
            except ConnectionError:
                await call.until_gone()
        await until_done(stream, reply)
    message = await read(ada, reply)
    assert (message["status"], message["finish_reason"]) == ("complete", "length")
    assert 1_024 < len(message["content"]) <= 1_124


DEFECT = """
create function rustygpt.refuse_done() returns trigger language plpgsql as $$ begin raise exception 'a defect'; end $$;
create trigger refuse_done before update on rustygpt.generations for each row when (new.state = 'done')
execute function rustygpt.refuse_done();
"""


@pytest.fixture
def busy_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that looks for work and for orphans all the time; to be asked for before the site."""
    for name in ("REAP_SECONDS", "MAX_REAP_SECONDS", "POLL_SECONDS"):
        monkeypatch.setattr(runner, name, 0.02, raising=False)


async def test_defect_costs_one_reply(
    busy_reaper: None, ada: Person, upstream: ScriptedOpenAI, owner: asyncpg.Connection
) -> None:
    """A reply whose last word cannot be written is logged and closed by the reaper with its text; the runner goes on."""
    await owner.execute(DEFECT)
    upstream.script = lambda call: call.answer("Yes.")
    conversation = await ada.make_conversation()
    with capture_logs() as logs:
        message = await until_status(ada, await ask(ada, conversation, "Hello?"), "interrupted")
    assert (message["content"], message["error"]["code"]) == ("Yes.", "generation_interrupted")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["generation_crashed"]
    await owner.execute("drop trigger refuse_done on rustygpt.generations")
    assert (await until_status(ada, await ask(ada, conversation, "And now?"), "complete"))["content"] == "Yes."
