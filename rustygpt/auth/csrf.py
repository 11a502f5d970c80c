"""Cookie requests that change something must come from our own pages.

Two guards: the origin that browsers state (also for requests without a session: nobody may sign a visitor in from elsewhere), and, with
a session, a token that only our pages can read. The token is derived from the session's, so it is good for that session alone:
a pair of cookie and header that an attacker planted does not fit. No server secret is involved, and none has to be shared.
"""

import base64
import hashlib
import hmac
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from rustygpt.errors import CsrfRefused

CSRF_COOKIE: Final = "CSRF-TOKEN"
CSRF_HEADER: Final = "X-CSRF-TOKEN"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

CROSS_SITE_POSTS: Final = frozenset({"/api/oauth/apple/callback"})
"""Paths that other sites' forms may post to: what comes there is worth only what its one-use state and that state's cookie say."""

_PURPOSE: Final = b"rustygpt csrf token 1"


def csrf_token(session_token: str) -> str:
    """Return the CSRF token of a session token: an HMAC under it, so that it tells nothing about it."""
    digest = hmac.digest(session_token.encode(), _PURPOSE, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def require_csrf_token(request: HTTPConnection, session_token: str) -> None:
    """Raise CsrfRefused unless header and cookie are both the token that belongs to *session_token*."""
    expected = csrf_token(session_token).encode()
    given = (request.headers.get(CSRF_HEADER, ""), request.cookies.get(CSRF_COOKIE, ""))
    if not all(hmac.compare_digest(value.encode(errors="replace"), expected) for value in given):
        raise CsrfRefused


def require_own_origin(request: HTTPConnection, trusted_origins: Collection[str] = ()) -> None:
    """Raise CsrfRefused when a browser says that the request comes from another site; who says nothing is no browser.

    Sec-Fetch-Site decides where it is sent (https and localhost), else Origin must name the host that was asked. *trusted_origins*
    are taken as our own, e.g. the public URL behind a proxy that rewrites Host.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if origin in trusted_origins or site in ("same-origin", "none") or (site is None and origin is None):
        return
    if site is None and origin is not None and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != "":
        return
    raise CsrfRefused("The request comes from another site.")


def is_from_elsewhere(request: HTTPConnection, public_url: str) -> bool:
    """Say whether a browser says that a page of another site leads here, be it by a link. *public_url* is ours, or empty.

    Sec-Fetch-Site decides where it is sent; over plain http Referer tells, unless the other page keeps it back.
    """
    site, referrer = request.headers.get("sec-fetch-site"), request.headers.get("referer")
    if site is not None:
        return site not in ("same-origin", "none")
    own = {request.headers.get("host", "").lower(), urlsplit(public_url).netloc.lower()}
    return bool(referrer) and urlsplit(referrer or "").netloc.lower() not in own


def origin_of(url: str) -> str:
    """Return the origin of an http(s) *url* as browsers write it in the header Origin."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
