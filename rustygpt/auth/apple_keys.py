"""Apple's public keys. Fetched when first needed, kept for a day, and fetched again at once for a key id that nobody has seen,

but not more than once a minute: forged tokens must not make us call Apple as often as somebody likes.
"""

import asyncio
import time
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, RSAKey

from rustygpt.auth.provider_http import ProviderHttp

MAX_AGE_SECONDS: Final = 86_400.0
REFETCH_SECONDS: Final = 60.0
MAX_KEYS: Final = 32


class AppleKeys:
    """The keys published at *url*."""

    def __init__(self, url: str, http: ProviderHttp) -> None:
        self._url = url
        self._http = http
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._refetched_at: float | None = None
        self._lock = asyncio.Lock()

    async def with_key(self, key_id: str) -> KeySet:
        """Return the keys, newly fetched if *key_id* is not among those at hand. To be called inside `exchange`, whose errors it raises."""
        async with self._lock:  # of many sign-ins at once one fetches
            now = time.monotonic()
            if self._keys is None or now - self._fetched_at > MAX_AGE_SECONDS:
                self._keys = await self._fetch()
                self._fetched_at = now
            elif key_id not in _ids(self._keys) and (self._refetched_at is None or now - self._refetched_at > REFETCH_SECONDS):
                self._refetched_at = now  # also when it fails
                self._keys = await self._fetch()
                self._fetched_at = now
            return self._keys

    async def _fetch(self) -> KeySet:
        document = await self._http.get_json(self._url)
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise TypeError("not a set of keys")
        keys: list[Key] = [key for entry in entries[:MAX_KEYS] if (key := _key(entry)) is not None]
        if not keys:
            raise ValueError("no key that could be used")
        return KeySet(keys)


def _key(entry: Any) -> RSAKey | None:
    """Return one key; None for those of other kinds and for what is no key."""
    if not isinstance(entry, dict) or entry.get("kty") != "RSA" or not isinstance(entry.get("kid"), str):
        return None
    try:
        return RSAKey.import_key({name: entry[name] for name in ("kty", "kid", "n", "e")})
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _ids(keys: KeySet) -> set[str | None]:
    return {key.kid for key in keys.keys}
