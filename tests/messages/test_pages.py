"""Lists of messages and threads come in pages: nothing lost, nothing twice, whoever writes meanwhile."""

import itertools
from typing import Any

from tests.person import Person


async def page(person: Person, path: str, **query: Any) -> dict[str, Any]:
    """Fetch one page; a query of None is left out."""
    answer = await person.get(path, params={key: str(value) for key, value in query.items() if value is not None})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def contents(person: Person, path: str, **query: Any) -> list[list[str]]:
    """Return the contents of all pages."""
    pages, cursor = [], None
    while cursor is not None or not pages:
        answer = await page(person, path, cursor=cursor, **query)
        pages.append([item["content"] for item in answer["items"]])
        cursor = answer["next_cursor"]
    return pages


async def _thread(person: Person, count: int) -> tuple[str, str]:
    """Make a thread of *count* messages, "1" to *count*; return the ids of the conversation and the root."""
    conversation = await person.make_conversation(assistant_mode="off")
    root = (await person.say(conversation, "1"))["message_id"]
    for number in range(2, count + 1):
        await person.say(conversation, str(number), parent_id=root)
    return conversation, root


async def test_pages_add_up_in_every_direction(ada: Person) -> None:
    """Newest first in the conversation, forward and backward in the thread: the pages are the whole, full but for the last."""
    conversation, root = await _thread(ada, 7)
    ascending = [str(number) for number in range(1, 8)]
    lists: tuple[tuple[str, dict[str, str], list[str]], ...] = (
        (f"/api/conversations/{conversation}/messages", {}, ascending[::-1]),
        (f"/api/threads/{root}/tree", {}, ascending),
        (f"/api/threads/{root}/tree", {"direction": "forward"}, ascending),
        (f"/api/threads/{root}/tree", {"direction": "backward"}, ascending[::-1]),
    )
    for (path, query, expected), limit in itertools.product(lists, (1, 3, 7, 8)):
        pages = await contents(ada, path, limit=limit, **query)
        assert [content for part in pages for content in part] == expected
        assert [len(part) for part in pages[:-1]] == [limit] * (len(pages) - 1)
        assert pages[-1]


async def test_around_shows_a_message_among_its_neighbours(ada: Person) -> None:
    """?around= centres the page on a message, in either direction, also at both ends, and its cursor goes on from there."""
    _, root = await _thread(ada, 9)
    path = f"/api/threads/{root}/tree"
    by_content = {item["content"]: item["id"] for item in (await page(ada, path))["items"]}
    for middle, forward, backward in (("5", "3456", "7654"), ("1", "1234", "321"), ("9", "789", "9876"), ("2", "1234", "4321")):
        for direction, expected in (("forward", forward), ("backward", backward)):
            answer = await page(ada, path, around=by_content[middle], limit=4, direction=direction)
            assert "".join(item["content"] for item in answer["items"]) == expected, (middle, direction)
    first = await page(ada, path, around=by_content["5"], limit=4)
    following = await page(ada, path, cursor=first["next_cursor"], limit=4)
    assert "".join(item["content"] for item in following["items"]) == "789"
    alone = await page(ada, path, around=by_content["5"], limit=1, direction="backward")
    assert [item["content"] for item in alone["items"]] == ["5"]


async def test_cursor_of_one_thread_is_refused_by_another(ada: Person) -> None:
    """A tree's cursor belongs to its thread and its direction."""
    _, root = await _thread(ada, 3)
    _, other = await _thread(ada, 3)
    cursor = (await page(ada, f"/api/threads/{root}/tree", limit=1))["next_cursor"]
    for path in (f"/api/threads/{other}/tree?cursor={cursor}", f"/api/threads/{root}/tree?direction=backward&cursor={cursor}"):
        assert (await ada.get(path)).status_code == 400


async def test_messages_page_while_others_post(ada: Person, bob: Person) -> None:
    """Older pages are the older messages, each once, however much is said meanwhile; the events after the first cursor are the rest."""
    conversation, root = await _thread(ada, 10)
    await ada.add(conversation, bob)
    path = f"/api/conversations/{conversation}/messages"
    seen: list[str] = []
    forward: list[str] = []
    newest = await page(ada, path, limit=3)
    cursor, tree_cursor, number = newest["next_cursor"], None, 10
    seen += [item["content"] for item in newest["items"]]
    while cursor is not None:
        number += 1
        await bob.say(conversation, str(number), parent_id=root)
        part = await page(ada, path, limit=3, cursor=cursor)
        seen += [item["content"] for item in part["items"]]
        cursor = part["next_cursor"]
        part = await page(ada, f"/api/threads/{root}/tree", limit=4, cursor=tree_cursor)
        forward += [item["content"] for item in part["items"]]
        tree_cursor = part["next_cursor"]
    while tree_cursor is not None:
        part = await page(ada, f"/api/threads/{root}/tree", limit=4, cursor=tree_cursor)
        forward += [item["content"] for item in part["items"]]
        tree_cursor = part["next_cursor"]
    assert seen == [str(n) for n in range(10, 0, -1)]
    assert forward == [str(n) for n in range(1, number + 1)]
    async with ada.stream(f"/api/stream/conversations/{conversation}?last_event_id={newest['stream_cursor']}") as stream:
        await stream.until(lambda r: len([e for e in r.events if e.type == "message.created"]) == number - 10)
        told = [e.payload["message"]["content"] for e in stream.events if e.type == "message.created"]
    assert told == [str(n) for n in range(11, number + 1)]


async def test_threads_by_last_activity(ada: Person, bob: Person) -> None:
    """Threads come most recently active first, with their counts, and page without doubles while an old one moves to the front."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    roots = [(await ada.say(conversation, f"Thread {number} " + "x" * 300))["root_id"] for number in range(5)]
    path = f"/api/conversations/{conversation}/threads"
    first = await page(ada, path, limit=2)
    assert [item["root_id"] for item in first["items"]] == [roots[4], roots[3]]
    reply = await bob.say(conversation, "Up", parent_id=roots[0])
    rest = await page(ada, path, limit=4, cursor=first["next_cursor"])
    assert [item["root_id"] for item in rest["items"]] == [roots[2], roots[1]]
    top = (await page(ada, path, limit=1))["items"][0]
    assert (top["root_id"], top["message_count"], top["participant_count"], top["unread"]) == (roots[0], 2, 2, 1)
    assert (top["root_excerpt"], top["root_author"]["display_name"]) == (("Thread 0 " + "x" * 300)[:200], "Ada")
    message = (await ada.get(f"/api/messages/{reply['message_id']}")).json()
    assert top["last_activity_at"] == message["created_at"]


async def test_chunks_come_in_pages(ada: Person) -> None:
    """A reply's chunks are read from any number on, in order, each once, and joined they are its text."""
    conversation = await ada.make_conversation()
    async with ada.stream(f"/api/stream/conversations/{conversation}") as stream:
        reply = (await ada.say(conversation, "count to 2000"))["generation"]["message_id"]
        await stream.until_type("message.done")
        streamed = stream.text_of(reply)
    message = (await ada.get(f"/api/messages/{reply}")).json()
    start, text = 0, ""
    while start is not None:
        answer = await page(ada, f"/api/messages/{reply}/chunks", limit=2, **{"from": start})
        assert [chunk["idx"] for chunk in answer["items"]] == list(range(start, start + len(answer["items"])))
        text += "".join(chunk["content"] for chunk in answer["items"])
        start = int(answer["next_cursor"]) if answer["next_cursor"] is not None else None
    assert text == streamed == message["content"] == " ".join(str(n) for n in range(1, 2_001))
    assert (await page(ada, f"/api/messages/{reply}/chunks", **{"from": message["next_idx"]}))["items"] == []
