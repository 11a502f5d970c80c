"""The HTTP side of a provider: one client, three deadlines, and every failure as a ProviderError fit for the user's eyes.

Nothing that an upstream says is trusted: bodies and lines are bounded, and no message ever holds the key. Closing the
response closes the socket, which is how an upstream learns that nobody wants the rest. A request is only ever repeated while no
answer has begun.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx2
import orjson

from rustygpt.assistant.providers import refusals
from rustygpt.assistant.providers.base import (
    ProviderError,
    ProviderGarbage,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)
from rustygpt.assistant.providers.reading import Watch

MAX_EVENT_BYTES: Final = 1_048_576
"""Longest line or event that is read; a delta is some tens of bytes."""
MAX_LIST_BYTES: Final = 8_388_608
MAX_VECTORS_BYTES: Final = 134_217_728
"""Two thousand texts of 3 072 dimensions at some 20 characters a number."""
MAX_ERROR_BYTES: Final = 65_536
LAST_CHUNK_SECONDS: Final = 0.1
KEEP_ALIVE_SECONDS: Final = 4.0
"""Below the 5 s after which llama.cpp, uvicorn and Node close an idle connection: a reused one is never just being closed."""
RETRY_STATUSES: Final = frozenset({429, 500, 502, 503, 504, 529})
RETRY_SECONDS: Final = 0.25
MAX_RETRY_AFTER_SECONDS: Final = 5.0
"""An upstream that wants a longer pause is as good as refusing."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for the connection, for the first token, and between two signs of life after it.

    `retries`: how often a request is repeated that was refused for the moment, or could not be sent.
    """

    connect_seconds: float = 5.0
    first_token_seconds: float = 120.0
    idle_seconds: float = 60.0
    retries: int = 2


class Upstream:
    """One server that speaks HTTP. `name` is what users are told it is called; its address and its key they never see."""

    def __init__(self, name: str, base_url: str, api_key: str = "", patience: Patience | None = None) -> None:
        self.name = name
        self.patience = patience or Patience()
        self._base_url = base_url
        self._api_key = api_key
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        """Make the client; nothing is sent yet. Safe to call twice."""
        if self._client is None:
            # identity: an intermediary that compresses an event stream also holds it back.
            headers = {"Accept-Encoding": "identity", "User-Agent": "rustygpt"}
            if self._api_key:
                headers["Authorization"] = f"Bearer {self._api_key}"
            self._client = httpx2.AsyncClient(
                base_url=self._base_url,
                headers=headers,
                verify=self._base_url.startswith("https:"),
                timeout=httpx2.Timeout(30.0, connect=self.patience.connect_seconds, read=None, pool=None),
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE_SECONDS),
                trust_env=not self._base_url.startswith(("http://127.", "http://localhost", "http://[::1]")),
            )

    async def close(self) -> None:
        """Close every connection. Safe to call twice."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def get(self, path: str) -> object:
        """Fetch a JSON document of at most 8 MiB. The caller sets the deadline. Raises ProviderError."""
        async with self._answer("GET", path, None) as response:
            return self.parse(await self._read(response, MAX_LIST_BYTES))

    async def ask(self, path: str, body: Mapping[str, object], max_bytes: int = MAX_LIST_BYTES) -> object:
        """Send *body* as JSON and return the whole answer, within first_token_seconds. Raises ProviderError."""
        watch = self.watch()
        try:
            async with self.post(path, body, watch) as response:
                return self.parse(await self.wait(watch, self._read(response, max_bytes)))
        finally:
            watch.stop()

    async def delete(self, path: str, body: Mapping[str, object]) -> None:
        """Ask for something to be deleted, with *body* as JSON. Not tried again. Raises ProviderError."""
        try:
            async with asyncio.timeout(self.patience.first_token_seconds), self._answer("DELETE", path, body):
                pass
        except TimeoutError:
            raise ProviderTimeout(f"{self.name} stopped answering.") from None

    def watch(self) -> Watch:
        """Begin a wait for a first token. Whoever takes it stops it."""
        return Watch(self.patience.first_token_seconds)

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, object], watch: Watch) -> AsyncIterator[httpx2.Response]:
        """Send *body* as JSON and yield the open 200 response. What fails before its head came is tried again a few times.

        Raises ProviderError, also for what goes wrong while the block reads the response.
        """
        async with self._answer("POST", path, body, watch) as response:
            yield response

    async def wait(self, watch: Watch, wanted: Awaitable[T]) -> T:
        """Wait for something of the upstream's. Raises ProviderTimeout."""
        try:
            return await watch.wait(wanted)
        except TimeoutError:
            raise self.stopped() from None

    async def require_events(self, response: httpx2.Response, watch: Watch) -> None:
        """Raise what a 200 means that is no event stream: the error that it holds, else garbage, such as a page."""
        if "event-stream" not in response.headers.get("content-type", "event-stream"):
            answer = self.parse(await self.wait(watch, self._read(response, MAX_ERROR_BYTES)))
            error = answer.get("error") if isinstance(answer, Mapping) else None
            raise self.rejection(error) if error else self.garbage()

    async def read_out(self, watch: Watch, chunks: AsyncIterator[object]) -> None:
        """Read the end of a body whose last word has come: the connection is then used again. What does not end is cut."""
        watch.restart(LAST_CHUNK_SECONDS)
        with suppress(TimeoutError, httpx2.HTTPError, StopAsyncIteration):
            while True:
                await watch.wait(anext(chunks))

    def stopped(self) -> ProviderTimeout:
        """Say that nothing came for too long."""
        return ProviderTimeout(f"{self.name} stopped answering.")

    def parse(self, data: bytes | str) -> object:
        """Parse JSON. Raises ProviderGarbage."""
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            raise self.garbage() from None

    def garbage(self) -> ProviderGarbage:
        """Say that what came is not the protocol."""
        return ProviderGarbage(f"{self.name} sent something that could not be understood.")

    def hung_up(self) -> ProviderGarbage:
        """Say that the answer broke off."""
        return ProviderGarbage(f"{self.name} hung up before the end of its answer.")

    def rejection(self, error: object, status: int = 200) -> ProviderRejected:
        """Turn an upstream's error (text, or a mapping with `message` and `type`) into ours, without keys and of bounded length."""
        return refusals.rejection(self.name, error, status, secret=self._api_key)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: Mapping[str, object] | None, watch: Watch | None = None
    ) -> AsyncIterator[httpx2.Response]:
        response = await self._send(method, path, body, watch)
        try:
            yield response
        except httpx2.HTTPError as error:
            raise self._failure(error) from None
        finally:
            await response.aclose()

    async def _send(self, method: str, path: str, body: Mapping[str, object] | None, watch: Watch | None) -> httpx2.Response:
        """Return an open 200 response. Lists are not tried again here: whoever asks for them does so anyway."""
        if not _is_usable(self._base_url):
            raise ProviderUnreachable(f"{self.name} has an address that cannot be used.")
        loop = asyncio.get_running_loop()
        attempts = self.patience.retries if watch is not None else 0
        for attempt in range(attempts + 1):
            try:
                return await self._send_once(method, path, body, watch)
            except (ProviderUnreachable, _Refused, _Unanswered) as error:
                pause = RETRY_SECONDS * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load, keeps no secret
                retry_after = error.retry_after if isinstance(error, _Refused) else 0.0
                is_last = attempt == attempts or retry_after > MAX_RETRY_AFTER_SECONDS
                if is_last or (watch is not None and loop.time() + pause > watch.before):
                    raise (error if isinstance(error, ProviderUnreachable) else error.told) from None
                await asyncio.sleep(max(pause, retry_after))
        raise AssertionError("unreachable")

    async def _send_once(self, method: str, path: str, body: Mapping[str, object] | None, watch: Watch | None) -> httpx2.Response:
        """Raises _Refused and _Unanswered for what may be tried again, else ProviderError."""
        if self._client is None:
            raise RuntimeError(f"provider {self.name} is not open")
        try:
            sending = self._client.send(self._client.build_request(method, path, json=body), stream=True)
            response = await (watch.wait(sending) if watch is not None else sending)
        except TimeoutError:
            raise ProviderTimeout(f"{self.name} did not begin to answer in time.") from None
        except httpx2.RemoteProtocolError as error:
            raise _Unanswered(self._failure(error)) from None
        except httpx2.HTTPError as error:
            raise self._failure(error) from None
        if response.status_code == httpx2.codes.OK:
            return response
        try:
            told = await self._refused(response)
        finally:
            await response.aclose()
        if response.status_code in RETRY_STATUSES:
            raise _Refused(told, refusals.retry_after_seconds(response.headers.get("retry-after")))
        raise told

    async def _refused(self, response: httpx2.Response) -> ProviderError:
        status = response.status_code
        try:
            async with asyncio.timeout(self.patience.connect_seconds):
                body = orjson.loads(await self._read(response, MAX_ERROR_BYTES))
        except (orjson.JSONDecodeError, ProviderGarbage, httpx2.HTTPError, TimeoutError):
            body = None
        return self.rejection(body.get("error", body.get("detail")) if isinstance(body, Mapping) else None, status)

    async def _read(self, response: httpx2.Response, limit: int) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > limit:
                raise self.garbage()
        return bytes(content)

    def _failure(self, error: Exception) -> ProviderError:
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.ProxyError():
                return ProviderUnreachable(f"The provider {self.name} cannot be reached.")
            case httpx2.TimeoutException():
                return self.stopped()
            case httpx2.DecodingError():
                return self.garbage()
            case _:
                return self.hung_up()


def body_of(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Return the pieces of a body as they come; decoded only where an intermediary has compressed it all the same.

    The transport's own stream, not `aiter_raw`: one generator less for each token.
    """
    if "content-encoding" in response.headers or not isinstance(response.stream, httpx2.AsyncByteStream):
        return response.aiter_bytes()
    return aiter(response.stream)


class _Unanswered(Exception):
    """The connection ended before the answer's head: most often a kept one that was just being closed."""

    def __init__(self, told: ProviderError) -> None:
        self.told = told


class _Refused(Exception):
    """Refused for the moment."""

    def __init__(self, told: ProviderError, retry_after: float) -> None:
        self.told = told
        self.retry_after = retry_after


def _is_usable(base_url: str) -> bool:
    """Say whether this is an http(s) address with a host and a possible port; some clients only find out when they connect."""
    try:
        parts = urlsplit(base_url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and bool(httpx2.URL(base_url).host)
    except (ValueError, httpx2.InvalidURL):
        return False
