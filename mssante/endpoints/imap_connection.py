"""One IMAP connection over asyncio: octets to the protocol core, commands to the services, answers to the socket.

- A `Protocol`, not streams: what arrives is parsed at once, and a command that needs no wait is answered in the same call.
- One command at a time, in order. Octets that come meanwhile are kept up to `READ_AHEAD`, then the socket is not read.
- What is written waits in one buffer and leaves in one write per turn; a client that does not read stops its command, and
  after `stall_seconds` loses its connection. No transaction is open while we wait for a client.
- STARTTLS: octets that came before the handshake are never taken for commands; if there are any, the connection ends.
- A fault of ours is one log line without content and `NO [SERVERBUG]`; the session goes on.
- A command under way when the client leaves is finished, so that the others are told of what it changed.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import structlog

from mssante.endpoints.imap_eager import run_eagerly
from mssante.endpoints.imap_output import FLUSH_OCTETS, PacedConnection
from mssante.errors import MssFault, OperatorFault
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import ClientFault, CommandRefused, SessionEnd, encode_fault
from mssante.protocol.imap.session import NEED_DATA, Command, Event, ImapSession, Line, LiteralChunk, LiteralWanted
from mssante.protocol.imap.values import (
    Append,
    Authenticate,
    Completion,
    Condition,
    Idle,
    Login,
    Logout,
    StartTls,
    State,
)
from mssante.protocol.sasl import base as sasl
from mssante.protocol.sasl.mechanisms import begin as begin_exchange
from mssante.services.imap import append
from mssante.services.imap.dispatch import run
from mssante.services.imap.session import Answer, BrokenLine, Session
from mssante.services.imap.sync import idle_updates

if TYPE_CHECKING:
    from mssante.endpoints.imap import ImapEndpoint

READ_AHEAD = 256 * 1024  # octets kept while a command runs, after login
READ_AHEAD_BEFORE = 32 * 1024
EVENTS_A_TURN = 200  # then other connections have their turn

log = structlog.get_logger("imap")


class ImapConnection(PacedConnection):
    """One connection, from greeting to close."""

    def __init__(self, endpoint: ImapEndpoint) -> None:
        super().__init__(endpoint.settings.stall_seconds)
        self._endpoint = endpoint
        self._settings = endpoint.settings
        self._address = ""
        self._core = ImapSession()
        self._session = Session(endpoint.services, self._core, "")
        self._ahead = bytearray()
        self._busy = False
        self._pumping = False
        self._reading_paused = False
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._idle_tag: bytes | None = None
        self._exchange: sasl.Exchange | None = None
        self._exchange_tag = b""
        self._upload: append.Upload | None = None
        self._upload_fault: BaseException | None = None
        self._login_failures = 0
        self._last_heard = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------------------------------ transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse (RFC 9051 §7.1)."""
        self._bind(cast(asyncio.Transport, transport))
        peer = transport.get_extra_info("peername") or ("", 0)
        self._address = str(peer[0]) if isinstance(peer, tuple) else "local"
        port = peer[1] if isinstance(peer, tuple) and len(peer) > 1 else 0
        self._session.peer = f"{self._address}:{port}"
        self._core.tls = transport.get_extra_info("ssl_object") is not None
        refusal = self._endpoint.admit(self, self._address)
        if refusal:
            self._write(encode.bye(refusal))
            self._close()
            return
        self._last_heard = self._loop.time()
        self._timer = self._loop.call_later(self._settings.login_seconds, self._check_time)
        self._write(self._core.greeting(f"{self._settings.hostname} ready"))
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take octets and do what they ask."""
        if self._closed:
            return
        if self._core.state is not State.NOT_AUTHENTICATED:
            self._last_heard = self._loop.time()
        self._ahead += data
        self._pump()

    def eof_received(self) -> bool:
        """The client sends no more: close once answers are out."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a command under way ends by itself, then the session is left."""
        self._lost()
        if self._timer is not None:
            self._timer.cancel()
        self._ahead.clear()
        self._drop_upload()
        self._endpoint.forget(self, self._address)
        if not self._busy:
            self._session.end()

    def _caught_up(self) -> None:
        """The client reads again: tell what waited, go on with its commands."""
        if self._idle_tag is not None:
            self._push()
        self._pump()

    def stop(self) -> None:
        """The server stops: BYE now, or after the command under way."""
        self._stopping = True
        if not self._busy and not self._closed:
            self._write(encode.bye("the server is stopping"))
            self._close()

    # ------------------------------------------------------------------------------------------ time

    def _check_time(self) -> None:
        """End a connection that says nothing for too long (RFC 9051 §5.4), or does not log in."""
        before = self._core.state is State.NOT_AUTHENTICATED
        limit = self._settings.login_seconds if before else self._settings.idle_seconds
        left = self._last_heard + limit - self._loop.time()
        if self._closed:
            return
        if left > 0 or self._busy:
            self._timer = self._loop.call_later(max(left, 1.0), self._check_time)
            return
        self._write(encode.bye("no login in time" if before else "idle for too long"))
        self._close()

    # ------------------------------------------------------------------------------------------ reading

    def _pump(self) -> None:
        """Treat events until one has to wait, octets run out, or the turn is over."""
        if self._pumping:
            return
        self._pumping = True
        left = EVENTS_A_TURN
        try:
            while not self._busy and not self._closed and self._drained is None:
                if left == 0:
                    self._loop.call_soon(self._pump)
                    break
                event = self._core.next_event()
                if event is NEED_DATA:
                    if not self._feed():
                        break
                    continue
                left -= 1
                self._handle(event)
                if self._out_octets >= FLUSH_OCTETS:
                    self._flush()
        finally:
            self._pumping = False
        self._flush()
        self._pace_reading()

    def _feed(self) -> bool:
        """Give the core the octets it may hold; False when there are none."""
        if not self._ahead:
            return False
        size = self._core.read_size
        if len(self._ahead) <= size:
            self._core.receive(bytes(self._ahead))
            self._ahead.clear()
        else:
            self._core.receive(bytes(self._ahead[:size]))
            del self._ahead[:size]
        return True

    def _pace_reading(self) -> None:
        """Read from the socket only while there is room for what may come."""
        if self._closed or self._transport is None:
            return
        limit = READ_AHEAD_BEFORE if self._core.state is State.NOT_AUTHENTICATED else READ_AHEAD
        full = len(self._ahead) >= limit or (self._busy and len(self._ahead) > 0)
        if full and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()
        elif not full and self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def _handle(self, event: Event) -> None:
        """Treat one event of the core."""
        match event:
            case Command():
                self._command(event)
            case LiteralWanted(value=None):
                self._write(self._core.accept_literal())
            case LiteralWanted():
                self._start(self._begin_append(event))
            case LiteralChunk(data):
                self._chunk(data)
            case Line(data):
                self._line(data)
            case SessionEnd():
                self._write(encode_fault(event, None))
                self._close()
            case ClientFault() | CommandRefused():
                self._end_idle()
                self._exchange = None
                self._drop_upload()
                self._write(encode_fault(event, event.tag))

    # ------------------------------------------------------------------------------------------ commands

    def _start(self, running: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine; commands behind it wait when it does. It must not raise."""
        self._busy = True
        self._task = run_eagerly(running)
        if self._task is None:
            self._busy = False
        else:
            self._task.add_done_callback(self._resumed)

    def _resumed(self, task: asyncio.Task[None]) -> None:
        """A command that had to wait is done."""
        self._busy = False
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            self._log_fault("task", cast(BaseException, task.exception()))
            self.abort()
        if self._closed:
            self._session.end()
            return
        if self._stopping:
            self.stop()
            return
        self._pump()

    def _command(self, command: Command) -> None:
        """Start a command."""
        tag = command.tag
        match command.value:
            case StartTls():
                self._start(self._start_tls(tag))
            case Login(user, password):
                self._start(self._login(tag, user, password))
            case Authenticate(mechanism, initial):
                self._authenticate(tag, mechanism, initial)
            case Idle():
                self._start(self._idle(tag))
            case Logout():
                self._write(encode.bye("logging out"))
                self._write(encode.tagged(tag, Completion(text="LOGOUT completed")))
                self._close()
            case Append() as value:
                self._start(self._perform(command, self._finish_append(tag, value)))
            case _:
                self._start(self._perform(command, run(self._session, tag, command.value)))

    async def _perform(self, command: Command, running: Coroutine[Any, Any, Answer]) -> None:
        """Run a command to its tagged line, whatever happens."""
        tag = command.tag
        try:
            answer = await running
            for data in answer.data:
                self._write(data)
            if answer.stream is not None:
                async with aclosing(answer.stream) as stream:
                    async for data in stream:
                        self._write(data)
                        await self._pace()
            if not answer.quiet:
                for data in self._session.updates(expunges=answer.expunges):
                    self._write(data)
            self._write(encode.tagged(tag, answer.completion))
        except SessionEnd as end:
            self._write(encode_fault(end, None))
            self._close()
        except ConnectionResetError:
            self.abort()
        except BrokenLine as broken:
            self._log_fault(command.name, broken.__cause__ or broken)
            self.abort()
        except Exception as fault:  # the border: anything unexpected is temporary and never shown
            self._refuse(tag, command.name, fault)

    def _refuse(self, tag: bytes, name: str, fault: BaseException) -> None:
        """Answer a fault with its tagged line; ours are logged."""
        if not isinstance(fault, MssFault) or isinstance(fault, OperatorFault):
            self._log_fault(name, fault)
        self._write(encode_fault(fault, tag))

    def _log_fault(self, name: str, fault: BaseException) -> None:
        """One line: what kind of fault, where in our code; never its text, which may quote a message."""
        frames = traceback.extract_tb(fault.__traceback__)
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
        rule = fault.rule if isinstance(fault, MssFault) else ""
        log.error("imap_command_failed", command=name, fault=type(fault).__name__, rule=rule, place=place)

    # ------------------------------------------------------------------------------------------ TLS and login

    async def _start_tls(self, tag: bytes) -> None:
        """STARTTLS (RFC 9051 §6.2.1)."""
        context, transport = self._endpoint.tls, self._transport
        if context is None or transport is None:
            self._write(encode.tagged(tag, Completion(Condition.NO, "TLS is not available", b"UNAVAILABLE")))
            return
        if self._ahead or self._core.buffered or not self._core.start_tls():
            # Octets sent before the handshake could be anyone's (RFC 9051 §11.1).
            self._write(encode.bye("no command may follow STARTTLS before TLS is active"))
            self._close()
            return
        self._write(encode.tagged(tag, Completion(text="begin TLS now")))
        self._flush()
        try:
            secured = await self._loop.start_tls(transport, self, context, server_side=True,
                                                 ssl_handshake_timeout=self._settings.handshake_seconds)
        except (OSError, ConnectionError) as fault:
            log.info("imap_handshake_failed", fault=type(fault).__name__)
            self.abort()
            return
        if secured is None:
            self.abort()
            return
        self._bind(secured)
        self._reading_paused = False

    def _authenticate(self, tag: bytes, mechanism: str, initial: bytes | None) -> None:
        """AUTHENTICATE (RFC 9051 §6.2.2)."""
        exchange = begin_exchange(mechanism)
        if exchange is None:
            self._write(encode.tagged(tag, Completion(Condition.NO, "this mechanism is not supported", b"CANNOT")))
            return
        self._exchange, self._exchange_tag = exchange, tag
        self._go_on(exchange.start(initial))

    def _go_on(self, answer: sasl.Answer) -> None:
        """Treat what an exchange says."""
        tag = self._exchange_tag
        match answer:
            case sasl.Challenge():
                self._core.expect_line()
                self._write(encode.continuation(sasl.encode_challenge(answer)))
            case sasl.Failure(text):
                self._exchange = None
                self._write(encode.tagged(tag, Completion(Condition.BAD, text)))
            case sasl.Credentials(authzid, authcid, password):
                self._exchange = None
                if authzid:
                    refusal = Completion(Condition.NO, "no other identity may be taken", b"AUTHORIZATIONFAILED")
                    self._write(encode.tagged(tag, refusal))
                    return
                self._start(self._login(tag, authcid, password))

    async def _login(self, tag: bytes, login: str, password: str) -> None:
        """Check a password; too many failures end the session."""
        try:
            good = await self._session.login(login, password)
        except Exception as fault:  # the border: a failing store must not look like a wrong password
            self._refuse(tag, "LOGIN", fault)
            return
        if good:
            self._core.logged_in()
            self._last_heard = self._loop.time()
            self._write(encode.tagged(tag, Completion(text="logged in", code=self._core.capability_code())))
            return
        self._login_failures += 1
        if self._settings.login_delay_seconds > 0:
            await asyncio.sleep(self._settings.login_delay_seconds)
        self._write(encode.tagged(tag, Completion(Condition.NO, "login refused", b"AUTHENTICATIONFAILED")))
        if self._login_failures >= self._settings.login_failures:
            self._write(encode.bye("too many failed logins"))
            self._close()

    # ------------------------------------------------------------------------------------------ lines, IDLE

    def _line(self, data: bytes) -> None:
        """Treat the line that IDLE or AUTHENTICATE waits for."""
        if self._exchange is not None:
            decoded = sasl.decode_response(data)
            self._go_on(decoded if isinstance(decoded, sasl.Failure) else self._exchange.respond(decoded))
            return
        tag = self._idle_tag
        if tag is None:
            return
        self._end_idle()
        if data.upper() != b"DONE":
            self._write(encode.tagged(tag, Completion(Condition.BAD, "DONE was expected")))
            return
        self._start(self._perform(Command(tag, "IDLE", Idle()), self._idle_done()))

    async def _idle(self, tag: bytes) -> None:
        """IDLE (RFC 9051 §6.3.13): tell what is new, then wait for the doorbell or DONE."""
        try:
            await self._session.revalidate()
        except SessionEnd as end:
            self._write(encode_fault(end, None))
            self._close()
            return
        except Exception as fault:  # the border
            self._refuse(tag, "IDLE", fault)
            return
        self._core.expect_line()
        self._idle_tag = tag
        self._write(encode.continuation(b"idling"))
        if self._session.view is not None and self._session.cursor is not None:
            self._session.view.listen(self._session.cursor, self._push)
        self._write(idle_updates(self._session))

    async def _idle_done(self) -> Answer:
        return Answer(completion=Completion(text="IDLE completed"))

    def _end_idle(self) -> None:
        self._idle_tag = None
        if self._session.view is not None and self._session.cursor is not None:
            self._session.view.unlisten(self._session.cursor)

    def _push(self) -> None:
        """The folder changed while the client idles: tell it now, unless it does not read."""
        view = self._session.view
        if self._closed or self._idle_tag is None or self._drained is not None or view is None:
            return
        if view.gone:
            self._write(encode.bye("the folder that was open has been deleted"))
            self._close()
            return
        self._write(idle_updates(self._session))
        self._flush()

    # ------------------------------------------------------------------------------------------ APPEND

    async def _begin_append(self, wanted: LiteralWanted) -> None:
        """Check an APPEND; ask for its octets, or refuse before they come."""
        value = cast(Append, wanted.value)
        try:
            self._upload = await append.begin(self._session, value)
        except Exception as fault:  # the border
            self._core.refuse_literal()
            self._refuse(wanted.tag, "APPEND", fault)
            return
        self._upload_fault = None
        self._write(self._core.accept_literal())

    def _chunk(self, data: bytes) -> None:
        """Take octets of the message."""
        if self._upload is None:
            return
        self._upload.add(data)
        if self._upload.wants_flush:
            self._start(self._flush_upload(self._upload))

    async def _flush_upload(self, upload: append.Upload) -> None:
        """Write octets to the blob store; a fault is told when the command is complete."""
        try:
            await upload.flush()
        except Exception as fault:  # the border
            self._upload_fault = fault
            self._drop_upload()

    async def _finish_append(self, tag: bytes, value: Append) -> Answer:
        """Commit the message."""
        upload, self._upload = self._upload, None
        if upload is None:
            raise self._upload_fault or CommandRefused("the message was not received", code="SERVERBUG")
        self._session.tag = tag
        try:
            await self._session.revalidate()
        except BaseException:
            upload.discard()
            raise
        return await append.finish(self._session, value, upload)

    def _drop_upload(self) -> None:
        if self._upload is not None:
            self._upload.discard()
            self._upload = None
