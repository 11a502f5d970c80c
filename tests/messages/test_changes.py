"""Edit, delete, restore: who may, what everybody is told, and that nothing of a deleted text is answered any more."""

import asyncio
from typing import Any

from tests.person import Person, StreamReader
from tests.site import Site

CHANGES = ("message.edited", "message.deleted", "message.restored")
UNKNOWN = "00000000-0000-7000-8000-000000000000"


async def change(person: Person, deed: str, message: str, body: Any = None) -> dict[str, Any]:
    """Do something to a message and return the answer."""
    answer = await person.post(f"/api/messages/{message}/{deed}", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def read(person: Person, message: str) -> dict[str, Any]:
    answer = await person.get(f"/api/messages/{message}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def excerpt(person: Person, conversation: str) -> str:
    """What the list of threads shows of its only thread."""
    (thread,) = (await person.get(f"/api/conversations/{conversation}/threads")).json()["items"]
    return str(thread["root_excerpt"])


def told(stream: StreamReader) -> list[tuple[str, dict[str, Any]]]:
    return [(event.type, event.payload) for event in stream.logged if event.type in CHANGES]


async def test_edit_is_told_and_shown(ada: Person) -> None:
    """The new text and its time are in the answer, the event, the message and the thread's excerpt; the old one is nowhere there."""
    conversation = await ada.make_conversation(assistant_mode="off")
    posted = await ada.say(conversation, "Helo")
    async with ada.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        answer = await change(ada, "edit", posted["message_id"], {"content": "Hello"})
        await stream.until(told)
    message = await read(ada, posted["message_id"])
    assert answer == {
        "message_id": posted["message_id"],
        "root_id": posted["root_id"],
        "conversation_id": conversation,
        "content": "Hello",
        "edited_at": message["edited_at"],
    }
    assert told(stream) == [("message.edited", {key: answer[key] for key in ("message_id", "root_id", "content", "edited_at")})]
    assert (message["content"], await excerpt(ada, conversation)) == ("Hello", "Hello")
    assert message["edited_at"] > message["created_at"]


async def test_unchanged_text_is_no_edit(ada: Person) -> None:
    """The same text again answers the same and tells nobody, before a first edit and after one."""
    conversation = await ada.make_conversation(assistant_mode="off")
    posted = await ada.say(conversation, "Hello")
    message = posted["message_id"]
    assert (await change(ada, "edit", message, {"content": "Hello"}))["edited_at"] is None
    once = await change(ada, "edit", message, {"content": "Hi"})
    assert await change(ada, "edit", message, {"content": "Hi"}) == once
    async with ada.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        await stream.until(told)  # later it would be told as what it says by then
        await change(ada, "edit", message, {"content": "Bye"})
        await stream.until(lambda r: told(r) and told(r)[-1][1]["content"] == "Bye")
    assert [payload["content"] for _, payload in told(stream)] == ["Hi", "Bye"]


async def test_who_may_edit_what(ada: Person, bob: Person) -> None:
    """Only its author, while a member: not the owner of the conversation, not a viewer, and nobody the assistant's words."""
    conversation = await ada.make_conversation(assistant_mode="always")
    await ada.add(conversation, bob)
    posted = await bob.say(conversation, "Mine", model="demo")
    path, body = f"/api/messages/{posted['message_id']}/edit", {"content": "Yours"}
    assert (await ada.post(path, body)).json()["code"] == "RGP.RBAC.FORBIDDEN"
    for person in (ada, bob):
        answer = await person.post(f"/api/messages/{posted['generation']['message_id']}/edit", body)
        assert (answer.status_code, answer.json()["code"]) == (403, "RGP.RBAC.FORBIDDEN")
        assert "as the assistant" in answer.json()["detail"]
    await _make(ada, conversation, bob, "viewer")
    assert (await bob.post(path, body)).status_code == 403
    for content in ("", " \n", "x" * 200_001, None, 5):
        assert (await bob.post(path, {"content": content})).status_code == 422
    assert (await ada.post(f"/api/messages/{UNKNOWN}/edit", body)).status_code == 404
    assert (await ada.post("/api/messages/nonsense/edit", body)).status_code == 400
    assert (await read(ada, posted["message_id"]))["content"] == "Mine"


async def _make(owner: Person, conversation: str, person: Person, role: str) -> None:
    path = f"/api/conversations/{conversation}/participants/{person.id}"
    assert (await owner.request("PATCH", path, json={"role": role})).status_code == 200


async def test_deleted_text_is_nowhere_and_comes_back(ada: Person) -> None:
    """Deleting empties the message, the excerpt and the chunks; restoring brings the same text back; each twice is once."""
    conversation = await ada.make_conversation(assistant_mode="off")
    message = (await ada.say(conversation, "A secret"))["message_id"]
    async with ada.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        gone = await change(ada, "delete", message)
        assert await change(ada, "delete", message) == gone
        deleted = await read(ada, message)
        assert (deleted["content"], deleted["deleted_at"]) == ("", gone["deleted_at"])
        assert deleted["deleted_by"] == gone["deleted_by"] == {"id": ada.id, "display_name": "Ada"}
        assert await excerpt(ada, conversation) == ""
        edited = await ada.post(f"/api/messages/{message}/edit", {"content": "Other"})
        assert (edited.status_code, edited.json()["code"]) == (409, "RGP.CONFLICT")
        back = await change(ada, "restore", message)
        assert await change(ada, "restore", message) == back
        await stream.until(lambda r: len(told(r)) == 2)
    restored = await read(ada, message)
    assert (restored["content"], restored["deleted_at"], restored["deleted_by"]) == ("A secret", None, None)
    assert back["content"] == await excerpt(ada, conversation) == "A secret"
    assert told(stream) == [
        ("message.deleted", {key: gone[key] for key in ("message_id", "root_id", "deleted_at", "deleted_by")} | {"next_idx": 0}),
        ("message.restored", {key: back[key] for key in ("message_id", "root_id", "content")} | {"next_idx": 0}),
    ]


async def test_who_may_delete_and_restore(ada: Person, bob: Person) -> None:
    """A member their own only, owners and admins anybody's; what an admin deleted its author cannot bring back."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    hers, his = [(await person.say(conversation, "Hi"))["message_id"] for person in (ada, bob)]
    assert (await bob.post(f"/api/messages/{hers}/delete")).json()["code"] == "RGP.RBAC.FORBIDDEN"
    assert (await bob.post(f"/api/messages/{hers}/restore")).json()["code"] == "RGP.RBAC.FORBIDDEN"
    await change(bob, "delete", his)
    await change(ada, "restore", his)
    await change(ada, "delete", his)
    assert (await bob.post(f"/api/messages/{his}/restore")).status_code == 403
    await _make(ada, conversation, bob, "admin")
    await change(bob, "restore", his)
    await change(bob, "delete", hers)
    await _make(ada, conversation, bob, "viewer")
    assert (await bob.post(f"/api/messages/{his}/delete")).status_code == 403
    async with Person(str(ada.client.base_url)) as carol:
        await carol.register("Carol")
        for deed in ("delete", "restore"):
            assert (await carol.post(f"/api/messages/{his}/{deed}")).status_code == 404


async def test_what_an_office_does_to_others_is_audited(ada: Person, bob: Person) -> None:
    """An owner's deletion of somebody else's message is in the audit log, without its text; one's own is nobody's business."""
    conversation = await ada.make_conversation(assistant_mode="off")
    await ada.add(conversation, bob)
    hers, his = [(await person.say(conversation, "Words"))["message_id"] for person in (ada, bob)]
    for message in (hers, his):
        await change(ada, "delete", message)
    await change(ada, "restore", his)
    acts = (await ada.get("/api/admin/audit")).json()["items"]
    noted = [(act["action"], act["subject"], act["details"]) for act in acts if act["action"].startswith("message.")]
    details = {"conversation_id": conversation, "author_id": bob.id}
    assert noted == [("message.restored", his, details), ("message.deleted", his, details)]


async def test_racing_deletions_are_one(ada: Person, site: Site) -> None:
    """Ten that press at once get the same answer, and everybody is told once."""
    conversation = await ada.make_conversation(assistant_mode="off")
    message = (await ada.say(conversation, "Hi"))["message_id"]
    answers = await asyncio.gather(*(change(ada, "delete", message) for _ in range(10)))
    assert all(answer == answers[0] for answer in answers)
    async with ada.stream(f"/api/stream/conversations/{conversation}?since=0") as stream:
        await change(ada, "restore", message)
        await stream.until(lambda r: any(kind == "message.restored" for kind, _ in told(r)))
    assert [kind for kind, _ in told(stream)] == ["message.deleted", "message.restored"]
