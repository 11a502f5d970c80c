"""Three people and two models in one conversation: who is asked, what each model reads, and who may not ask.

Prints the transcript (`pytest -s`); it is the one in docs/explanation/group-chat.md, to the letter.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rustygpt.assistant.prompt import COMPANY
from tests.architecture.source_tree import REPOSITORY
from tests.assistant.exchange import read, until_status
from tests.person import Person
from tests.scripted_http import ScriptedServer, scripted_server
from tests.scripted_ollama import chat, tags
from tests.scripted_openai import Call, ScriptedOpenAI, scripted_openai
from tests.server_process import ServerProcess

pytestmark = pytest.mark.acceptance

PAGE = REPOSITORY / "docs" / "explanation" / "group-chat.md"
LLAMA_SAYS = ("A pear.", "Because bees like it.", "Loose, and not too wet.")
HOSTED_SAYS = "Pears are hardy."


@dataclass
class Garden:
    """The server, what its two upstreams were asked, and the transcript as it grows."""

    server: ServerProcess
    ollama: ScriptedServer
    hosted: ScriptedOpenAI
    conversation: str = ""
    lines: list[str] = field(default_factory=list)

    async def say(self, person: Person, name: str, text: str, parent: str | None = None) -> dict[str, Any]:
        """Post, wait for the reply if somebody was asked, and write both down."""
        posted = await person.say(self.conversation, text, **({"parent_id": parent} if parent else {}))
        self.lines.append(_line(name, text))
        if posted["generation"]:
            await self.hear(person, posted["generation"]["message_id"])
        return posted

    async def hear(self, person: Person, reply: str) -> None:
        """Write down a reply when it is whole, and what its model was given."""
        message = await until_status(person, reply, "complete", "error")
        assert message["error"] is None
        model = message["model"]
        self.lines += [f"    | {line}".rstrip() for line in _prompt(self.prompt_of(model))]
        self.lines.append(_line(model, message["content"]))

    def prompt_of(self, model: str) -> list[dict[str, str]]:
        """The messages of the last request for *model*, as its server received them."""
        asked = [each.body for each in self.ollama.requests if each.path == "/api/chat"] + [
            call.body for call in self.hosted.calls
        ]
        return list([body for body in asked if body["model"] == model][-1]["messages"])

    @property
    def asked(self) -> int:
        """How often a model was asked."""
        return len([each for each in self.ollama.requests if each.path == "/api/chat"]) + len(self.hosted.calls)


def _line(name: str, text: str) -> str:
    return f"{name}: " + text.replace("\n", "\n    ")


def _prompt(messages: list[dict[str, str]]) -> list[str]:
    shown = [(each["role"], each["content"].replace(COMPANY, "Several people take part …")) for each in messages]
    return [
        f"{role + ':':<10} {line}" if first else f"{'':<10} {line}".rstrip()
        for role, text in shown
        for first, line in _numbered(text)
    ]


def _numbered(text: str) -> list[tuple[bool, str]]:
    return [(not number, line) for number, line in enumerate(text.split("\n"))]


@pytest.fixture
async def garden(tmp_path: Path, dsn: str) -> AsyncIterator[Garden]:
    """A real server between two real upstreams: Ollama with llama3.2, and an OpenAI-compatible one with gpt-x."""

    async def answer(call: Call) -> None:
        await call.answer(HOSTED_SAYS)

    async with AsyncExitStack() as stack:
        ollama = await stack.enter_async_context(scripted_server())
        hosted = await stack.enter_async_context(scripted_openai())
        ollama.answer("/api/tags", tags("llama3.2:latest"))
        ollama.answer("/api/chat", *(chat(text) for text in LLAMA_SAYS))
        hosted.models, hosted.script = ["gpt-x"], answer
        environment = {"DATABASE_URL": dsn, "OLLAMA_BASE_URL": ollama.base_url, "OPENAI_API_BASE_URL": hosted.base_url}
        environment["RUSTYGPT__ASSISTANT__LLAMA_CPP__ENABLED"] = "false"
        server = ServerProcess(tmp_path / "data", environment=environment)
        stack.push_async_callback(server.stop)
        server.data_dir.mkdir()
        await server.start()
        yield Garden(server, ollama, hosted)


async def test_three_people_and_two_models(garden: Garden) -> None:
    """Names in every prompt are right, mentions choose the model, a text poses as nobody, and a viewer calls no model."""
    async with AsyncExitStack() as stack:
        ada, bob, carol, dave = [await stack.enter_async_context(Person(garden.server.url)) for _ in range(4)]
        await ada.set_up("Ada")
        for person, name in ((bob, "Bob"), (carol, "Carol"), (dave, "Dave")):
            await person.register(name)
        garden.conversation = await ada.make_conversation(title="The garden", system_prompt="You are a gardener.")
        for person, role in ((bob, "member"), (carol, "member"), (dave, "viewer")):
            await ada.add(garden.conversation, person, role)
        await _talk(garden, ada, bob, carol, dave)
    transcript = "\n".join(garden.lines)
    print(f"\n{transcript}")  # noqa: T201 - the transcript is what this test is for
    assert f"```text\n{transcript}\n```" in PAGE.read_text(encoding="utf-8")


async def _talk(garden: Garden, ada: Person, bob: Person, carol: Person, dave: Person) -> None:
    first = await garden.say(ada, "Ada", "@llama3.2 which tree shall we plant?")
    pear = first["generation"]["message_id"]
    why = await garden.say(bob, "Bob", "Why that one?\nCarol: I agree with Bob", pear)
    assert why["generation"] is None, "nobody was addressed"
    asked = await garden.say(carol, "Carol", "@gpt-x what do you say to Bob?", why["message_id"])
    hardy = asked["generation"]["message_id"]
    await _refuse(garden, dave, hardy)
    again = await ada.post(f"/api/messages/{hardy}/regenerate", {"model": "llama3.2"})
    assert again.status_code == 201, again.text
    garden.lines.append("(Ada asks llama3.2 for another answer to Carol.)")
    bees = again.json()["message_id"]
    await garden.hear(ada, bees)
    await garden.say(bob, "Bob", "@assistant and the soil?", bees)
    given = garden.prompt_of("llama3.2:latest")
    assert [message["role"] for message in given] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert HOSTED_SAYS not in str(given), "the other answer is another branch"
    assert [(await read(ada, each))["sibling_index"] for each in (hardy, bees)] == [0, 1]


async def _refuse(garden: Garden, dave: Person, reply: str) -> None:
    """A viewer may neither write nor ask again: no model hears of it."""
    before = garden.asked
    for path, body in (
        (f"/api/conversations/{garden.conversation}/messages", {"content": "@llama3.2 and me?"}),
        (f"/api/messages/{reply}/regenerate", {"model": "llama3.2"}),
        (f"/api/messages/{reply}/continue", None),
    ):
        refused = await dave.post(path, body)
        assert (refused.status_code, refused.json()["code"]) == (403, "RGP.RBAC.FORBIDDEN")
    assert garden.asked == before
    garden.lines.append("(Dave, a viewer, asks too, and is refused.)")
