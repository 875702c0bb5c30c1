"""Posts events to hosts of programs: https only, address pinned, nothing followed, bounded.

- The name is resolved once; every address of it must be public unless the configuration admits private ones; the connection goes
  to the address that was looked at, so that a name that changes between the look and the call gains nothing.
- No redirect, no proxy, no cookie, ten seconds in all, an answer is not read beyond its head.
- The certificate is checked for the name, against the authorities of the configuration or those of the system.
Never raises: what fails is a value.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from mssante.services.webhooks import Told

SECONDS = 10.0
MAX_ADDRESSES = 16


class _Pinned(AbstractResolver):
    """Gives the one address that was looked at, whatever is asked."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        """Give the pinned address."""
        version = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [ResolveResult(hostname=host, host=self._address, port=port, family=version, proto=0,
                              flags=socket.AI_NUMERICHOST)]

    async def close(self) -> None:
        """Nothing to close."""


class WebhookPoster:
    """`mssante.services.webhooks.Poster`."""

    def __init__(self, *, allow_private: bool, authorities: Path | None) -> None:
        """authorities: PEM file of the only authorities trusted, None for those of the system. Raises OSError, ssl.SSLError."""
        self._allow_private = allow_private
        self._tls = ssl.create_default_context(cafile=str(authorities) if authorities is not None else None)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Told:
        """Post once."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            return Told(0, "scheme")
        try:
            async with asyncio.timeout(SECONDS):
                address = await self._address(parts.hostname, parts.port or 443)
                if not address:
                    return Told(0, "address not allowed")
                return await self._post(url, address, (headers, body))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
            return Told(0, type(fault).__name__)

    async def _address(self, host: str, port: int) -> str:
        """Give the address to call; empty when one of the name's addresses may not be called."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))[:MAX_ADDRESSES]
        if not addresses or (not self._allow_private and not all(public(one) for one in addresses)):
            return ""
        return addresses[0]

    async def _post(self, url: str, address: str, content: tuple[dict[str, str], bytes]) -> Told:
        headers, body = content
        connector = aiohttp.TCPConnector(resolver=_Pinned(address), use_dns_cache=False, ssl=self._tls, force_close=True)
        jar = aiohttp.DummyCookieJar()
        async with (aiohttp.ClientSession(connector=connector, cookie_jar=jar, trust_env=False, auto_decompress=False) as session,
                    session.post(url, data=body, headers={"User-Agent": "mssante", "Accept-Encoding": "identity", **headers},
                                 allow_redirects=False) as answer):
            return Told(answer.status)


def public(address: str) -> bool:
    """True for an address of the public Internet: nothing private, local, reserved, nor mapped or translated to such (IANA
    special-purpose registries)."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global
    return parsed.is_global and not parsed.is_multicast
