"""Two server processes on one database that hear each other, and the same person at both."""

from dataclasses import dataclass

from tests.faults.conftest import MakeServer, People, bus_of
from tests.person import Person
from tests.server_process import ServerProcess
from tests.streaming.bus.pair import until_ready


@dataclass(frozen=True, slots=True)
class ServerPair:
    """Ada is `here`, at A, and `there`, at B, by the same session."""

    a: ServerProcess
    b: ServerProcess
    here: Person
    there: Person


async def start_pair(make_server: MakeServer, people: People, dsn: str, bus: dict[str, str], **settings: object) -> ServerPair:
    """Start both, and wait until they hear each other."""
    a, b = (make_server(name, dsn, **bus_of(bus), **settings) for name in ("a", "b"))
    for server in (a, b):
        await server.start()
    for server in (a, b):
        await until_ready(server.url)
    ada = await people.set_up(a)
    return ServerPair(a, b, ada, people.at(b.url, ada))
