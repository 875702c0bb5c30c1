"""Downloads the extraction of the national directory: HEAD for novelty, GET into a file, bounded, pinned (F4.6, F4.7).

No redirect is followed.

A 429 or a 503 tells how long to wait (RFC 9110 §10.2.3, seconds or a date), at most a day. HTTPS trusts the given anchors only.
`file://` and a plain path name a file of this machine. Called by `services.directory_keeper`.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp

from mssante.clock import Clock
from mssante.errors import OperatorFault
from mssante.services.directory_keeper import Offer, TooManyRequests

_LONGEST_WAIT = 86400.0
_TEXT = 300


def local_path(url: str) -> Path | None:
    """Give the file that a `file://` address or a path names; None for http(s)."""
    if url.startswith(("https://", "http://")):
        return None
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(url)


class ExtractionSource:
    """`services.directory_keeper.ExtractionOrigin` over HTTP(S) or a file."""

    def __init__(self, url: str, anchors: Path, clock: Clock, *, max_bytes: int, timeout_seconds: float = 900.0) -> None:
        """anchors: PEM of the only authorities trusted."""
        self._url = url
        self._anchors = anchors
        self._clock = clock
        self._max = max_bytes
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=30, sock_read=60)

    async def look(self, known: Offer | None) -> Offer:
        """Tell what is offered, without fetching it. Raises OperatorFault (`HTTP-…`)."""
        path = local_path(self._url)
        if path is not None:
            return await asyncio.to_thread(_offered, path)
        return await self._exchange("HEAD", None)

    async def fetch(self, target: Path) -> Offer:
        """Write what is offered into a file, or name the file that it is already. Raises OperatorFault (`HTTP-…`)."""
        path = local_path(self._url)
        if path is not None:
            return await asyncio.to_thread(_offered, path)
        return await self._exchange("GET", target)

    async def _exchange(self, method: str, target: Path | None) -> Offer:
        try:
            context = ssl.create_default_context(cafile=str(self._anchors)) if self._url.startswith("https") else None
            async with (aiohttp.ClientSession(timeout=self._timeout, auto_decompress=False) as session,
                        session.request(method, self._url, headers={"Accept-Encoding": "identity"}, allow_redirects=False,
                                        ssl=context or True) as answer):
                self._check(answer)
                if target is not None:
                    await self._body(answer, target)
                return Offer(answer.headers.get("Content-Disposition", "")[:_TEXT], answer.headers.get("ETag", "")[:_TEXT],
                             answer.headers.get("Last-Modified", "")[:_TEXT], target)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise OperatorFault("extraction could not be reached", detail=type(exc).__name__, rule="HTTP-UNREACHABLE",
                                remedy="directory.extraction_url, directory.extraction_anchors, network") from exc

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status in (429, 503):
            raise TooManyRequests(self._wait(answer.headers.get("Retry-After", "")), answer.status)
        if answer.status != 200:
            raise OperatorFault("extraction server answered otherwise", detail=f"HTTP {answer.status}", rule="HTTP-STATUS",
                                remedy="directory.extraction_url is the final address: no redirect is followed")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise OperatorFault("extraction came compressed by HTTP", rule="HTTP-CODING")
        if answer.content_length is not None and answer.content_length > self._max:
            raise OperatorFault("extraction is larger than allowed", detail=f"{answer.content_length} > {self._max} octets",
                                rule="HTTP-SIZE", remedy="directory.max_bytes")

    def _wait(self, text: str) -> float:
        """Read Retry-After; 0 when it says nothing that can be read."""
        text = text.strip()[:100]
        if text.isascii() and text.isdigit():
            return min(float(text), _LONGEST_WAIT)
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError):
            return 0.0
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return min(max((at - self._clock.now()).total_seconds(), 0.0), _LONGEST_WAIT)

    async def _body(self, answer: aiohttp.ClientResponse, target: Path) -> None:
        size = 0
        with target.open("wb") as file:
            async for part in answer.content.iter_chunked(262144):
                size += len(part)
                if size > self._max:
                    raise OperatorFault("extraction is larger than allowed", detail=f"> {self._max} octets", rule="HTTP-SIZE",
                                        remedy="directory.max_bytes")
                await asyncio.to_thread(file.write, part)


def _offered(path: Path) -> Offer:
    try:
        stat = path.stat()
    except OSError as exc:
        raise OperatorFault("extraction file cannot be read", detail=exc.strerror or "", rule="HTTP-UNREACHABLE",
                            remedy="directory.extraction_url") from exc
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return Offer(path.name, f"{stat.st_size}-{stat.st_mtime_ns}", modified.isoformat(), path)
