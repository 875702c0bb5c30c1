"""Tries a pair against another operator's door, as a delivery would begin, and stops before any recipient is named.

- Connect, EHLO, STARTTLS with the pair, EHLO, `MAIL FROM` an address of ours, RSET, QUIT. MAIL is where operators say whether a
  certificate may speak for a domain (spec §2.2 step 5); no RCPT, no DATA: no letter can come of it.
- Everything is bounded: 10 s to connect, 15 s a reply, 60 s in all, 64 KiB of replies. What happens is a value, never a fault.
- The server's certificate is given back; judging it is the caller's. Never retries, never logs. Called by `cert rollover try`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

from mssante.protocol.smtp.replies import Reply, ReplyParser, SmtpFault
from mssante.transport.smtp_connection import Endpoint

CONNECT_SECONDS, REPLY_SECONDS, WHOLE_SECONDS = 10.0, 15.0, 60.0
MAX_OCTETS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one try. accepted: MAIL got a 2xx; step: the last one taken; reply: what the server said to it, code first, or
    the technical reason; leaf: its certificate (DER), empty before TLS."""

    accepted: bool
    step: str
    reply: str
    remote: str = ""
    tls: str = ""
    leaf: bytes = b""


class _Talk:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.parser = ReplyParser()
        self.octets = 0
        self.step = "greeting"

    async def ask(self, command: str, step: str = "") -> Reply:
        """Send a command (nothing for the greeting), give the reply. Raises SmtpFault, OSError, TimeoutError."""
        self.step = step or command.partition(" ")[0] or "greeting"
        if command:
            self.writer.write(command.encode("ascii") + b"\r\n")
            await self.writer.drain()
        async with asyncio.timeout(REPLY_SECONDS):
            while (found := self.parser.next_reply()) is None:
                data = await self.reader.read(4096)
                self.octets += len(data)
                if not data or self.octets > MAX_OCTETS:
                    raise SmtpFault("connection closed" if not data else "the server sends without end", rule="SMTP-CLOSED")
                self.parser.feed(data)
        return found

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Do the handshake. Raises SmtpFault when clear octets wait (RFC 3207 §4.2), ssl.SSLError, OSError."""
        self.step = "TLS"
        if self.parser.pending:
            raise SmtpFault("data in clear after the reply to STARTTLS", rule="SMTP-STARTTLS-INJECTION")
        await self.writer.start_tls(context, server_hostname=name or None, ssl_handshake_timeout=REPLY_SECONDS)
        self.parser = ReplyParser()


async def try_pair(endpoint: Endpoint, context: ssl.SSLContext, *, ehlo_name: str, sender: str) -> Tried:
    """Try the pair loaded in `context` at one address. sender: an address of ours. Raises nothing but cancellation."""
    talk: _Talk | None = None
    step = "connect"
    try:
        async with asyncio.timeout(WHOLE_SECONDS):
            reader, writer = await asyncio.wait_for(asyncio.open_connection(endpoint.host, endpoint.port), CONNECT_SECONDS)
            talk = _Talk(reader, writer)
            reply = await _dialogue(talk, endpoint, context, ehlo_name=ehlo_name, sender=sender)
            return _result(talk, endpoint, reply.code == 250 and talk.step == "MAIL", reply.text[:500])
    except TimeoutError:
        return _result(talk, endpoint, False, "timeout", step)
    except SmtpFault as fault:
        return _result(talk, endpoint, False, fault.detail or fault.public, step)
    except (OSError, ValueError) as exc:
        return _result(talk, endpoint, False, str(getattr(exc, "reason", None) or getattr(exc, "strerror", None)
                                                  or type(exc).__name__)[:200], step)
    finally:
        if talk is not None:
            talk.writer.transport.abort()


async def _dialogue(talk: _Talk, endpoint: Endpoint, context: ssl.SSLContext, *, ehlo_name: str, sender: str) -> Reply:
    """Go as far as the server lets us; give the reply that decides."""
    for command, step, wanted in (("", "greeting", 220), (f"EHLO {ehlo_name}", "EHLO", 250), ("STARTTLS", "STARTTLS", 220)):
        reply = await talk.ask(command, step)
        if reply.code != wanted:
            return reply
    await talk.start_tls(context, endpoint.server_name)
    reply = await talk.ask(f"EHLO {ehlo_name}", "EHLO TLS")
    if reply.code != 250:
        return reply
    reply = await talk.ask(f"MAIL FROM:<{sender}>", "MAIL")
    with contextlib.suppress(SmtpFault, OSError, TimeoutError):
        await talk.ask("RSET")
        await talk.ask("QUIT")
    talk.step = "MAIL"
    return reply


def _result(talk: _Talk | None, endpoint: Endpoint, accepted: bool, reply: str, step: str = "") -> Tried:
    if talk is None:
        return Tried(False, step, reply, str(endpoint))
    shown = talk.writer.get_extra_info("ssl_object")
    leaf = (shown.getpeercert(binary_form=True) or b"") if shown is not None else b""
    version = (shown.version() or "") if shown is not None else ""
    return Tried(accepted, talk.step, reply, str(endpoint), version, leaf)
