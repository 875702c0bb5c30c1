"""HTTPS to the token provider: its discovery document, its keys, its introspection. Bounded, never redirected.

- https only, TLS 1.2 at least, against the given authorities or those of the system; addresses come from the configuration and
  from the provider's own document, which `services.psc_keys` keeps on the issuer's host.
- Each exchange is a task of its own: aiohttp's time limits need one, and an IMAP command begins without.
- Our client's secret goes in an Authorization header (RFC 6749 §2.3.1) and is in no log, fault or repr.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote_plus

import aiohttp

from mssante.errors import OperatorFault

TIMEOUT_SECONDS = 5.0  # somebody waits for his login


class HttpProvider:
    """A provider over HTTPS (`services.psc_keys.Provider`)."""

    def __init__(self, anchors: Path | None, client_id: str = "", client_secret: str = "",
                 timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """anchors: PEM file of the only authorities admitted, None for those of the system."""
        self._anchors = anchors
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        self._authorization = "Basic " + b64encode(pair.encode()).decode() if client_id else ""

    async def document(self, url: str, *, max_bytes: int) -> bytes:
        """Give the body at `url`, at most `max_bytes` octets. Raises OperatorFault (`HTTP-…`)."""
        return await asyncio.create_task(self._exchange("GET", url, None, max_bytes=max_bytes))

    async def ask(self, url: str, form: Mapping[str, str], *, max_bytes: int) -> bytes:
        """Give the answer to a form (RFC 7662 §2.1). Raises OperatorFault (`HTTP-…`)."""
        return await asyncio.create_task(self._exchange("POST", url, form, max_bytes=max_bytes))

    async def _exchange(self, method: str, url: str, form: Mapping[str, str] | None, *, max_bytes: int) -> bytes:
        if not url.startswith("https://"):
            raise OperatorFault("URL scheme is not https", rule="HTTP-SCHEME")
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if form is not None and self._authorization:
            headers["Authorization"] = self._authorization
        try:
            context = ssl.create_default_context(cafile=str(self._anchors) if self._anchors is not None else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            async with aiohttp.ClientSession(timeout=self._timeout, auto_decompress=False) as session, session.request(
                    method, url, headers=headers, data=form, allow_redirects=False, ssl=context) as response:
                return await _body(response, max_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise OperatorFault("the token provider could not be reached", detail=type(exc).__name__,
                                rule="HTTP-UNREACHABLE") from exc


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    if response.status != 200:
        raise OperatorFault("the token provider refused", detail=f"HTTP {response.status}", rule="HTTP-STATUS")
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > max_bytes:
            raise OperatorFault("the token provider gave more than allowed", detail=f"> {max_bytes} octets", rule="HTTP-SIZE")
        parts.append(part)
    return b"".join(parts)
