"""The comparison of answers and events with the API's description notices what it is for."""

import httpx2
import pytest

from tests.contract import examine_answer, examine_event
from tests.person import Person

EVENT = {"type": "stream.ready", "conversation_id": None, "prev": None, "at": None}


def answer(method: str, path: str, status: int, **options: object) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request(method, f"http://server{path}"), **options)


async def test_answers_are_compared(ada: Person) -> None:
    """A person's own client compares; a field too many, one too few, an unnamed status or type of body are each noticed."""
    good = (await ada.get("/api/setup")).json()
    assert ada.client.event_hooks["response"] == [examine_answer]
    await examine_answer(answer("GET", "/api/setup", 200, json=good))
    for bad in ({**good, "secret": 1}, {"oauth": [], "signup": True}):
        with pytest.raises(AssertionError, match="not as described"):
            await examine_answer(answer("GET", "/api/setup", 200, json=bad))
    with pytest.raises(AssertionError, match="is not described"):
        await examine_answer(answer("GET", "/api/setup", 418, json=good))
    with pytest.raises(AssertionError, match="text/plain"):
        await examine_answer(answer("GET", "/api/setup", 200, text="yes"))


def test_events_are_compared() -> None:
    """An event with a field too many is noticed."""
    payload = {"resumed": False, "cursor": "abcd-0", "heartbeat_seconds": 15.0}
    examine_event({**EVENT, "payload": payload})
    with pytest.raises(AssertionError, match="is not as described"):
        examine_event({**EVENT, "payload": {**payload, "more": 1}})
