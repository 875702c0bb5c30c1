"""The LDAPS door of address books: a read-only view of the directory under one base (RFC 4511, RFC 4519, RFC 2798).

- Anonymous users see the rootDSE alone. A bind is simple: the login, or `uid=login,…` or `mail=login,…`, with an (app) password
  (protocol `ldap`, the desk, delays and scopes of IMAP).
- Every write is refused. Red-listed mailboxes are never served; a filter that no word narrows gets adminLimitExceeded, so that
  nobody copies the directory through here.
- Type-ahead: of a disjunction like Thunderbird's, `(|(cn=*claire*mar*)…(givenName=*claire*)…)`, the texts of most words are
  searched first; those that only widen what was found are left out (sizeLimitExceeded), so that the answer is not buried.
- Several rows of one address make one entry with all their values.
- Bounds: connections in all, by address and by account (the one unused for longest is closed: Thunderbird opens one a keystroke
  and forgets those it abandons), searches at once in all and by account (busy), requests of 64 KiB, filters (protocol/ldap), 10 s
  a search, 2 minutes idle, 30 s for a client that does not read. Octets that are no LDAP get a notice of disconnection.
Never: a log of what was asked.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from mssante.config.base import split_hostport
from mssante.directory.values import DirectoryEntry, DirectoryQuery
from mssante.directory.words import TITLES, entry_words
from mssante.errors import MssFault
from mssante.protocol.ldap import messages as ldap
from mssante.protocol.ldap.ber import MAX_REQUEST, LdapFault, message_size
from mssante.protocol.ldap.filters import MAX_SEARCHES, WORDS, folded, matches, names_of, needs_words, searches
from mssante.services.accounts import Accounts
from mssante.services.directory_port import DirectoryDesk
from mssante.storage.interfaces import Account

Attributes = dict[str, tuple[str, ...]]
log = structlog.get_logger("ldap")
BASE = "ou=annuaire,o=mssante"
MOST = 200  # entries of a search, the desk's own bound
CANDIDATES = 150  # rows from which on the mirror may have left some out
SEARCHES = 100  # at once, of everybody
ACCOUNT_SEARCHES = 8
ACCOUNT_CONNECTIONS = 20
IDLE_SECONDS = 120.0
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


def attributes_of(*rows: DirectoryEntry) -> Attributes:
    """Give the attributes of the rows of one address, those that have a value, under the names of inetOrgPerson."""
    found: dict[str, dict[str, None]] = {
        "objectClass": dict.fromkeys(("top", "person", "organizationalPerson", "inetOrgPerson"))}
    for row in rows:
        shown = {"cn": row.name, "displayName": row.name, "mail": row.address, "uid": row.address,
                 "sn": row.family_name or row.name, "givenName": row.given_name, "o": row.trade_name or row.structure_name,
                 "ou": row.service, "title": row.specialty or row.profession, "l": row.town, "postalCode": row.postcode,
                 "street": ", ".join(row.lines), "st": row.department, "employeeType": row.type}
        for name, value in shown.items():
            if value:
                found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}


class _Shared:
    """What is counted across connections: searches that run, and the connections of each account, longest unused first."""

    def __init__(self) -> None:
        self.searching: Counter[int] = Counter()
        self._bound: dict[int, dict[_Connection, None]] = {}

    def use(self, account_id: int, connection: _Connection) -> None:
        """A connection of this account was used; the one unused for longest is closed when there are too many."""
        held = self._bound.setdefault(account_id, {})
        held.pop(connection, None)
        held[connection] = None
        while len(held) > ACCOUNT_CONNECTIONS:
            oldest = next(iter(held))
            del held[oldest]
            oldest.drop()

    def leave(self, account_id: int, connection: _Connection) -> None:
        """It is closed, or bound to somebody else."""
        held = self._bound.get(account_id, {})
        held.pop(connection, None)
        if not held:
            self._bound.pop(account_id, None)

    def full(self, account_id: int) -> bool:
        """Too many searches run already."""
        return self.searching.total() >= SEARCHES or self.searching[account_id] >= ACCOUNT_SEARCHES


class LdapDoor:
    """The listener."""

    def __init__(self, parts: LdapParts) -> None:
        self.parts = parts
        self._server: asyncio.Server | None = None
        self._open: Counter[str] = Counter()
        self._shared = _Shared()
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
        connection = _Connection(self.parts, self._shared, (reader, writer), f"{host}:{peer[1]}")
        try:
            await connection.run()
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            pass  # gone, slow, idle, or the door closes: nothing is owed
        except Exception as fault:  # the border: one connection falls, no other
            log.exception("ldap_fault", fault=type(fault).__name__)
        finally:
            connection.forget()
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()


class _Connection:
    """One client: requests are answered one after the other."""

    def __init__(self, parts: LdapParts, shared: _Shared, wire: tuple[asyncio.StreamReader, asyncio.StreamWriter],
                 peer: str) -> None:
        self._parts = parts
        self._shared = shared
        self._reader, self._writer = wire
        self._peer = peer
        self._account: Account | None = None

    def drop(self) -> None:
        """Close it at once, whatever it does."""
        self._writer.transport.abort()

    def forget(self) -> None:
        """Nobody is bound here any more."""
        if self._account is not None:
            self._shared.leave(self._account.id, self)
        self._account = None

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
        self.forget()
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
        if self._account is None:
            return ldap.CREDENTIALS, ""
        self._shared.use(self._account.id, self)
        return ldap.SUCCESS, ""

    async def _search(self, request: ldap.Request, search: ldap.Search) -> None:
        if not search.base and search.scope == 0:
            await self._send(ldap.entry(request.id, "", _chosen(_ROOT, search.names), types_only=search.types_only))
            await self._result(request, ldap.SUCCESS)
        elif self._account is None:
            await self._result(request, ldap.ACCESS, "connexion requise / bind first")
        elif self._parts.desk is None:
            await self._result(request, ldap.UNAVAILABLE, "aucun annuaire / no directory")
        elif self._shared.full(self._account.id):
            await self._result(request, ldap.BUSY, "trop de recherches / too many searches")
        else:
            await self._entries(request, search, self._parts.desk)

    async def _entries(self, request: ldap.Request, search: ldap.Search, desk: DirectoryDesk) -> None:
        code, found = await self._bounded(search, desk)
        if search.size_limit and len(found) > search.size_limit:
            code, found = ldap.SIZE_LIMIT, found[:search.size_limit]
        start, cookie = 0, None
        if request.page is not None:  # the cookie is the place reached: what follows is searched again (RFC 2696 §3)
            text = request.cookie[:8]
            start = int(text) if text.isdigit() else 0
            end = start + request.page if request.page > 0 else start
            cookie = str(end).encode() if end < len(found) else b""
            found, code = found[start:end], ldap.SUCCESS if cookie else code
        answers = [ldap.entry(request.id, name_of(one["mail"][0]), _chosen(one, search.names), types_only=search.types_only)
                   for one in found]
        await self._send(b"".join((*answers, ldap.result(request.id, request.kind, code, "", cookie))))

    async def _bounded(self, search: ldap.Search, desk: DirectoryDesk) -> tuple[int, list[Attributes]]:
        """Search within the bounds of time and of the account."""
        account = self._account
        if account is None:
            return ldap.ACCESS, []
        self._shared.use(account.id, self)
        self._shared.searching[account.id] += 1
        try:
            async with asyncio.timeout(min(search.time_limit or SEARCH_SECONDS, SEARCH_SECONDS)):
                return await _found(search, desk, next(iter(account.mailbox_ids), 0))
        except TimeoutError:
            return ldap.TIME_LIMIT, []
        except MssFault:
            return ldap.UNAVAILABLE, []
        finally:
            self._shared.searching[account.id] -= 1
            if not self._shared.searching[account.id]:
                del self._shared.searching[account.id]


async def _found(search: ldap.Search, desk: DirectoryDesk, mailbox_id: int) -> tuple[int, list[Attributes]]:
    """Give the code and the entries of a search: one for an address, those that the filter matches."""
    base = ",".join(part.strip() for part in search.base.lower().split(","))
    if base.endswith("," + BASE) and search.scope != 1:
        rows = (await desk.find(re.sub(r"\\(.)", r"\1", base.removesuffix("," + BASE).removeprefix("mail=")))).entries
        if not rows or any(row.red_listed for row in rows):  # a red-listed one answers as an absent one (F4.3)
            return ldap.NO_SUCH_OBJECT, []
        return ldap.SUCCESS, _matching(search, rows)
    if base not in ("", "o=mssante", BASE):
        return ldap.NO_SUCH_OBJECT, []
    if search.scope == 0:
        return ldap.SUCCESS, []
    texts = searches(search.filter)
    return await _completed(search, desk, texts, mailbox_id) if all(texts) else (ldap.ADMIN_LIMIT, [])


def _matching(search: ldap.Search, rows: Sequence[DirectoryEntry]) -> list[Attributes]:
    """Give the entries that the filter matches, one for each address, in order."""
    held: dict[str, list[DirectoryEntry]] = {}
    for row in rows:
        held.setdefault(row.address, []).append(row)
    typed, names = needs_words(search.filter), names_of(search.filter)
    found: list[Attributes] = []
    for some in held.values():
        if 0 < search.size_limit < len(found):  # one more than may be given: what is behind changes nothing
            break
        if any(row.red_listed for row in some):
            continue
        entry = attributes_of(*some)
        known = folded({**entry, **{name: (*entry[name], *_called(some)) for name in ("cn", "displayName")}}, names)
        if matches(search.filter, known) is True or (typed and matches(search.filter, {**known, WORDS: _words(some)}) is True):
            found.append(entry)
    return found


def _called(rows: Sequence[DirectoryEntry]) -> tuple[str, ...]:
    """Give the names by which a person is asked for, besides the one that is shown: without title, and family name first."""
    return tuple(name for row in rows if row.family_name and row.given_name
                 for name in (f"{row.given_name} {row.family_name}", f"{row.family_name} {row.given_name}"))


def _words(rows: Sequence[DirectoryEntry]) -> tuple[str, ...]:
    """Give the words under which the directory knows an entry; titles too, which are nobody's name."""
    return (*TITLES, *(word for row in rows for word in entry_words(row)))


async def _completed(search: ldap.Search, desk: DirectoryDesk, texts: tuple[str, ...],
                     mailbox_id: int) -> tuple[int, list[Attributes]]:
    """Ask the desk text by text."""
    found: dict[str, Attributes] = {}
    full = len(texts) > MAX_SEARCHES
    narrow: list[set[str]] = []  # words of the texts that found something
    for text in texts[:MAX_SEARCHES]:
        words = set(text.split())
        if len(found) >= MOST or any(words < other for other in narrow):
            full = True  # what is left only widens it
            continue
        rows = await desk.search(DirectoryQuery(text=text, mailbox_id=mailbox_id, limit=MOST))
        full = full or len(rows) >= CANDIDATES
        matching = {one["mail"][0]: one for one in _matching(search, rows)}
        if matching:
            narrow.append(words)
        for address, one in matching.items():
            found.setdefault(address, one)
    return (ldap.SIZE_LIMIT if full or len(found) > MOST else ldap.SUCCESS), list(found.values())[:MOST]


_ROOT: Attributes = {
    "objectClass": ("top",), "namingContexts": (BASE,), "supportedLDAPVersion": ("3",), "supportedControl": (ldap.PAGED,),
    "supportedExtension": (ldap.WHO_AM_I,), "vendorName": ("mssante",)}


def _chosen(attributes: Attributes, names: tuple[str, ...]) -> Attributes:
    """Give the attributes asked for (RFC 4511 §4.5.1.8)."""
    if not names or {"*", "+"} & set(names):
        return attributes
    return {name: values for name, values in attributes.items() if name.lower() in names}
