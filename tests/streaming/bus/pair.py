"""Two applications, A and B, on one database. A runs the models; B claims nothing, but closes what others leave open."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from rustygpt.settings import Settings
from tests.assistant.exchange import until
from tests.person import DEADLINE_SECONDS, Event, Person
from tests.scripted_openai import ScriptedOpenAI
from tests.site import Site, serving, settings_for

HEARTBEAT_SECONDS = 0.5
SECRET_KEY = "the same on every process, 32 characters"


@dataclass(frozen=True, slots=True)
class Pair:
    """Both applications, and Ada, the first administrator, at each of them."""

    a: Site
    b: Site
    ada: Person
    ada_at_b: Person


def settings_of(
    folder: Path,
    bus: Mapping[str, str],
    upstream: ScriptedOpenAI,
    *,
    lease_seconds: float = 60,
    assistant: Mapping[str, Any] | None = None,
    **sse: Any,
) -> Settings:
    """Settings of one process. Its leases outlast any pause of a busy machine, unless they are what is tested."""
    lease = {"lease_seconds": lease_seconds, "lease_heartbeat_seconds": HEARTBEAT_SECONDS}
    provider = {"kind": "openai", "name": "scripted", "base_url": upstream.base_url, "models": ("scripted",)}
    tables = {"providers": (provider,), "shutdown_grace_seconds": 1, **lease, **(assistant or {})}
    return settings_for(folder, bus=bus, secret_key=SECRET_KEY, sse=sse, assistant=tables)


@asynccontextmanager
async def serving_pair(
    dsn: str, folder: Path, bus: Mapping[str, str], upstream: ScriptedOpenAI, *, is_ready: bool = True, **sse: Any
) -> AsyncIterator[Pair]:
    """Serve both until the block ends. *is_ready*: not before they hear each other."""
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(serving(settings_of(folder / "a", bus, upstream, **sse), dsn))
        b = await stack.enter_async_context(serving(settings_of(folder / "b", bus, upstream, **sse), dsn))
        only_reap(b)
        for site in (a, b) if is_ready else ():
            await until_ready(site.url)
        ada = await Person(a.url).set_up("Ada")
        stack.push_async_callback(ada.close)
        ada_at_b = at(b.url, ada)
        stack.push_async_callback(ada_at_b.close)
        yield Pair(a, b, ada, ada_at_b)


def only_reap(site: Site) -> None:
    """Let an application claim no generation, so that the other one is known to run them."""
    site.application._parts.runner.begin_drain()


def at(url: str, person: Person) -> Person:
    """The same person, with the same session, at another process."""
    other = Person(url)
    other.id, other.email = person.id, person.email
    other.client.cookies.update(person.client.cookies)
    return other


async def missing(url: str) -> list[str]:
    """What /readyz misses."""
    async with httpx2.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS) as client:
        return list((await client.get("/readyz")).json().get("missing", []))


async def until_ready(url: str) -> None:
    """Wait until /readyz misses nothing, the bus included."""

    async def is_ready() -> bool:
        return not await missing(url)

    await until(is_ready)


async def reconnects(url: str) -> float:
    """bus_reconnects_total of a process."""
    async with httpx2.AsyncClient(base_url=url, timeout=DEADLINE_SECONDS) as client:
        text = (await client.get("/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("bus_reconnects_total "))


def assert_unbroken(events: Sequence[Event]) -> None:
    """Each position once, in order, each naming the one before it."""
    positions = [event.position for event in events]
    assert positions == sorted(set(positions))
    assert [event.body["prev"] for event in events[1:]] == positions[:-1]
