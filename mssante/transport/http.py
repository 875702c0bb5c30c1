"""Fetches the white list and CRLs, asks OCSP responders: bounded, pinned, conditional.

- HTTPS trusts the given anchors only (F1.2: the list's server chains to IGC-Santé, not to a public authority).
- No redirect (the addresses that we may call are those of the configuration), no other scheme than http and https, a size
  cap while reading, a total time limit, ETag kept by the caller.
- No content coding: the octets are hashed and verified as published, and a compressed body could be a bomb.
- Never chooses a URL: they come from configuration. One that a peer's certificate names (OCSP) was first compared with the
  hosts that the configuration allows (`trust.ocsp`, `services.revocation`).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from mssante.errors import OperatorFault


@dataclass(frozen=True, slots=True)
class Fetched:
    """body None: not modified since the ETag given."""

    body: bytes | None
    etag: str


class HttpFetcher:
    """Fetches over HTTP(S); `anchors` pins the servers' authority."""

    def __init__(self, anchors: Path, timeout_seconds: float = 30.0) -> None:
        """anchors: PEM file of the only authorities trusted for https."""
        self._anchors = anchors
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def fetch(self, url: str, *, max_bytes: int, etag: str = "") -> Fetched:
        """Give the body at `url`, at most `max_bytes` octets. Raises OperatorFault (`HTTP-…`), always temporary."""
        return await self._exchange("GET", url, {"If-None-Match": etag} if etag else {}, max_bytes=max_bytes)

    async def post(self, url: str, body: bytes, *, content_type: str, max_bytes: int) -> bytes:
        """Give the answer, at most `max_bytes` octets, to `body` sent by POST. Raises OperatorFault (`HTTP-…`)."""
        answer = await self._exchange("POST", url, {"Content-Type": content_type}, max_bytes=max_bytes, body=body)
        return answer.body or b""

    async def _exchange(self, method: str, url: str, headers: dict[str, str], *, max_bytes: int, body: bytes | None = None,
                        ) -> Fetched:
        if not url.startswith(("https://", "http://")):
            raise OperatorFault("URL scheme is not http or https", rule="HTTP-SCHEME")
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            context = ssl.create_default_context(cafile=str(self._anchors)) if url.startswith("https") else None
            async with aiohttp.ClientSession(timeout=self._timeout, auto_decompress=False) as session:
                request = session.request(method, url, headers=headers, data=body, allow_redirects=False, ssl=context or True)
                async with request as response:
                    return await self._body(response, max_bytes)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise OperatorFault("source could not be reached", detail=type(exc).__name__, rule="HTTP-UNREACHABLE") from exc

    async def _body(self, response: aiohttp.ClientResponse, max_bytes: int) -> Fetched:
        etag = response.headers.get("ETag", "")
        if response.status == 304:
            return Fetched(None, etag)
        if 300 <= response.status < 400:
            raise OperatorFault("source sends elsewhere, which is not followed", detail=f"HTTP {response.status}",
                                rule="HTTP-REDIRECT", remedy="write the final address in the trust section")
        if response.status != 200:
            raise OperatorFault("source answered an error", detail=f"HTTP {response.status}", rule="HTTP-STATUS")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise OperatorFault("source gave a compressed body", rule="HTTP-CODING")
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(65536):
            size += len(part)
            if size > max_bytes:
                raise OperatorFault("source gave more than allowed", detail=f"> {max_bytes} octets", rule="HTTP-SIZE")
            parts.append(part)
        return Fetched(b"".join(parts), etag)
