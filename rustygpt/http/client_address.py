"""Who calls: the peer of the socket, unless that is a proxy we were told to trust.

X-Forwarded-For is read from the right, and only past trusted proxies: what a client writes into it itself changes nothing. The
result replaces `scope["client"]` and `scope["scheme"]`, so that everything further in sees the caller. The server in front must leave
both headers alone (uvicorn: `proxy_headers=False`).
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

IPAddress = IPv4Address | IPv6Address

MAX_HOPS: Final = 32


class ClientAddressMiddleware:
    """*trusted_proxies* are addresses or networks, e.g. `127.0.0.1` or `10.0.0.0/8`."""

    def __init__(self, app: ASGIApp, trusted_proxies: Sequence[str] = ()) -> None:
        self._app = app
        self._trusted = tuple(ip_network(network, strict=False) for network in trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._trusted and scope["type"] in ("http", "websocket"):
            self._follow_proxies(scope)
        await self._app(scope, receive, send)

    def _follow_proxies(self, scope: Scope) -> None:
        peer = _parse(scope["client"][0]) if scope.get("client") else None
        if peer is None or not self._is_trusted(peer):
            return
        headers = Headers(scope=scope)
        hops = _split(headers.getlist("x-forwarded-for"))[-MAX_HOPS:]
        schemes = _split(headers.getlist("x-forwarded-proto"))
        caller, index = peer, len(hops)
        for position in range(len(hops) - 1, -1, -1):
            hop = _parse(hops[position])
            if hop is None:
                break
            caller, index = hop, position
            if not self._is_trusted(hop):
                break
        if caller is not peer:
            scope["client"] = (str(caller), 0)
        # One value is the edge's word; as many as hops belong to them one by one; else only the nearest proxy's counts.
        if schemes:
            scheme = schemes[index] if len(schemes) == len(hops) and index < len(schemes) else schemes[-1]
            if scheme.lower() in ("http", "https"):
                is_websocket = scope["type"] == "websocket"
                scope["scheme"] = scheme.lower().replace("http", "ws") if is_websocket else scheme.lower()

    def _is_trusted(self, address: IPAddress) -> bool:
        return any(address in network for network in self._trusted)


def network_of(address: str) -> str:
    """Return what one caller has at least: an IPv4 address, or the /64 of an IPv6 one. Whatever is no address stays as it is."""
    parsed = _parse(address)
    if parsed is None:
        return address
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",")]


def _parse(text: str) -> IPAddress | None:
    """Read an address, with or without port and brackets; an IPv4 address inside IPv6 becomes the former."""
    bare = text.strip('"')
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
