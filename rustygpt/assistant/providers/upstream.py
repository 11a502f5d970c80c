"""The HTTP side of a provider: one client, three deadlines, and every failure as a ProviderError fit for the user's eyes.

Nothing that an upstream says is trusted: bodies and lines are bounded, and no message ever holds the key. Closing the
response closes the socket, which is how an upstream learns that nobody wants the rest.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import orjson

from rustygpt.assistant.providers.base import (
    ProviderContextExceeded,
    ProviderError,
    ProviderGarbage,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnreachable,
)

MAX_EVENT_BYTES = 1_048_576
"""Longest line or event that is read; a delta is some tens of bytes."""
MAX_LIST_BYTES = 8_388_608
MAX_ERROR_BYTES = 65_536
MAX_MESSAGE_CHARACTERS = 400
KEEP_ALIVE_SECONDS = 4.0
"""Below the 5 s after which llama.cpp, uvicorn and Node close an idle connection: a reused one is never just being closed."""

T = TypeVar("T")
_KEY_LIKE = re.compile(r"\b(?:sk|pk|gsk|key|xai)-[\w*.-]{6,}")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for the connection, for the first token, and between two signs of life after it."""

    connect_seconds: float = 5.0
    first_token_seconds: float = 120.0
    idle_seconds: float = 60.0


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
        async with self._send("GET", path, None) as response:
            return self.parse(await self._read(response, MAX_LIST_BYTES))

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, object], first_token_at: float) -> AsyncIterator[httpx2.Response]:
        """Send *body* as JSON and yield the open 200 response; *first_token_at* is a deadline of the loop's clock.

        Raises ProviderError, also for what goes wrong while the block reads the response.
        """
        async with self._send("POST", path, body, first_token_at) as response:
            yield response

    async def next_of(self, items: AsyncGenerator[T], before: float) -> T | None:
        """Return the next item, or None at the end. Raises ProviderTimeout at *before*, on the loop's clock."""
        try:
            async with asyncio.timeout_at(before):
                return await anext(items, None)
        except TimeoutError:
            raise ProviderTimeout(f"{self.name} stopped answering.") from None

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
        details = error if isinstance(error, Mapping) else {}
        said = details.get("message") if details else error
        text = " ".join(said.split()) if isinstance(said, str) else ""
        if self._api_key:
            text = text.replace(self._api_key, "[key]")
        text = _KEY_LIKE.sub("[key]", text)
        if len(text) > MAX_MESSAGE_CHARACTERS:
            text = text[: MAX_MESSAGE_CHARACTERS - 1] + "…"
        if {"exceed_context_size_error", "context_length_exceeded"} & {details.get("type"), details.get("code")}:
            length, room = details.get("n_prompt_tokens"), details.get("n_ctx")  # llama.cpp tells, others only write
            said = f"it has {length} tokens, and there is room for {room}." if length and room else f"{self.name} said: {text}"
            return ProviderContextExceeded(f"The conversation is too long for this model: {said}")
        reason = f"answered with status {status}" if status != httpx2.codes.OK else "reported an error"
        return ProviderRejected(f"{self.name} {reason}: {text}" if text else f"{self.name} {reason}.")

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, body: Mapping[str, object] | None, before: float | None = None
    ) -> AsyncIterator[httpx2.Response]:
        if self._client is None:
            raise RuntimeError(f"provider {self.name} is not open")
        if not _is_usable(self._base_url):
            raise ProviderUnreachable(f"{self.name} has an address that cannot be used.")
        try:
            request = self._client.build_request(method, path, json=body)
            async with asyncio.timeout_at(before):
                response = await self._client.send(request, stream=True)
        except TimeoutError:
            raise ProviderTimeout(f"{self.name} did not begin to answer in time.") from None
        except httpx2.HTTPError as error:
            raise self._failure(error) from None
        try:
            if response.status_code != httpx2.codes.OK:
                raise await self._refused(response)
            yield response
        except httpx2.HTTPError as error:
            raise self._failure(error) from None
        finally:
            await response.aclose()

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
                return ProviderTimeout(f"{self.name} stopped answering.")
            case httpx2.SSEError() | httpx2.DecodingError():
                return self.garbage()
            case _:
                return self.hung_up()


def _is_usable(base_url: str) -> bool:
    """Say whether this is an http(s) address with a host and a possible port; some clients only find out when they connect."""
    try:
        parts = urlsplit(base_url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and bool(httpx2.URL(base_url).host)
    except (ValueError, httpx2.InvalidURL):
        return False
