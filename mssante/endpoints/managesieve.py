"""The ManageSieve door: users put, check, activate and remove their own scripts (RFC 5804).

- Before STARTTLS only CAPABILITY, STARTTLS, NOOP and LOGOUT; octets that came before the handshake are never commands.
- Login: the mechanisms, the desk and the delays of IMAP, as protocol `managesieve`; three refusals end the connection.
- What is changed is the account's own mailbox only. Errors of scripts are told with their line.
- One command at a time; an idle session is closed by the door's sweep.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import structlog

from mssante.endpoints.listeners import Door
from mssante.endpoints.login_offer import LoginOffer
from mssante.model.mailbox import Mailbox
from mssante.model.mailbox_rules import EFFECTS
from mssante.protocol.sasl import base as sasl
from mssante.protocol.sasl.mechanisms import begin, offered
from mssante.protocol.sieve.arguments import CAPABILITIES
from mssante.protocol.sieve.faults import SieveFault
from mssante.protocol.sieve.manage import Argument, CommandReader, ManageCommand, ManageFault, answer, literal, quoted
from mssante.services.sasl import Accepted, Caller, LoginDesk, Refused, follow
from mssante.services.sieve_desk import Author, DeskFault, DeskRule, ScriptDesk
from mssante.storage.interfaces import Stores

log = structlog.get_logger("managesieve")
_CODES = {DeskRule.MISSING: "NONEXISTENT", DeskRule.EXISTS: "ALREADYEXISTS", DeskRule.ACTIVE: "ACTIVE",
          DeskRule.COUNT: "QUOTA/MAXSCRIPTS", DeskRule.SIZE: "QUOTA/MAXSIZE", DeskRule.NAME: ""}
_BEFORE_LOGIN = frozenset(("CAPABILITY", "STARTTLS", "AUTHENTICATE", "NOOP", "LOGOUT"))
MAX_COMMANDS = 10_000
MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class ManageSieveSettings:
    """tls: for STARTTLS; redirects: `redirect` is allowed here."""

    tls: ssl.SSLContext
    offer: LoginOffer
    script_octets: int = 65_536
    redirects: bool = False
    idle_seconds: float = 1_800.0
    login_seconds: float = 60.0
    handshake_seconds: float = 10.0
    failures: int = 3


class ManageSieve:
    """Factory of connections."""

    def __init__(self, settings: ManageSieveSettings, door: Door, logins: LoginDesk, desk: ScriptDesk, stores: Stores) -> None:
        self.settings = settings
        self.door = door
        self.logins = logins
        self.desk = desk
        self.stores = stores

    def __call__(self) -> ManageConnection:
        """Make the protocol object of a new connection."""
        return ManageConnection(self)


class ManageConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, owner: ManageSieve) -> None:
        self._owner = owner
        self._settings = owner.settings
        self._transport: asyncio.Transport | None = None
        self._reader = CommandReader(owner.settings.script_octets)
        self._arrived = asyncio.Event()
        self._circumstances = owner.settings.offer.common
        self._peer = ""
        self._address = ""
        self._secure = False
        self._author: Author | None = None
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._idle = True
        self.deadline = time.monotonic() + owner.settings.login_seconds

    # ------------------------------------------------------------ transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came, or TLS is up."""
        if self._task is not None:
            return
        self._transport = cast(asyncio.Transport, transport)  # what a loop gives to a Protocol; uvloop's is of no such class
        peer = transport.get_extra_info("peername") or ("", 0)
        self._address, self._peer = str(peer[0]), f"{peer[0]}:{peer[1]}"
        if not self._owner.door.opened(self, self._address):
            self._write(answer("BYE", "too many connections", "TRYLATER"))
            transport.close()
            self._over = True
            return
        self._task = asyncio.ensure_future(self._serve())

    def data_received(self, data: bytes) -> None:
        """Octets came."""
        self._reader.feed(data)
        self._arrived.set()
        if self._reader.pending > self._settings.script_octets * 2 + 65_536 and self._transport is not None:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._over = True
        self._arrived.set()
        self._owner.door.closed(self, self._address)

    def expire(self) -> None:
        """Close for lack of progress."""
        self._write(answer("BYE", "idle for too long"))
        self._end()

    def drain(self) -> None:
        """Close when nothing is under way."""
        if self._idle:
            self._write(answer("BYE", "the server is stopping", "TRYLATER"))
            self._end()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self) -> None:
        self._over = True
        self._arrived.set()
        if self._transport is not None:
            self._transport.close()

    # ------------------------------------------------------------ commands

    async def _next(self, read: Callable[[], ManageCommand | bytes | None]) -> ManageCommand | bytes | None:
        """Wait for a command or a line; None when the connection ends."""
        while not self._over:
            found = read()
            if found is not None:
                return found
            self._arrived.clear()
            if self._transport is not None:
                self._transport.resume_reading()
            await self._arrived.wait()
        return None

    async def _serve(self) -> None:
        errors = 0
        self._write(self._capabilities() + answer("OK", "mssante ManageSieve"))
        for _ in range(MAX_COMMANDS):
            try:
                self._idle = True
                command = await self._next(self._reader.take)
                self._idle = False
                if not isinstance(command, ManageCommand):
                    return
                self._extend()
                await self._run(command)
            except ManageFault as fault:
                errors += 1
                fatal = fault.fatal or errors >= MAX_ERRORS
                self._write(answer("BYE" if fatal else "NO", fault.public))
                if fatal:
                    break
            except Exception as fault:  # the border: a defect of ours ends no session of a user
                log.error("managesieve_failed", kind=type(fault).__name__, rule=getattr(fault, "rule", ""))
                self._write(answer("NO", "server error, try again later", "TRYLATER"))
        self._end()

    def _extend(self) -> None:
        if self._author is not None:
            self.deadline = time.monotonic() + self._settings.idle_seconds

    async def _run(self, command: ManageCommand) -> None:
        if self._author is None and command.name not in _BEFORE_LOGIN:
            known = command.name in _COMMANDS
            self._write(answer("NO", "log in first" if known else "unknown command"))
            return
        handler = _COMMANDS.get(command.name)
        if handler is None:
            raise ManageFault("unknown command")
        least, most, work = handler
        if not least <= len(command.arguments) <= most:
            raise ManageFault("wrong number of arguments")
        try:
            await work(self, command.arguments)
        except DeskFault as fault:
            self._write(answer("NO", fault.public, _CODES[fault.desk_rule]))
        except SieveFault as fault:
            self._write(answer("NO", fault.public))

    def _capabilities(self) -> bytes:
        """RFC 5804 §1.7."""
        names = [name for name in CAPABILITIES if not name.startswith("comparator-i;octet") and not name.endswith("casemap")]
        lines = [b'"IMPLEMENTATION" "mssante"', b'"SIEVE" ' + quoted(" ".join(names)), b'"VERSION" "1.0"',
                 b'"MAXREDIRECTS" ' + quoted(str(self._owner.desk.settings.limits.redirects if self._settings.redirects else 0)),
                 b'"SASL" ' + quoted(" ".join(offered(self._circumstances)) if self._secure else "")]
        if not self._secure:
            lines.append(b'"STARTTLS"')
        if self._author is not None:
            lines.append(b'"OWNER" ' + quoted(self._author.mailbox.address))
        lines.append(b'"UNAUTHENTICATE"')
        return b"".join(line + b"\r\n" for line in lines)

    async def _capability(self, arguments: tuple[Argument, ...]) -> None:
        self._write(self._capabilities() + answer("OK"))

    async def _noop(self, arguments: tuple[Argument, ...]) -> None:
        code = "TAG " + quoted(_text(arguments[0])).decode("utf-8") if arguments else ""
        self._write(answer("OK", "done", code))

    async def _logout(self, arguments: tuple[Argument, ...]) -> None:
        self._write(answer("OK", "bye"))
        self._end()

    async def _start_tls(self, arguments: tuple[Argument, ...]) -> None:
        """RFC 5804 §2.2."""
        if self._secure or self._transport is None:
            raise ManageFault("TLS is active")
        if self._reader.pending:
            raise ManageFault("no command may follow STARTTLS before TLS is active", fatal=True)
        self._write(answer("OK", "begin TLS now"))
        try:
            secured = await asyncio.get_running_loop().start_tls(
                self._transport, self, self._settings.tls, server_side=True,
                ssl_handshake_timeout=self._settings.handshake_seconds)
        except (OSError, ConnectionError) as fault:
            log.info("managesieve_handshake_failed", fault=type(fault).__name__)
            self._end()
            return
        if secured is None:
            self._end()
            return
        self._transport = secured
        self._secure = True
        self._circumstances = self._settings.offer.to(secured.get_extra_info("ssl_object"), self._peer)
        self._write(self._capabilities() + answer("OK", "TLS is active"))

    # ------------------------------------------------------------ login

    async def _authenticate(self, arguments: tuple[Argument, ...]) -> None:
        """RFC 5804 §2.1."""
        if not self._secure:
            self._write(answer("NO", "STARTTLS first", "ENCRYPT-NEEDED"))
            return
        if self._author is not None:
            raise ManageFault("logged in already")
        exchange = begin(_text(arguments[0]), self._circumstances)
        if exchange is None:
            self._write(answer("NO", "this mechanism is not supported"))
            return
        initial = sasl.decode_initial(arguments[1].value or b"=") if len(arguments) > 1 else None
        step = initial if isinstance(initial, sasl.Failure) else exchange.start(initial)
        while True:
            told = await follow(self._owner.logins, exchange, step, Caller(self._peer, "managesieve"))
            if not isinstance(told, sasl.Challenge):
                await self._conclude(told)
                return
            self._write(quoted(sasl.encode_challenge(told).decode("ascii")) + b"\r\n")
            line = await self._next(self._response)
            if not isinstance(line, bytes):
                return
            decoded = sasl.decode_response(line)
            step = decoded if isinstance(decoded, sasl.Failure) else exchange.respond(decoded)

    def _response(self) -> bytes | None:
        """Give the client's answer to a challenge: one string on a line of its own, `*` to give up."""
        parts = self._reader.string()
        return parts.value if parts is not None else None

    async def _conclude(self, told: sasl.Failure | Accepted | Refused) -> None:
        if isinstance(told, sasl.Failure):
            self._write(answer("NO", told.text))
            return
        mailbox = await self._mailbox(told.account.mailbox_ids[:1]) if isinstance(told, Accepted) else None
        if isinstance(told, Accepted) and mailbox is not None:
            self._author = Author(mailbox, told.account.login, "managesieve")
            self._extend()
            self._write(answer("OK", "logged in"))
            return
        if isinstance(told, Refused) and told.ours:  # RFC 5804 §1.3: neither login nor secret was judged
            self._write(answer("NO", "the login cannot be checked now, try again later", "TRYLATER"))
            return
        self._failures += 1
        self._write(answer("NO", "login refused"))
        if self._failures >= self._settings.failures:
            self._write(answer("BYE", "too many failed logins"))
            self._end()

    async def _mailbox(self, ids: tuple[int, ...]) -> Mailbox | None:
        stores = self._owner.stores
        found = await stores.database.read(lambda tx: stores.accounts.mailboxes_by_id(tx, list(ids))) if ids else []
        return found[0] if found and EFFECTS[found[0].state].read else None  # who may not read sets no filters either

    async def _unauthenticate(self, arguments: tuple[Argument, ...]) -> None:
        """RFC 5804 §2.14.1."""
        self._author = None
        self.deadline = time.monotonic() + self._settings.login_seconds
        self._write(answer("OK", "logged out"))

    # ------------------------------------------------------------ scripts

    @property
    def _who(self) -> Author:
        if self._author is None:
            raise ManageFault("log in first")
        return self._author

    async def _have_space(self, arguments: tuple[Argument, ...]) -> None:
        name, size = arguments
        if size.quoted or not size.value.isdigit() or len(size.value) > 10:
            raise ManageFault("a number was expected")
        await self._owner.desk.room(self._who.mailbox, _text(name), int(size.value))
        self._write(answer("OK"))

    async def _put(self, arguments: tuple[Argument, ...]) -> None:
        name, script = arguments
        _fits(script)
        await self._owner.desk.put(self._who, _text(name), script.value)
        self._write(answer("OK", "script stored"))

    async def _check(self, arguments: tuple[Argument, ...]) -> None:
        _fits(arguments[0])
        self._owner.desk.check(arguments[0].value)
        self._write(answer("OK", "script is right"))

    async def _list(self, arguments: tuple[Argument, ...]) -> None:
        found = await self._owner.desk.all(self._who.mailbox)
        lines = [quoted(one.name) + (b" ACTIVE" if one.active else b"") + b"\r\n" for one in found]
        self._write(b"".join(lines) + answer("OK"))

    async def _set_active(self, arguments: tuple[Argument, ...]) -> None:
        await self._owner.desk.activate(self._who, _text(arguments[0]))
        self._write(answer("OK"))

    async def _get(self, arguments: tuple[Argument, ...]) -> None:
        script = await self._owner.desk.get(self._who.mailbox, _text(arguments[0]))
        self._write(literal(script.content) + b"\r\n" + answer("OK"))

    async def _delete(self, arguments: tuple[Argument, ...]) -> None:
        await self._owner.desk.delete(self._who, _text(arguments[0]))
        self._write(answer("OK"))

    async def _rename(self, arguments: tuple[Argument, ...]) -> None:
        await self._owner.desk.rename(self._who, _text(arguments[0]), _text(arguments[1]))
        self._write(answer("OK"))


def _fits(script: Argument) -> None:
    if script.oversized:
        raise DeskFault(DeskRule.SIZE, f"script de {script.oversized} octets : trop",
                        f"script of {script.oversized} octets: too many")


def _text(argument: Argument) -> str:
    """Give a string argument. Raises ManageFault."""
    if not argument.quoted or argument.oversized:
        raise ManageFault("a string was expected")
    try:
        return argument.value.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise ManageFault("this string is not UTF-8") from fault


_Handler = Callable[[ManageConnection, tuple[Argument, ...]], Awaitable[None]]
_COMMANDS: dict[str, tuple[int, int, _Handler]] = {
    "CAPABILITY": (0, 0, ManageConnection._capability), "STARTTLS": (0, 0, ManageConnection._start_tls),
    "AUTHENTICATE": (1, 2, ManageConnection._authenticate), "NOOP": (0, 1, ManageConnection._noop),
    "LOGOUT": (0, 0, ManageConnection._logout), "UNAUTHENTICATE": (0, 0, ManageConnection._unauthenticate),
    "HAVESPACE": (2, 2, ManageConnection._have_space), "PUTSCRIPT": (2, 2, ManageConnection._put),
    "CHECKSCRIPT": (1, 1, ManageConnection._check), "LISTSCRIPTS": (0, 0, ManageConnection._list),
    "SETACTIVE": (1, 1, ManageConnection._set_active), "GETSCRIPT": (1, 1, ManageConnection._get),
    "DELETESCRIPT": (1, 1, ManageConnection._delete), "RENAMESCRIPT": (2, 2, ManageConnection._rename),
}
