"""One outbound SMTP session over TCP and TLS: drives `protocol/smtp/client.py` on an asyncio transport.

Guarantees
- The order is fixed: connect, greeting, EHLO, STARTTLS, handshake, `verify(leaf certificate)`, and only then anything
  else. No path leads to a message octet in clear, or to a peer that `verify` refused.
- Every wait has a deadline (RFC 5321 §4.5.3.2) and a whole transaction has one too, so that a peer that drips cannot
  hold a session for ever. Bodies go out with back-pressure: at most about 512 KiB wait in memory.
- A body that cannot be sent whole gets no final dot: the connection is cut instead.
- What was answered before a failure is kept: `SessionResult.replies`.

Never: resolves names beyond the address given, retries, logs, keeps a message. Called by `transport/operators.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from mssante.errors import MssFault, OperatorFault
from mssante.observability.metrics import TLS_SESSIONS
from mssante.protocol.smtp.client import (
    Ended,
    Event,
    Failed,
    Finished,
    Phase,
    Ready,
    SendBody,
    SmtpClient,
    StartTls,
    Transaction,
    TransactionReplies,
)
from mssante.protocol.smtp.dots import DotStuffer, stuff
from mssante.protocol.smtp.extensions import Extensions
from mssante.protocol.smtp.replies import SmtpFault
from mssante.services.ports import Body

VerifyLeaf = Callable[[bytes], Awaitable[None] | None]
_PIECE = 131_072  # octets handed to TLS at a time: about 0.1 ms of the loop
_HIGH_WATER = 524_288


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect. host: address literal or name; server_name: the name sent in the TLS hello, or empty."""

    host: str
    port: int
    server_name: str = ""

    def __str__(self) -> str:
        return f"{self.server_name or self.host}[{self.host}]:{self.port}"


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """Seconds. The defaults are the minima of RFC 5321 §4.5.3.2 where it states one; `transaction` bounds them all."""

    connect: float = 30.0
    handshake: float = 10.0  # RELIABILITY §2 "TLS floor"
    greeting: float = 300.0
    command: float = 300.0
    block: float = 180.0
    final: float = 600.0
    quit: float = 5.0
    opening: float = 900.0  # all hosts of one attempt together
    transaction: float = 1800.0


@dataclass(frozen=True, slots=True)
class SessionResult:
    """What became of one transaction. fault: what interrupted it, None when it ran to its end."""

    replies: TransactionReplies
    fault: MssFault | None = None


class _Wire(asyncio.Protocol):
    """The transport's side: octets to the core, events to whoever waits."""

    def __init__(self, client: SmtpClient) -> None:
        self.client = client
        self.events: deque[Event] = deque()
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.closed = asyncio.get_running_loop().create_future()
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # TCP and TLS transports are both Transport

    def data_received(self, data: bytes) -> None:
        events = self.client.receive(data)
        self.events.extend(events)
        if any(isinstance(event, StartTls) for event in events) and self.transport is not None:
            self.transport.pause_reading()  # whatever comes next belongs to the TLS handshake
        self.flush()
        self._wake()

    def eof_received(self) -> None:
        self._lost("end of data")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(_reason(exc))
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._wake()

    def flush(self) -> None:
        """Write what the core has to say."""
        data = self.client.data_to_send()
        if data and self.transport is not None:
            self.transport.write(data)

    def fail(self, fault: SmtpFault) -> None:
        """Cut the connection at once; no octet that waits is sent."""
        self.client.phase = Phase.CLOSED
        self.events.append(Failed(fault))
        self.cut()

    def cut(self) -> None:
        """Cut the connection at once."""
        self.client.phase = Phase.CLOSED
        if self.transport is not None:
            self.transport.abort()

    async def change(self) -> None:
        """Wait until something happened: an event, room to write, the end."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _lost(self, detail: str) -> None:
        self.events.extend(self.client.receive_end(detail))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _reason(exc: BaseException | None) -> str:
    """Give a short technical reason, free of anything personal."""
    if exc is None:
        return ""
    if isinstance(exc, ssl.SSLError):
        return f"TLS: {exc.reason or type(exc).__name__}"
    return f"{type(exc).__name__} {getattr(exc, 'errno', '') or ''}".strip()


class SmtpSession:
    """A session past STARTTLS and past the peer check. Made by `open_session`; one transaction at a time."""

    def __init__(self, wire: _Wire, remote: str, timeouts: SmtpTimeouts) -> None:
        self._wire = wire
        self._timeouts = timeouts
        self.remote = remote
        self.tls = ""
        self.certificate = ""
        self.leaf = b""
        self.transactions = 0
        self.context: ssl.SSLContext | None = None  # what our certificate was shown from
        self.tls_object: ssl.SSLObject | None = None

    @property
    def extensions(self) -> Extensions:
        """What the server announced inside TLS."""
        return self._wire.client.extensions

    @property
    def usable(self) -> bool:
        """True while another transaction may begin."""
        return self._wire.client.phase is Phase.READY and not self._wire.events

    async def send(self, transaction: Transaction, body: Body) -> SessionResult:
        """Run one transaction. A body given as pieces is checked before MAIL; a stream, as it goes.

        Raises nothing for what the peer or the content does: it is in the result. Cancellation cuts the connection.
        """
        client = self._wire.client
        try:
            pieces = body if callable(body) else _stuffed(body)
            client.begin(transaction)
        except MssFault as fault:
            return SessionResult(TransactionReplies(recipients=[None] * len(transaction.recipients)), fault)
        self.transactions += 1
        try:
            async with asyncio.timeout(self._timeouts.transaction):
                return SessionResult(await self._transact(pieces))
        except TimeoutError:
            self._wire.cut()
            return SessionResult(client.replies, _late(client.replies, "transaction"))
        except MssFault as fault:
            self._wire.cut()
            return SessionResult(client.replies, fault)
        except BaseException:
            self._wire.cut()
            raise

    async def quit(self) -> None:
        """End the session politely when it can be, at once otherwise. Raises nothing but cancellation."""
        wire = self._wire
        try:
            if self.usable:
                wire.client.quit()
                wire.flush()
                await _next_event(wire, self._timeouts.quit, "QUIT")
        except MssFault:
            pass
        finally:
            if wire.transport is not None:
                wire.transport.close()
        try:
            await asyncio.wait_for(asyncio.shield(wire.closed), self._timeouts.quit)
        except TimeoutError:
            wire.cut()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._wire.cut()

    async def _transact(self, pieces: list[bytes] | Callable[[], AsyncIterator[bytes]]) -> TransactionReplies:
        wire = self._wire
        wire.flush()
        while True:
            final = wire.client.phase is Phase.FINAL
            seconds, name = (self._timeouts.final, "final dot") if final else (self._timeouts.command, "envelope")
            event = await _next_event(wire, seconds, name)
            if isinstance(event, Finished):
                return event.replies
            if isinstance(event, SendBody):
                await self._send_body(pieces)

    async def _send_body(self, pieces: list[bytes] | Callable[[], AsyncIterator[bytes]]) -> None:
        """Send the stuffed content then the final dot; stop at the first event, room or not."""
        wire = self._wire
        last = b""
        async for piece in _stream(pieces):
            if last:
                await self._write(last)
            last = piece
        if wire.events:
            return  # the server spoke in the middle of the body: no final dot
        wire.client.body_sent()
        if wire.transport is not None:
            wire.transport.write(last + wire.client.data_to_send())  # one TLS record less for small messages

    async def _write(self, piece: bytes) -> None:
        wire = self._wire
        view = memoryview(piece)
        for start in range(0, len(view), _PIECE):
            if wire.paused:
                await self._room()
            if wire.events or wire.transport is None or wire.transport.is_closing():
                _raise_if_over(wire)
                raise SmtpFault("connection closed by the remote server", rule="SMTP-CLOSED")
            wire.transport.write(view[start:start + _PIECE])

    async def _room(self) -> None:
        wire = self._wire
        try:
            async with asyncio.timeout(self._timeouts.block):
                while wire.paused and not wire.events:
                    await wire.change()
        except TimeoutError:
            raise SmtpFault("the remote server does not take the content", rule="SMTP-TIMEOUT") from None


def _stuffed(body: object) -> list[bytes]:
    """Stuff a content given as pieces. Raises InputFault (`SMTP-BARE-…`, `SMTP-NUL`) before anything is sent."""
    pieces: list[bytes] = []
    gathered: list[bytes] = []
    size = 0
    for piece in stuff(body):  # type: ignore[arg-type]  # Sequence[bytes] once the callable form is excluded
        gathered.append(piece)
        size += len(piece)
        if size >= _PIECE:  # many small pieces would be as many TLS records
            pieces.append(b"".join(gathered))
            gathered, size = [], 0
    if gathered:
        pieces.append(b"".join(gathered))
    return pieces


async def _stream(pieces: list[bytes] | Callable[[], AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    """Give stuffed pieces. Raises InputFault for content that cannot be sent, OperatorFault when it cannot be read."""
    if not callable(pieces):
        for piece in pieces:
            yield piece
        return
    stuffer = DotStuffer()
    source = pieces()
    try:
        async for chunk in source:
            ready = stuffer.feed(chunk)
            if ready:
                yield ready
    except MssFault:
        raise
    except Exception as exc:
        raise OperatorFault("content cannot be read", rule="SMTP-BODY", detail=type(exc).__name__) from exc
    last = stuffer.finish()
    if last:
        yield last


def _late(replies: TransactionReplies, name: str) -> SmtpFault:
    """Give the fault of a wait that lasted too long; after our final dot nobody knows (RFC 1047)."""
    unknown = replies.body_ended and replies.final is None
    return SmtpFault(f"no answer in time ({name})", rule="SMTP-OUTCOME-UNKNOWN" if unknown else "SMTP-TIMEOUT")


def _raise_if_over(wire: _Wire) -> None:
    """Raise the fault that the next event stands for, when it ends the session."""
    event = wire.events[0] if wire.events else None
    if isinstance(event, Failed):
        raise event.fault
    if isinstance(event, Ended):
        raise SmtpFault("the remote server ends the session", rule="SMTP-ENDED", reply=event.reply)


async def _next_event(wire: _Wire, seconds: float, name: str) -> Event:
    """Give the next event. Raises SmtpFault when it ends the session or does not come within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not wire.events:
                await wire.change()
    except TimeoutError:
        raise _late(wire.client.replies, name) from None
    if wire.client.phase is not Phase.QUIT:
        _raise_if_over(wire)
    return wire.events.popleft()


async def _connect(target: Endpoint, ehlo_name: str, timeouts: SmtpTimeouts) -> _Wire:
    client = SmtpClient(ehlo_name)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeouts.connect):
            _, wire = await loop.create_connection(lambda: _Wire(client), target.host, target.port)
    except (OSError, TimeoutError) as exc:
        raise SmtpFault("no connection", rule="SMTP-CONNECT", detail=_reason(exc)) from exc
    return wire


async def _start_tls(wire: _Wire, target: Endpoint, tls: ssl.SSLContext, timeouts: SmtpTimeouts) -> ssl.SSLObject:
    """Do the handshake; give the TLS object. Raises SmtpFault (`SMTP-TLS-HANDSHAKE`)."""
    loop = asyncio.get_running_loop()
    _raise_if_over(wire)
    if wire.transport is None or wire.transport.is_closing():
        raise SmtpFault("connection closed before TLS", rule="SMTP-CLOSED")
    try:
        transport = await loop.start_tls(
            wire.transport, wire, tls, server_hostname=target.server_name or None,
            ssl_handshake_timeout=timeouts.handshake, ssl_shutdown_timeout=timeouts.quit)
    except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
        raise SmtpFault("TLS handshake failed", rule="SMTP-TLS-HANDSHAKE", detail=_reason(exc)) from exc
    if transport is None:
        raise SmtpFault("TLS handshake failed", rule="SMTP-TLS-HANDSHAKE", detail="no transport")
    wire.transport = transport
    transport.set_write_buffer_limits(high=_HIGH_WATER)
    found = transport.get_extra_info("ssl_object")
    if not isinstance(found, ssl.SSLObject):
        raise SmtpFault("TLS handshake failed", rule="SMTP-TLS-HANDSHAKE", detail="no TLS object")
    return found


def _check_peer(session: SmtpSession, tls: ssl.SSLObject, verify: VerifyLeaf) -> Awaitable[None] | None:
    """Show the leaf to `verify` and note the facts. Raises what `verify` raises, or SmtpFault (`SMTP-TLS-PEER`)."""
    leaf = tls.getpeercert(binary_form=True)
    if not leaf:
        raise SmtpFault("the remote server shows no certificate", rule="SMTP-TLS-PEER")
    cipher = tls.cipher()
    session.tls = f"{tls.version()} {cipher[0] if cipher else ''}".strip()
    session.leaf = leaf
    session.tls_object = tls
    TLS_SESSIONS.labels("out", "resumed" if tls.session_reused else "full").inc()
    session.certificate = hashlib.sha256(leaf).hexdigest()
    return verify(leaf)


async def open_session(target: Endpoint, *, tls: ssl.SSLContext, ehlo_name: str, verify: VerifyLeaf,
                       timeouts: SmtpTimeouts) -> SmtpSession:
    """Connect, start TLS, check the peer, say EHLO; give a session ready for transactions (RFC 5321 §3.1, RFC 3207).

    tls: context with our certificate, host name check off; verify: takes the leaf's DER, raises MssFault to refuse, at once
    or when what it gives is awaited.
    Raises SmtpFault (`SMTP-CONNECT`, `SMTP-GREETING`, `SMTP-EHLO`, `SMTP-NO-STARTTLS`, `SMTP-STARTTLS-INJECTION`,
    `SMTP-TLS-…`, `SMTP-TIMEOUT`, `SMTP-CLOSED`, `SMTP-ENDED`) and whatever MssFault `verify` raises.
    """
    wire = await _connect(target, ehlo_name, timeouts)
    session = SmtpSession(wire, str(target), timeouts)
    try:
        event = await _next_event(wire, timeouts.greeting, "greeting")
        if not isinstance(event, StartTls):
            raise SmtpFault("session out of order", rule="SMTP-UNSOLICITED")
        tls_object = await _start_tls(wire, target, tls, timeouts)
        waiting = _check_peer(session, tls_object, verify)
        if waiting is not None:
            await waiting
        _raise_if_over(wire)
        wire.client.tls_established()
        wire.flush()
        event = await _next_event(wire, timeouts.command, "EHLO")
        if not isinstance(event, Ready):
            raise SmtpFault("session out of order", rule="SMTP-UNSOLICITED")
    except BaseException:
        wire.cut()
        raise
    return session
