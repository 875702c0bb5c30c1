"""A small LDAPv3 client: LDAPS or StartTLS, simple bind, searches by pages (RFC 4511, RFC 2696).

    async with LdapClient(LdapTarget("ldaps://annuaire:636", anchors), bind_dn, password) as client:
        async for entry in client.search("ou=people,dc=x", "(mail=*)", ["mail", "cn"]): …

- Nothing is said before TLS: a password never leaves in clear, and the server's name is checked against the anchors given.
- Read only. References and referrals are never followed: the servers asked are those of the configuration.
- Bounded: seconds to connect, seconds for each answer and for a whole search, octets of a message, entries of a search. All
  faults are MssFault: `LDAP-INJOIGNABLE`, `LDAP-DELAI`, `LDAP-FORME`, `LDAP-TAILLE`, `LDAP-NOMBRE`, `LDAP-CODE-n`, `LDAP-CONFIG`.
- One operation at a time on a connection. The password is in no error and no log.
Callers: `transport.annuaire_ldap`, and the synchronisation of accounts with a local directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from mssante.errors import OperatorFault
from mssante.lang import say
from mssante.protocol.ldap.ber import LdapFault, message_size
from mssante.protocol.ldap.client import (
    MAX_ANSWER,
    LdapEntry,
    LdapMessage,
    LdapResult,
    Query,
    bind_request,
    read_message,
    search_request,
    starttls_request,
    unbind_request,
)

SIZE_LIMIT_REACHED = 4
NO_SUCH_OBJECT = 32


class LdapRefused(OperatorFault):
    """The server, or the way to it, failed. code: LDAP result code (RFC 4511 §A.1), 0 when it is ours."""

    code = 0


@dataclass(frozen=True, slots=True)
class LdapTarget:
    """A server. url: `ldaps://host[:636]`, or `ldap://host[:389]` which then does StartTLS; anchors: PEM of those trusted."""

    url: str
    anchors: Path
    connect_seconds: float = 10.0
    answer_seconds: float = 30.0
    search_seconds: float = 300.0

    @property
    def place(self) -> tuple[str, int, bool]:
        """Give host, port and whether TLS is implicit. Raises LdapRefused (`LDAP-CONFIG`)."""
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in ("ldap", "ldaps") or not host:
            raise LdapRefused(say("adresse LDAP mal formée", "malformed LDAP address"), rule="LDAP-CONFIG",
                              remedy="ldaps://hôte:port, ldap://hôte:port (StartTLS)")
        return host, port or (636 if parts.scheme == "ldaps" else 389), parts.scheme == "ldaps"


class LdapClient:
    """One connection, opened by `async with` (or `open`) and closed by its end."""

    def __init__(self, target: LdapTarget, bind_dn: str = "", password: str = "") -> None:
        """bind_dn empty: anonymous. Raises LdapRefused (`LDAP-CONFIG`) for a name without a password (RFC 4513 §5.1.2)."""
        if bind_dn and not password:
            raise LdapRefused(say("mot de passe LDAP vide", "empty LDAP password"), rule="LDAP-CONFIG")
        self._target = target
        self._bind_dn = bind_dn
        self._password = password
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._number = 0

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, TLS, bind. Raises LdapRefused, LdapFault."""
        host, port, implicit = self._target.place
        try:
            async with asyncio.timeout(self._target.connect_seconds):
                context = ssl.create_default_context(cafile=str(self._target.anchors))
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                self._reader, self._writer = await asyncio.open_connection(host, port, ssl=context if implicit else None)
                if not implicit:
                    await self._start_tls(context, host)
                await self._bind()
        except (OSError, TimeoutError, EOFError) as exc:
            await self.close()
            raise _unreachable(exc) from exc
        except BaseException:
            await self.close()
            raise

    async def _start_tls(self, context: ssl.SSLContext, host: str) -> None:
        number = self._next()
        await self._send(starttls_request(number))
        self._good(await self._result(number, 0x78))
        if self._writer is None or (self._reader is not None and self._reader._buffer):  # type: ignore[attr-defined]
            raise LdapFault(say("octets reçus avant TLS", "octets received before TLS"), rule="LDAP-FORME")
        await self._writer.start_tls(context, server_hostname=host)

    async def _bind(self) -> None:
        if self._bind_dn:
            number = self._next()
            await self._send(bind_request(number, self._bind_dn, self._password))
            self._good(await self._result(number, 0x61))

    async def search(self, base: str, filter_text: str, attributes: Sequence[str], *, most: int = 100_000, scope: int = 2,
                     page: int = 500) -> AsyncIterator[LdapEntry]:
        """Give the entries of a search, page after page. most: beyond, LdapRefused (`LDAP-NOMBRE`). An unknown base gives none.

        Raises LdapRefused, LdapFault; the connection is of no more use then, nor when the caller stops before the end.
        """
        query = Query(base, filter_text, tuple(attributes), scope, time_limit=int(self._target.answer_seconds), page=page)
        deadline = asyncio.get_running_loop().time() + self._target.search_seconds
        given = pages = 0
        while True:
            number = self._next()
            await self._send(search_request(number, query))
            result: LdapResult | None = None
            while result is None:
                message = await self._message(number, deadline)
                if message.entry is not None:
                    given += 1
                    if given > most:
                        raise _too_many(most)
                    yield message.entry
                result = message.result
            if result.code == NO_SUCH_OBJECT:
                return
            self._good(result)
            if not result.cookie:
                return
            pages += 1
            if pages > most // max(page, 1) + 100:  # empty pages without end
                raise _too_many(most)
            query = replace(query, cookie=result.cookie)

    async def close(self) -> None:
        """Say goodbye and close; safe at any time."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                writer.write(unbind_request(self._next()))
                writer.close()
                async with asyncio.timeout(2):
                    await writer.wait_closed()

    # ------------------------------------------------------------------------------------------ one message

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _send(self, octets: bytes) -> None:
        if self._writer is None:
            raise _unreachable(EOFError())
        try:
            self._writer.write(octets)
            async with asyncio.timeout(self._target.answer_seconds):
                await self._writer.drain()
        except (OSError, TimeoutError) as exc:
            raise _unreachable(exc) from exc

    async def _result(self, number: int, kind: int) -> LdapResult:
        message = await self._message(number, asyncio.get_running_loop().time() + self._target.answer_seconds)
        if message.kind != kind or message.result is None:
            raise LdapFault(say("réponse LDAP illisible", "unreadable LDAP answer"), detail="order", rule="LDAP-FORME")
        return message.result

    async def _message(self, number: int, deadline: float) -> LdapMessage:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._target.answer_seconds)):
                octets = await self._read()
        except TimeoutError as exc:
            raise LdapRefused(say("délai LDAP dépassé", "LDAP answer is late"), rule="LDAP-DELAI") from exc
        except (OSError, EOFError) as exc:
            raise _unreachable(exc) from exc
        message = read_message(octets)
        if message.id != number:  # 0: the server says that it ends the connection (RFC 4511 §4.4.1)
            raise LdapRefused(say("le serveur LDAP met fin à la session", "the LDAP server ends the session"),
                              rule="LDAP-INJOIGNABLE")
        return message

    async def _read(self) -> bytes:
        if self._reader is None:
            raise EOFError
        head = b""
        while (size := message_size(head, MAX_ANSWER)) is None:
            head += await self._reader.readexactly(1 if head else 2)
        return head + await self._reader.readexactly(size - len(head))

    @staticmethod
    def _good(result: LdapResult) -> None:
        if result.code == SIZE_LIMIT_REACHED:
            raise _too_many(0)
        if result.code != 0:
            fault = LdapRefused(say("le serveur LDAP refuse", "the LDAP server refuses"), detail=f"code {result.code}",
                                rule=f"LDAP-CODE-{result.code}")
            fault.code = result.code
            raise fault


def _unreachable(exc: BaseException) -> LdapRefused:
    return LdapRefused(say("serveur LDAP injoignable", "the LDAP server cannot be reached"), detail=type(exc).__name__,
                       rule="LDAP-INJOIGNABLE")


def _too_many(most: int) -> LdapRefused:
    return LdapRefused(say("trop d'entrées LDAP", "too many LDAP entries"), detail=f"> {most}" if most else "sizeLimitExceeded",
                       rule="LDAP-NOMBRE")
