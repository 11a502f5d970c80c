"""One attempt to download a file over http or https: redirects one by one, each to a checked address, and a body that is just bytes.

Proxies of the environment are not used: they would resolve names by themselves, and the check of addresses would be worth nothing.
Nothing is decompressed, so what arrives is what is written, and no few bytes become many.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import httpx2

from rustygpt.models.address import require_public, resolve
from rustygpt.models.failure import ModelFailure
from rustygpt.settings_models import ModelSettings

MAX_REDIRECTS: Final = 10
MAX_ADDRESSES: Final = 4
"""So many addresses of a host are tried in turn."""
LEAST_BYTES_PER_SECOND: Final = 1_024
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class RangeLost(Exception):
    """The server cannot go on where the part ends: it has to be begun anew."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """`offset` bytes are there already, sent under `validator`; `is_hf`: `url` was made of hf_base_url, so that address is trusted."""

    url: str
    offset: int
    validator: str | None
    is_hf: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose body is to be read: it begins at `offset` of a file of `total` bytes (None: not told).

    `sha256` is what the repository says of the file.
    """

    offset: int
    total: int | None
    validator: str | None
    sha256: str | None
    chunks: AsyncGenerator[bytes]


@asynccontextmanager
async def open_download(wanted: Wanted, settings: ModelSettings) -> AsyncIterator[Opened]:
    """Ask for the file, following redirects, and yield the answer. Raises ModelFailure and RangeLost, also while its body is read."""
    timeout = httpx2.Timeout(settings.connect_timeout_seconds, read=None, pool=None)
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=timeout) as client:
        exchange = _Exchange(client, wanted, settings)
        response = await exchange.follow()
        try:
            opened = exchange.read_head(response)
            async with aclosing(opened.chunks):
                yield opened
        except httpx2.HTTPError as error:
            raise _broken(error) from None
        finally:
            await response.aclose()


class _Exchange:
    """The requests that lead to one body."""

    def __init__(self, client: httpx2.AsyncClient, wanted: Wanted, settings: ModelSettings) -> None:
        self._client = client
        self._wanted = wanted
        self._settings = settings
        self._hf_origin = _origin(httpx2.URL(settings.hf_base_url))
        self._sha256: str | None = None

    async def follow(self) -> httpx2.Response:
        """Return the first answer that is no redirect."""
        url = _parse(self._wanted.url)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._ask(url)
            if self._wanted.is_hf and _origin(url) == self._hf_origin:
                digest = response.headers.get("x-linked-etag", "").strip('"').lower()
                self._sha256 = digest if re.fullmatch("[0-9a-f]{64}", digest) else self._sha256
            if response.status_code not in REDIRECTS:
                return response
            await response.aclose()
            url = _next(url, response.headers.get("location", ""))
        raise ModelFailure("source_garbage", f"The source redirects more than {MAX_REDIRECTS} times.")

    def read_head(self, response: httpx2.Response) -> Opened:
        """Judge an answer before its body is read."""
        headers, status = response.headers, response.status_code
        if status == 416 and self._wanted.offset:
            raise RangeLost
        if status not in (httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT):
            raise ModelFailure("source_refused", f"The source answers with status {status}.", is_passing=status in PASSING)
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in ("text/html", "application/xhtml+xml") or media_type.startswith("multipart/"):
            raise ModelFailure("source_garbage", f"The source answers with {media_type}, not with a file.")
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise ModelFailure("source_garbage", "The source sends the file compressed, though asked not to.")
        offset, total = 0, _length(headers.get("content-length"))
        if status == httpx2.codes.PARTIAL_CONTENT:
            offset, total = self._read_range(headers.get("content-range", ""))
        chunks = _chunks(response, self._settings.stall_seconds)
        return Opened(offset, total, _validator(headers), self._sha256, chunks)

    def _read_range(self, text: str) -> tuple[int, int | None]:
        match = CONTENT_RANGE.fullmatch(text.strip())
        if match is None or int(match[1]) != self._wanted.offset or not self._wanted.offset:
            raise RangeLost
        return int(match[1]), None if match[3] == "*" else int(match[3])

    async def _ask(self, url: httpx2.URL) -> httpx2.Response:
        """Send one request, to the first address of the host that takes the connection."""
        seconds = self._settings.connect_timeout_seconds
        addresses = await resolve(url.host, url.port or (443 if url.scheme == "https" else 80), timeout_seconds=seconds)
        is_own = self._wanted.is_hf and _origin(url) == self._hf_origin
        if not (is_own or self._settings.allow_private_addresses):
            addresses = require_public(url.host, addresses)
        failure = ModelFailure("source_unreachable", f"{url.host} cannot be reached.", is_passing=True)
        for address in addresses[:MAX_ADDRESSES]:
            request = self._request(url, address, is_own=is_own)
            try:
                async with asyncio.timeout(2 * seconds):  # to connect, and to begin an answer
                    return await self._client.send(request, stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
            except TimeoutError:
                raise ModelFailure("source_stalled", f"{url.host} does not answer.", is_passing=True) from None
            except httpx2.HTTPError as error:
                raise _broken(error) from None
        raise failure

    def _request(self, url: httpx2.URL, address: str, *, is_own: bool) -> httpx2.Request:
        headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "rustygpt", "Accept": "*/*"}
        if self._wanted.offset and self._wanted.validator:
            headers |= {"Range": f"bytes={self._wanted.offset}-", "If-Range": self._wanted.validator}
        token = self._settings.hf_token.get_secret_value()
        if is_own and token:
            headers["Authorization"] = f"Bearer {token}"
        # The address that was checked is the one that is connected to; TLS still wants the certificate of the host's name.
        return self._client.build_request(
            "GET", url.copy_with(host=address), headers=headers, extensions={"sni_hostname": url.raw_host.decode("ascii")}
        )


async def _chunks(response: httpx2.Response, stall_seconds: float) -> AsyncGenerator[bytes]:
    """Yield the body as it comes. Raises ModelFailure when too little does."""
    clock = asyncio.get_running_loop().time
    started_at, received = clock(), 0
    async with aclosing(response.aiter_raw()) as body:
        while True:
            try:
                async with asyncio.timeout(stall_seconds):
                    chunk = await anext(body, None)
            except TimeoutError:
                raise ModelFailure("source_stalled", "The source stopped sending.", is_passing=True) from None
            if chunk is None:
                return
            yield chunk
            received += len(chunk)
            if clock() - started_at >= stall_seconds:
                if received < stall_seconds * LEAST_BYTES_PER_SECOND:
                    raise ModelFailure("source_stalled", "The source sends less than a kilobyte a second.", is_passing=True)
                started_at, received = clock(), 0


def _parse(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise ModelFailure("source_garbage", "The address cannot be used.") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo:
        raise ModelFailure("address_refused", "The source leads to an address that is not plain http or https.")
    return url


def _next(url: httpx2.URL, location: str) -> httpx2.URL:
    """Return where a redirect leads."""
    try:
        target = url.join(location) if location else None
    except (httpx2.InvalidURL, ValueError):
        target = None
    if target is None:
        raise ModelFailure("source_garbage", "The source redirects to an address that cannot be used.")
    following = _parse(str(target))
    if url.scheme == "https" and following.scheme == "http":
        raise ModelFailure("address_refused", "The source leads from https to http.")
    return following


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _length(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,19}", text) else None


def _validator(headers: httpx2.Headers) -> str | None:
    """Return what makes a range safe to ask for: a strong ETag, else Last-Modified (RFC 9110, section 13.1.5)."""
    etag = headers.get("etag", "")
    if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag):
        return str(etag)
    date = headers.get("last-modified", "")
    return str(date) if re.fullmatch(r"[A-Za-z0-9 ,:]{20,40}", date) else None


def _broken(_error: httpx2.HTTPError) -> ModelFailure:
    return ModelFailure("source_unreachable", "The connection to the source broke off.", is_passing=True)
