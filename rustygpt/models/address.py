"""Which addresses a model may be fetched from: public ones, unless a setting allows more.

A name is resolved once for each connection, every address it has is judged, and the connection is made to one that was found good: a
name whose address changes between the look and the use (DNS rebinding) gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from rustygpt.models.failure import ModelFailure

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
ASSIGNMENTS: Final = ipaddress.IPv4Network("192.0.0.0/24")
"""Protocol assignments of IETF, some of which Python's older versions take for global."""


async def resolve(host: str, port: int, *, timeout_seconds: float) -> list[str]:
    """Return every address of *host*, in the system's order. Raises ModelFailure."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except TimeoutError:
        raise ModelFailure("source_unreachable", f"The name {host} was not resolved in time.", is_passing=True) from None
    except (OSError, UnicodeError):
        raise ModelFailure("source_unreachable", f"The name {host} cannot be resolved.", is_passing=True) from None
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


def require_public(host: str, addresses: Sequence[str]) -> list[str]:
    """Return those of *addresses* that are public. Raises ModelFailure when none is."""
    public = [address for address in addresses if is_public(address)]
    if not public:
        raise ModelFailure(
            "address_refused",
            f"{host} is on this machine or its network, and models.allow_private_addresses is off.",
        )
    return public


def is_public(text: str) -> bool:
    """Say whether an address is on the Internet: not loopback, private, link-local, shared, multicast, reserved, nor one of these in disguise."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return all(_is_public(each) for each in _disguises(address))


def _is_public(address: IpAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        return address.is_global and not (address.is_multicast or address.is_reserved or address.is_site_local)
    return address.is_global and not (address.is_multicast or address.is_reserved or address in ASSIGNMENTS)


def _disguises(address: IpAddress) -> list[IpAddress]:
    """Return the addresses that packets may really go to: what an IPv6 address carries counts in place of the carrier, or beside it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    carried: list[IpAddress] = []
    if address in NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)]
    if address.sixtofour is not None:
        carried.append(address.sixtofour)
    if address.teredo is not None:
        carried += address.teredo
    return [address, *carried]
