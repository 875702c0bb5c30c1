"""The LDAPS door of address books: a read-only view of the directory under one base (RFC 4511, RFC 4519, RFC 2798).

- Anonymous users see the rootDSE alone. A bind is simple: the login, or `uid=login,…` or `mail=login,…`, with an (app) password
  (protocol `ldap`, the desk, delays and scopes of IMAP).
- Every write is refused. Red-listed mailboxes are never served; a filter that no word narrows gets adminLimitExceeded, so that
  nobody copies the directory through here.
- Bounds: connections in all and by address, requests of 64 KiB, filters (protocol/ldap), 10 s a search, 5 minutes idle, 30 s for
  a client that does not read. Octets that are no LDAP get a notice of disconnection.
Never: a log of what was asked.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from dataclasses import dataclass

import structlog

from mssante.config.base import split_hostport
from mssante.directory.values import DirectoryEntry, DirectoryQuery
from mssante.errors import MssFault
from mssante.protocol.ldap import messages as ldap
from mssante.protocol.ldap.ber import MAX_REQUEST, LdapFault, message_size
from mssante.protocol.ldap.filters import matches, searches
from mssante.services.accounts import Accounts
from mssante.services.directory_port import DirectoryDesk
from mssante.storage.interfaces import Account

log = structlog.get_logger("ldap")
BASE = "ou=annuaire,o=mssante"
MOST = 200  # entries of a search, the desk's own bound
IDLE_SECONDS = 300.0
SLOW_SECONDS = 30.0
SEARCH_SECONDS = 10.0
_LOGIN = re.compile(r"(?:uid|mail)=([^,]{1,254})(?:,.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LdapParts:
    """What the door stands on. desk: None while there is no directory."""

    desk: DirectoryDesk | None
    accounts: Accounts
    tls: ssl.SSLContext | None
    total: int = 500
    per_address: int = 50


def name_of(address: str) -> str:
    """Give the name of an entry (RFC 4514 §2.4)."""
    return f"mail={_escaped(address)},{BASE}"


def _escaped(value: str) -> str:
    return "".join(f"\\{char}" if char in ',+"\\<>;=#' else char for char in value if char.isprintable())


def attributes_of(entry: DirectoryEntry) -> dict[str, tuple[str, ...]]:
    """Give the attributes of an entry, those that have a value, under the names of inetOrgPerson."""
    name = " ".join(part for part in (entry.given_name, entry.family_name) if part) or entry.name
    shown = {"cn": name, "displayName": name, "mail": entry.address, "uid": entry.address,
             "sn": entry.family_name or entry.name, "givenName": entry.given_name, "o": entry.trade_name or entry.structure_name,
             "ou": entry.service, "title": entry.specialty or entry.profession, "l": entry.town, "postalCode": entry.postcode,
             "street": ", ".join(entry.lines), "st": entry.department, "employeeType": entry.type}
    classes = ("top", "person", "organizationalPerson", "inetOrgPerson")
    found: dict[str, tuple[str, ...]] = {"objectClass": classes} | {key: (value,) for key, value in shown.items() if value}
    turned = " ".join(part for part in (entry.family_name, entry.given_name) if part)
    found["cn"] = tuple(dict.fromkeys(one for one in (name, turned, entry.name) if one))  # people type either order
    return found


class LdapDoor:
    """The listener."""

    def __init__(self, parts: LdapParts) -> None:
        self.parts = parts
        self._server: asyncio.Server | None = None
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, address: str) -> int:
        """Listen on `host:port`; give the port. Raises OSError."""
        host, port = split_hostport(address)
        self._server = await asyncio.start_server(self._serve, host, port, ssl=self.parts.tls, limit=MAX_REQUEST,
                                                  ssl_handshake_timeout=SLOW_SECONDS if self.parts.tls else None)
        log.info("listening", door="ldaps", address=address)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop, connections too."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername") or ("", 0)
        host, task = str(peer[0]), asyncio.current_task()
        if self._open.total() >= self.parts.total or self._open[host] >= self.parts.per_address or task is None:
            writer.transport.abort()
            return
        self._open[host] += 1
        self._tasks.add(task)
        try:
            await _Connection(self.parts, reader, writer, f"{host}:{peer[1]}").run()
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass  # gone, slow, idle, or the door closes: nothing is owed
        except Exception as fault:  # the border: one connection falls, no other
            log.exception("ldap_fault", fault=type(fault).__name__)
        finally:
            self._open[host] -= 1
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()


class _Connection:
    """One client: requests are answered one after the other."""

    def __init__(self, parts: LdapParts, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        self._parts = parts
        self._reader = reader
        self._writer = writer
        self._peer = peer
        self._account: Account | None = None

    async def run(self) -> None:
        """Serve until the client leaves. Raises OSError, EOFError, TimeoutError."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    request = ldap.read_request(await self._message())
            except LdapFault as fault:
                await self._send(ldap.notice(ldap.PROTOCOL_ERROR, fault.rule))
                return
            if request.kind == ldap.UNBIND:
                return
            await self._answer(request)

    async def _message(self) -> bytes:
        head = await self._reader.readexactly(2)
        while (size := message_size(head)) is None:
            head += await self._reader.readexactly(1)
        return head + await self._reader.readexactly(size - len(head)) if size > len(head) else head

    async def _send(self, octets: bytes) -> None:
        self._writer.write(octets)
        async with asyncio.timeout(SLOW_SECONDS):
            await self._writer.drain()

    async def _answer(self, request: ldap.Request) -> None:
        if request.kind == ldap.ABANDON:
            return  # what it names is over: requests are answered in order
        if request.kind not in ldap.ANSWERS:
            await self._send(ldap.notice(ldap.PROTOCOL_ERROR, "LDAP-FORME"))
            raise EOFError
        if request.critical:
            await self._result(request, ldap.CRITICAL)
        elif request.bind is not None:
            await self._result(request, *await self._bind(request.bind))
        elif request.search is not None:
            await self._search(request, request.search)
        elif request.oid == ldap.WHO_AM_I:
            await self._send(ldap.who_am_i(request.id, f"u:{self._account.login}" if self._account else ""))
        elif request.kind == ldap.EXTENDED:
            await self._result(request, ldap.PROTOCOL_ERROR, "unknown extension")
        else:
            await self._result(request, ldap.UNWILLING, "lecture seule / read only")

    async def _result(self, request: ldap.Request, code: int, text: str = "") -> None:
        await self._send(ldap.result(request.id, request.kind, code, text))

    async def _bind(self, bind: ldap.Bind) -> tuple[int, str]:
        """Give the code and text of a bind (RFC 4511 §4.2, RFC 4513 §5.1)."""
        self._account = None
        if bind.version != 3:
            return ldap.PROTOCOL_ERROR, "LDAPv3"
        if bind.password is None:
            return ldap.METHOD, "simple"
        if not bind.password:  # a name without password is refused (RFC 4513 §5.1.2)
            return (ldap.UNWILLING, "mot de passe vide / empty password") if bind.name else (ldap.SUCCESS, "")
        found = _LOGIN.fullmatch(bind.name.strip())
        try:
            password = bind.password.decode("utf-8")
            login = found[1] if found else bind.name
            self._account = await self._parts.accounts.authenticate(login, password, self._peer, "ldap")
        except UnicodeDecodeError:
            return ldap.CREDENTIALS, ""
        except MssFault as fault:
            return ldap.BUSY, fault.rule
        return (ldap.SUCCESS if self._account is not None else ldap.CREDENTIALS), ""

    async def _search(self, request: ldap.Request, search: ldap.Search) -> None:
        if not search.base and search.scope == 0:
            await self._send(ldap.entry(request.id, "", _chosen(_ROOT, search.names), types_only=search.types_only))
            await self._result(request, ldap.SUCCESS)
        elif self._account is None:
            await self._result(request, ldap.ACCESS, "connexion requise / bind first")
        elif self._parts.desk is None:
            await self._result(request, ldap.UNAVAILABLE, "aucun annuaire / no directory")
        else:
            await self._entries(request, search, self._parts.desk)

    async def _entries(self, request: ldap.Request, search: ldap.Search, desk: DirectoryDesk) -> None:
        try:
            async with asyncio.timeout(min(search.time_limit or SEARCH_SECONDS, SEARCH_SECONDS)):
                code, found = await self._found(search, desk)
        except TimeoutError:
            code, found = ldap.TIME_LIMIT, []
        except MssFault:
            code, found = ldap.UNAVAILABLE, []
        if search.size_limit and len(found) > search.size_limit:
            code, found = ldap.SIZE_LIMIT, found[:search.size_limit]
        start, cookie = 0, None
        if request.page is not None:  # the cookie is the place reached: what follows is searched again (RFC 2696 §3)
            text = request.cookie[:8]
            start = int(text) if text.isdigit() else 0
            end = start + request.page if request.page > 0 else start
            cookie = str(end).encode() if end < len(found) else b""
            found, code = found[start:end], ldap.SUCCESS if cookie else code
        for entry in found:
            shown = _chosen(attributes_of(entry), search.names)
            await self._send(ldap.entry(request.id, name_of(entry.address), shown, types_only=search.types_only))
        await self._send(ldap.result(request.id, request.kind, code, "", cookie))

    async def _found(self, search: ldap.Search, desk: DirectoryDesk) -> tuple[int, list[DirectoryEntry]]:
        """Give the code and the entries of a search: one for an address, those that the filter matches."""
        base = ",".join(part.strip() for part in search.base.lower().split(","))
        if base.endswith("," + BASE) and search.scope != 1:
            address = re.sub(r"\\(.)", r"\1", base.removesuffix("," + BASE).removeprefix("mail="))
            finding = await desk.find(address)
            public = [one for one in finding.entries if not one.red_listed][:1]  # a red-listed one answers as an absent one
            return (ldap.SUCCESS if public else ldap.NO_SUCH_OBJECT), [one for one in public if _matched(search, one)]
        if base not in ("", "o=mssante", BASE):
            return ldap.NO_SUCH_OBJECT, []
        if search.scope == 0:
            return ldap.SUCCESS, []
        texts = searches(search.filter)
        if not all(texts):
            return ldap.ADMIN_LIMIT, []
        mailbox_id = next(iter(self._account.mailbox_ids), 0) if self._account is not None else 0
        found: dict[str, DirectoryEntry] = {}
        full = False
        for text in texts:
            entries = await desk.search(DirectoryQuery(text=text, mailbox_id=mailbox_id, limit=MOST))
            full = full or len(entries) >= MOST
            for one in entries:
                if not one.red_listed and _matched(search, one):
                    found.setdefault(one.address, one)
        return (ldap.SIZE_LIMIT if full or len(found) > MOST else ldap.SUCCESS), list(found.values())[:MOST]


_ROOT: dict[str, tuple[str, ...]] = {
    "objectClass": ("top",), "namingContexts": (BASE,), "supportedLDAPVersion": ("3",), "supportedControl": (ldap.PAGED,),
    "supportedExtension": (ldap.WHO_AM_I,), "vendorName": ("mssante",)}


def _matched(search: ldap.Search, entry: DirectoryEntry) -> bool:
    return matches(search.filter, {name.lower(): values for name, values in attributes_of(entry).items()}) is True


def _chosen(attributes: dict[str, tuple[str, ...]], names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Give the attributes asked for (RFC 4511 §4.5.1.8)."""
    if not names or {"*", "+"} & set(names):
        return attributes
    return {name: values for name, values in attributes.items() if name.lower() in names}
