"""Looks at our own doors as a client does: which certificate is served, what time the sources tell. For `mssante check --online`.

- One connection each, bounded in time and octets; gives the leaf that was served (DER), never judges it.
- A certificate renewed on disk and not served is the outage that this sees; so is a server whose clock went astray.
- The time is read from the `Date` of an HTTP answer (RFC 9110 §6.6.1), of a configured URL only: to the second, at best.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from mssante.errors import OperatorFault

SECONDS = 10.0
MAX_LINE = 4096
MAX_LINES = 100
SMTP, IMAP, TLS = "smtp", "imap", "tls"


async def served_leaf(address: tuple[str, int], kind: str, context: ssl.SSLContext, *, server_name: str = "",
                      seconds: float = SECONDS) -> bytes:
    """Give the leaf certificate (DER) that a door serves. kind: `smtp` or `imap` with STARTTLS, `tls` from the first octet.

    Raises OperatorFault (`PORTE-MUETTE`, `PORTE-TLS`) with what happened.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(*address, limit=MAX_LINE)
            if kind == SMTP:
                await _smtp(reader, writer)
            elif kind == IMAP:
                await _imap(reader, writer)
            await writer.start_tls(context, server_hostname=server_name or None)
            served = writer.get_extra_info("ssl_object")
            return bytes(served.getpeercert(True) or b"")
    except (ssl.SSLError, ConnectionAbortedError) as exc:
        raise OperatorFault("TLS handshake with our own door failed", rule="PORTE-TLS",
                            detail=str(getattr(exc, "reason", "") or type(exc).__name__)) from exc
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as exc:
        raise OperatorFault("our own door does not answer", rule="PORTE-MUETTE",
                            detail=str(getattr(exc, "strerror", "") or type(exc).__name__)) from exc
    finally:
        if writer is not None:
            writer.transport.abort()


async def _smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greeting, EHLO, STARTTLS (RFC 3207). Raises ValueError for what is not a positive answer."""
    await _smtp_reply(reader, b"220")
    writer.write(b"EHLO check.invalid\r\n")
    await _smtp_reply(reader, b"250")
    writer.write(b"STARTTLS\r\n")
    await _smtp_reply(reader, b"220")


async def _smtp_reply(reader: asyncio.StreamReader, code: bytes) -> None:
    for _ in range(MAX_LINES):
        line = await reader.readuntil(b"\n")
        if not line.startswith(code):
            raise ValueError("not the code that was awaited")
        if line[3:4] != b"-":
            return
    raise ValueError("reply without end")


async def _imap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greeting, STARTTLS (RFC 9051 §6.2.1). Raises ValueError for what is not a positive answer."""
    if not (await reader.readuntil(b"\n")).startswith(b"* OK"):
        raise ValueError("no greeting")
    writer.write(b"a STARTTLS\r\n")
    for _ in range(MAX_LINES):
        line = await reader.readuntil(b"\n")
        if line.startswith(b"a "):
            if not line.startswith(b"a OK"):
                raise ValueError("STARTTLS refused")
            return
    raise ValueError("reply without end")


async def accepts(address: tuple[str, int], seconds: float = SECONDS) -> str:
    """Give an empty text when an address accepts a connection, else why not."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*address), seconds)
    except (OSError, TimeoutError) as exc:
        return str(getattr(exc, "strerror", "") or type(exc).__name__)
    writer.transport.abort()
    return ""


async def server_date(url: str, anchors: Path, seconds: float = SECONDS) -> datetime:
    """Give the instant that a server tells in its Date (RFC 9110 §6.6.1). Raises OperatorFault (`HTTP-…`)."""
    if not url.startswith(("https://", "http://")):
        raise OperatorFault("URL scheme is not http or https", rule="HTTP-SCHEME")
    try:
        context = ssl.create_default_context(cafile=str(anchors)) if url.startswith("https") else None
        async with (aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
                    session.head(url, allow_redirects=False, ssl=context or True) as response):
            told = parsedate_to_datetime(response.headers.get("Date", ""))
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        raise OperatorFault("source could not be reached", detail=type(exc).__name__, rule="HTTP-UNREACHABLE") from exc
    except (ValueError, TypeError, IndexError) as exc:
        raise OperatorFault("source tells no time", rule="HTTP-STATUS") from exc
    return told if told.tzinfo is not None else told.replace(tzinfo=UTC)
