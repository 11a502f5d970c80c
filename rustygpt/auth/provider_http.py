"""The HTTP side of an identity provider: one deadline, at most 1 MiB an answer, no redirects, and every failure as OAuthFailed.

Nothing that a provider says is repeated in a message or the log beyond its status.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import httpx2
import orjson
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from typing_extensions import override

from rustygpt.auth.identity import Grant, ProviderName
from rustygpt.auth.oauth_failure import oauth_failed

MAX_ANSWER_BYTES: Final = 1_048_576

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class AnswerTooLarge(httpx2.RequestError):
    """More than MAX_ANSWER_BYTES came, or something that would be more once unpacked."""


class ProviderHttp:
    """How a provider is talked to; shared by its sign-ins, and nothing to be closed. *deadline_seconds* is for one sign-in."""

    def __init__(self, name: ProviderName, deadline_seconds: float) -> None:
        self.name = name
        self._deadline_seconds = deadline_seconds
        self._ssl_context: ssl.SSLContext | None = None

    @asynccontextmanager
    async def exchange(self) -> AsyncIterator[None]:
        """Bound what is done inside in time, and translate what goes wrong. Raises OAuthFailed."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                yield
        except TimeoutError:
            self._warn("timeout")
            raise oauth_failed("provider_unavailable") from None
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            self._warn(f"status {status}")
            raise oauth_failed("provider_unavailable" if status >= 500 else "provider_error") from None
        except AnswerTooLarge:
            self._warn("too large")
            raise oauth_failed("provider_error") from None
        except httpx2.HTTPError as error:
            self._warn(type(error).__name__)
            raise oauth_failed("provider_unavailable") from None
        # authlib reads an answer as it comes, so it raises whatever json.loads() and int() do, for deep nesting too.
        except (AuthlibBaseError, httpx2.InvalidURL, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            self._warn(type(error).__name__)
            raise oauth_failed("provider_error") from None

    async def oauth_client(self, url: str, client_id: str, client_secret: str) -> AsyncOAuth2Client:
        """Make authlib's client for one sign-in; *url* is the token's address. To be used as a context."""
        method = "client_secret_post"
        return AsyncOAuth2Client(client_id, client_secret, token_endpoint_auth_method=method, **await self._options(url))

    async def redeem(self, client: AsyncOAuth2Client, url: str, grant: Grant) -> dict[str, Any]:
        """Exchange the code for a token. GitHub answers errors with status 200; authlib raises for those as well."""
        extra = {"code_verifier": grant.code_verifier} if grant.code_verifier else {}
        token = await client.fetch_token(
            url, grant_type="authorization_code", code=grant.code, redirect_uri=grant.redirect_uri, **extra
        )
        return cast("dict[str, Any]", token)

    async def get_json(self, url: str) -> object:
        """Fetch a public document. To be called inside `exchange`."""
        async with httpx2.AsyncClient(**await self._options(url)) as client:
            return json_of(await client.get(url))

    async def _options(self, url: str) -> dict[str, Any]:
        is_local = url.startswith(("http://127.", "http://localhost", "http://[::1]"))
        return {
            "headers": {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "rustygpt"},
            "event_hooks": {"response": [_bound]},
            "follow_redirects": False,
            "timeout": self._deadline_seconds,
            "trust_env": not is_local,
            "verify": await self._verification() if url.startswith("https:") else False,
        }

    async def _verification(self) -> ssl.SSLContext:
        """Return the certificates to trust, read once: that takes 20 ms and more."""
        if self._ssl_context is None:
            self._ssl_context = await asyncio.to_thread(httpx2.create_ssl_context)
        return self._ssl_context

    def _warn(self, failure: str) -> None:
        log.warning("oauth_provider_failed", provider=self.name, failure=failure)


def json_of(response: httpx2.Response) -> object:
    """Return the JSON of a 200. Raises HTTPStatusError, and ValueError for what is not JSON."""
    if response.status_code != 200:
        raise httpx2.HTTPStatusError("not a 200", request=response.request, response=response)
    return orjson.loads(response.content)


async def _bound(response: httpx2.Response) -> None:
    """httpx2's hook between the head of an answer and its body."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        await response.aclose()
        raise AnswerTooLarge("compressed", request=response.request)
    response.stream = _BoundedStream(cast("httpx2.AsyncByteStream", response.stream), response.request)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, request: httpx2.Request) -> None:
        self._stream = stream
        self._request = request

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise AnswerTooLarge("too large", request=self._request)
            yield piece

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()
