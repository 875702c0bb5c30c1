"""One SMTP session: aiosmtpd's `SMTP` class with our own read loop, reply buffer, DATA, TLS switch and limits.

What is kept of aiosmtpd: its protocol class and its verb table (`smtp_*` methods); every verb is answered by ours.
What is ours, and why (each is a test in tests/interop/test_aiosmtpd_contract.py):

- The read loop takes what is there and answers all pipelined commands in one write (RFC 2920): one read, one hook and one
  TLS record per command cost ten times more (ARCHITECTURE §18).
- DATA goes through `DotReader` in bulk, to memory or to a blob; bare CR, bare LF and NUL are refused after the true end.
- The commit runs in its own task: a peer that leaves after the final dot cancels nothing.
- Octets read in clear after STARTTLS are never looked at inside TLS: the session is closed (CVE-2024-34083 class).
- Faults of ours answer 451 with a generic text; nothing of aiosmtpd's own logging, which names people, is on.
- Limits: line length, commands, errors, recipients, message size, time without progress.

A verb method computes and calls `say`; only `_flush` writes to the transport. One session is one connection.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

import structlog
from aiosmtpd.smtp import SMTP

from mssante.endpoints.login_offer import LoginOffer
from mssante.endpoints.smtp_parse import ReplyFault
from mssante.endpoints.tls_pipe import TlsPipe
from mssante.errors import MssFault, StorageFull
from mssante.model import replies
from mssante.model.reply import SmtpReply
from mssante.protocol.sasl.mechanisms import Circumstances
from mssante.protocol.smtp.dots import DotReader
from mssante.services.smtp_session import MailTransaction, SmtpPolicy, SmtpSessionState
from mssante.services.staging import BodySink

logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd prints peers, senders and command lines at INFO
log = structlog.get_logger("smtp")

COMMAND_LINE = 2048  # RFC 5321 §4.5.3.1.4 asks 512; MAIL and RCPT parameters of RFC 3461 ask up to 1,036 more
AUTH_LINE = 12288  # RFC 4954 §4
READ_PLACE = 64 * 1024
READ_AHEAD = 256 * 1024  # octets kept while a command is being decided; reading pauses above
SWALLOW_FACTOR = 4  # a content that goes on beyond this many times the size limit closes the session


PASSWORDS_ONLY = Circumstances(frozenset({"PLAIN", "LOGIN"}))


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """What one door offers. implicit_tls: TLS from the first octet (465); contact: support address told to refused peers;
    postmaster: domain whose postmaster answers for us when none is named (RFC 5321 §4.5.1)."""

    hostname: str
    tls: ssl.SSLContext
    implicit_tls: bool = False
    offers_auth: bool = False
    login: Circumstances = PASSWORDS_ONLY  # what AUTH offers before TLS tells more
    offer: LoginOffer | None = None  # what it offers then
    contact: str = ""
    postmaster: str = ""
    message_bytes: int = 30 * 1024 * 1024
    recipients: int = 200
    commands: int = 20_000
    errors: int = 20
    handshake_seconds: float = 10.0
    command_seconds: float = 300.0
    data_seconds: float = 600.0


class SessionRegistry(Protocol):
    """Who counts the sessions of a door (listeners)."""

    def opened(self, session: SmtpLoop, address: str) -> bool:
        """Register; False when the door is full for that address."""
        ...

    def closed(self, session: SmtpLoop, address: str) -> None:
        """Forget."""
        ...


@dataclass(slots=True)
class Receiving:
    """DATA under way."""

    reader: DotReader
    sink: BodySink
    transaction: MailTransaction


class Intake(asyncio.BufferedProtocol):
    """What the event loop sees of a session: it reads into one place that all sessions of a door share.

    Without a place given, the loop makes 256 KiB for each read of TLS and cuts it down to what came. aiosmtpd's class cannot be
    such a protocol itself. What was read is taken out before the next read, of whichever session.
    """

    __slots__ = ("_session", "_view")

    def __init__(self, session: SmtpLoop, view: memoryview) -> None:
        self._session = session
        self._view = view

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection, or the same one inside TLS."""
        self._session.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where to read."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Hand over what was read."""
        self._session.data_received(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool | None:
        """The peer will say no more."""
        return self._session.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._session.connection_lost(error)


class SmtpLoop(SMTP):
    """One connection of a door; `policy` decides, `settings` bound. The verbs are in `smtp_verbs`."""

    command_size_limit = COMMAND_LINE

    def __init__(self, policy: SmtpPolicy, settings: SmtpSettings, registry: SessionRegistry,
                 loop: asyncio.AbstractEventLoop) -> None:
        """Build the model of a door's sessions (see `spawn`). loop: the running loop; the rest is shared by them all."""
        self.command_size_limits = {}  # per instance: the class attribute is cleared by every new connection
        super().__init__(policy, hostname=settings.hostname, ident="ESMTP", loop=loop,
                         data_size_limit=settings.message_bytes, enable_SMTPUTF8=True)
        self.policy = policy
        self.settings = settings
        self.registry = registry
        self.greeting = f"220 {settings.hostname} ESMTP mssante\r\n".encode("ascii")
        self.verbs = {name: getattr(type(self), f"smtp_{name}") for name in self._smtp_methods}
        self._place = memoryview(bytearray(READ_PLACE))
        self._begin()

    def accept(self) -> Intake:
        """Give the protocol of a new connection."""
        return self.spawn().intake()

    def intake(self) -> Intake:
        """Give what the event loop sees of this session."""
        return Intake(self, self._place)

    def spawn(self) -> Self:
        """Give a fresh session like this model.

        aiosmtpd inspects itself for verbs and hooks in its constructor: 0.2 ms, a tenth of a whole session with one
        message. The model pays it once; what a session changes is set anew by `_begin`, the rest is shared and constant.
        """
        session = object.__new__(type(self))
        session.__dict__.update(self.__dict__)
        session._begin()
        return session

    def _begin(self) -> None:
        self.state = SmtpSessionState("")
        self.deadline = time.monotonic() + self.settings.command_seconds
        self.wire: asyncio.Transport | TlsPipe | None = None
        self._buffer = b""
        self._out: list[bytes] = []
        self._busy = False
        self._receiving: Receiving | None = None
        self._line_taker: Callable[[bytes], None] | None = None
        self._closing = False
        self._secure = False
        self._commands = 0
        self._errors = 0
        self._address = ""
        self._reading = True
        self.login = self.settings.login

    # ------------------------------------------------------------ asyncio protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse with 421 when the door is full (RFC 5321 §3.1)."""
        self.transport = transport
        self.wire = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        self._address = str(peer[0])
        self.state = SmtpSessionState(f"{peer[0]}:{peer[1]}")
        if not self.registry.opened(self, self._address):
            self._address = ""
            self._end(replies.TOO_MANY_CONNECTIONS)
            self._flush()
            return
        waiting = self._tls_is_up() if self.settings.implicit_tls else None
        if waiting is not None:
            self._wait_for(waiting, lambda _: self._note_admission())
        self._out.append(self.greeting)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take octets; answer everything that can be answered, in one write."""
        if self._closing:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self._busy:
            if len(self._buffer) > READ_AHEAD and self._reading and self.wire is not None:
                self._reading = False
                self.wire.pause_reading()
            return
        self._pump()

    def eof_received(self) -> bool | None:
        """The peer will say no more: a commit under way goes on by itself, nothing else does."""
        if not self._busy:
            self._close()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the session; what was staged and not committed is dropped."""
        self._closing = True
        if self._address:
            self.registry.closed(self, self._address)
            self._address = ""
        if self._receiving is not None and not self._busy:
            self._receiving.sink.discard()
            self._receiving = None
        self.transport = None
        self.wire = None

    def pause_writing(self) -> None:
        """Replies are small: a peer that does not read them is closed by its deadline."""

    def resume_writing(self) -> None:
        """See pause_writing."""

    # ------------------------------------------------------------ replies

    def say(self, reply: SmtpReply) -> None:
        """Put a reply in the buffer; it leaves with the next flush."""
        self._out.append(reply.encode())
        if reply.code >= 400:
            self._errors += 1
            if self._errors > self.settings.errors and not self._closing:
                self._end(replies.TOO_MANY_ERRORS)

    def _flush(self) -> None:
        if self._out and self.wire is not None:
            self.wire.write(b"".join(self._out))
            self._out.clear()
        if self._closing and self.wire is not None:
            self.wire.close()

    def _end(self, reply: SmtpReply) -> None:
        self._out.append(reply.encode())
        self._closing = True

    def _close(self) -> None:
        self._closing = True
        self._flush()

    def expire(self) -> None:
        """The deadline passed without progress (called by the listeners' sweep)."""
        if self._busy:
            self.deadline = time.monotonic() + self.settings.command_seconds
            return
        self._end(replies.TIMEOUT)
        self._flush()

    def drain(self) -> None:
        """The service stops: say 421 when nothing is under way (RFC 5321 §3.8)."""
        if not self._busy and self._receiving is None and not self._closing:
            self._end(replies.SHUTTING_DOWN)
            self._flush()

    # ------------------------------------------------------------ what the verbs give to the loop

    @abstractmethod
    def _tls_is_up(self) -> Awaitable[None] | None:
        """TLS was just established: what to await before the peer is admitted or refused, then `_note_admission`; or None."""

    @abstractmethod
    def _note_admission(self) -> None:
        """The peer was admitted or refused: note a refusal."""

    @abstractmethod
    def _feed_data(self, receiving: Receiving) -> None:
        """Take what the buffer holds as content."""

    # ------------------------------------------------------------ the pump

    def _pump(self) -> None:
        try:
            while self._buffer and not self._busy and not self._closing:
                if self._receiving is not None:
                    self._feed_data(self._receiving)
                elif not self._one_line():
                    break
        except Exception:
            log.exception("session_fault", peer=self.state.peer)
            self._end(replies.INTERNAL)
        self._flush()

    def _one_line(self) -> bool:
        """Take one line of the buffer; False when it is not whole yet."""
        limit = AUTH_LINE if self._line_taker is not None else COMMAND_LINE
        newline = self._buffer.find(b"\n", 0, limit)
        if newline < 0:
            if len(self._buffer) >= limit:
                self._end(replies.LINE_TOO_LONG)
                self._buffer = b""
            return False
        line = self._buffer[:newline + 1]
        self._buffer = self._buffer[newline + 1:]
        self.deadline = time.monotonic() + self.settings.command_seconds
        if line[-2:] != b"\r\n" or b"\r" in line[:-2] or b"\x00" in line:  # bare LF, bare CR, NUL: RFC 5321 §2.3.8
            self.say(replies.BAD_LINE)
            self._line_taker = None
            return True
        if self._line_taker is not None:
            taker, self._line_taker = self._line_taker, None
            taker(line[:-2])
        else:
            self._command(line[:-2])
        return True

    def _command(self, line: bytes) -> None:
        self._commands += 1
        if self._commands > self.settings.commands:
            self._end(replies.TOO_MANY_COMMANDS)
            return
        verb_octets, _, argument_octets = line.partition(b" ")
        verb = verb_octets.upper().decode("ascii", "replace")
        method = self.verbs.get(verb)
        if method is None:
            self.say(replies.UNKNOWN_COMMAND)
            return
        if not self._secure and verb not in ("EHLO", "HELO", "STARTTLS", "NOOP", "QUIT", "RSET"):
            self.say(replies.NEED_TLS)
            return
        try:
            argument = argument_octets.strip().decode("utf-8")
        except UnicodeDecodeError:
            self.say(replies.SYNTAX)
            return
        try:
            method(self, argument)
        except ReplyFault as fault:
            self.say(fault.reply)

    def _wait_for(self, awaitable: Awaitable[Any], then: Callable[[Any], None]) -> None:
        """Answer later: no further command is read before `then` was given the result."""
        self._busy = True
        task = self.loop.create_task(self._settle(awaitable, then))
        _running.add(task)
        task.add_done_callback(_running.discard)

    async def _settle(self, awaitable: Awaitable[Any], then: Callable[[Any], None]) -> None:
        try:
            then(await awaitable)
        except StorageFull:
            self.say(replies.NO_SPACE)
        except MssFault as fault:
            log.warning("command_fault", peer=self.state.peer, kind=fault.kind, rule=fault.rule, detail=fault.detail)
            self.say(replies.INTERNAL)
        except Exception:
            log.exception("command_fault", peer=self.state.peer)
            self.say(replies.INTERNAL)
        self._busy = False
        if self._closing and self._receiving is not None:  # the peer left while a piece was being written
            self._receiving.sink.discard()
            self._receiving = None
        self.deadline = time.monotonic() + self.settings.command_seconds
        if not self._reading and self.wire is not None:
            self._reading = True
            self.wire.resume_reading()
        if self._buffer and not self._closing:
            self._pump()
        else:
            self._flush()


_running: set[asyncio.Task[None]] = set()  # strong references: a commit outlives its connection


def running_commands() -> set[asyncio.Task[None]]:
    """Give the tasks of commands under way, for the drain at stop."""
    return _running
