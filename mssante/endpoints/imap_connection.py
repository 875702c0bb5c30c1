"""One IMAP connection over asyncio: octets to the protocol core, commands to the services, answers to the socket.

- A `Protocol`, not streams: what arrives is parsed at once, and a command that needs no wait is answered in the same call.
- One command at a time, in order. Octets that come meanwhile are kept up to `READ_AHEAD`, then the socket is not read.
- What is written waits in one buffer and leaves in one write per turn; a client that does not read stops its command, and
  after `stall_seconds` loses its connection. No transaction is open while we wait for a client.
- STARTTLS and login are in `endpoints/imap_login.py`, uploads in `endpoints/imap_append.py`, IDLE and NOTIFY in
  `endpoints/imap_push.py`: its bases.
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
from mssante.endpoints.imap_output import FLUSH_OCTETS
from mssante.endpoints.imap_push import PushSide
from mssante.errors import MssFault, OperatorFault
from mssante.observability.metrics import LIMITS
from mssante.protocol.imap import encode
from mssante.protocol.imap.deflate import Inflater
from mssante.protocol.imap.faults import ClientFault, CommandRefused, SessionEnd, encode_fault
from mssante.protocol.imap.session import NEED_DATA, Command, Event, Line, LiteralChunk, LiteralWanted
from mssante.protocol.imap.values import (
    Append,
    Authenticate,
    Check,
    Completion,
    Compress,
    Condition,
    Idle,
    Login,
    Logout,
    Noop,
    StartTls,
    State,
    Unauthenticate,
)
from mssante.services.imap.dispatch import run
from mssante.services.imap.session import Answer, BrokenLine

if TYPE_CHECKING:
    from mssante.endpoints.imap import ImapEndpoint

READ_AHEAD = 256 * 1024  # octets kept while a command runs, after login
READ_AHEAD_BEFORE = 32 * 1024
EVENTS_A_TURN = 200  # then other connections have their turn
MAX_WAIT_SECONDS = 1.0

log = structlog.get_logger("imap")


class ImapConnection(PushSide):
    """One connection, from greeting to close."""

    def __init__(self, endpoint: ImapEndpoint) -> None:
        super().__init__(endpoint)
        self._address = ""
        self._pumping = False
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None  # of the command that waits
        self._silent = False  # nothing of the answer is written yet
        self._slowed = False
        self._slow_since = 0.0  # since when the client has not paused; 0: it has

    # ------------------------------------------------------------------------------------------ transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or refuse (RFC 9051 §7.1)."""
        self._bind(cast(asyncio.Transport, transport))
        peer = transport.get_extra_info("peername") or ("", 0)
        self._address = str(peer[0]) if isinstance(peer, tuple) else "local"
        port = peer[1] if isinstance(peer, tuple) and len(peer) > 1 else 0
        self._session.peer = f"{self._address}:{port}"
        self._core.tls = transport.get_extra_info("ssl_object") is not None
        if self._core.tls:
            self._tls_is_up()
        refusal = self._endpoint.admit(self, self._address)
        if refusal:
            self._write(encode.bye(refusal))
            self._close()
            return
        self._last_heard = self._loop.time()
        self._timer = self._loop.call_later(self._settings.login_seconds, self._check_time)
        self._write(self._core.greeting(f"{self._settings.hostname} ready"))
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the loop where to read: one place for all connections, as `buffer_updated` takes it before the next read."""
        return self._endpoint.reading

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the loop has read."""
        self.data_received(self._endpoint.reading[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
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
        self._forget_use()
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

    @property
    def _running(self) -> bool:
        """Whether a command is under way."""
        return self._busy

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
        LIMITS.labels("login_time" if before else "idle_time").inc()
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
            if self._core.hungry and not self._busy and not self._closed:  # it said so before: ask it with what came
                self._feed()
            while not self._busy and not self._closed and self._drained is None and not self._slowed:
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
                if not self._ahead and self._core.hungry and self._inflater is None:  # most often: one command came, and is done
                    break
        finally:
            self._pumping = False
        self._tell_waiting()
        if left < EVENTS_A_TURN:
            self._pace_commands(EVENTS_A_TURN - left)
        self._flush()
        self._pace_reading()

    def _pace_commands(self, count: int) -> None:
        """Let a client that sends too many commands wait; end the connection of one that never pauses."""
        now = self._loop.time()
        wait = self._bucket.take(count, now)
        if self._use is not None:
            wait = max(wait, self._use.bucket.take(count, now))
        if wait <= 0 or self._closed:
            self._slow_since = 0.0
            return
        self._slow_since = self._slow_since or now
        if now - self._slow_since > self._settings.commands_patience_seconds:
            LIMITS.labels("commands").inc()
            self._write(encode.bye("too many commands"))
            self._close()
            return
        self._slowed = True
        self._loop.call_later(min(wait, MAX_WAIT_SECONDS), self._go_faster)

    def _go_faster(self) -> None:
        self._slowed = False
        self._pump()

    def _feed(self) -> bool:
        """Give the core the octets it may hold; False when there are none."""
        if self._inflater is not None:
            return self._feed_inflated(self._inflater)
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

    def _feed_inflated(self, inflater: Inflater) -> bool:
        """The same, of a compressed stream."""
        if inflater.over:
            self._inflater = None
            return self._feed()
        try:
            data = inflater.take(self._ahead, self._core.read_size)
        except SessionEnd as end:
            LIMITS.labels("compression").inc()
            self._write(encode_fault(end, None))
            self._close()
            return False
        if data:
            self._core.receive(data)
        return bool(data) or (inflater.over and self._feed())

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
            self._patience = self._loop.call_later(max(1.0, self._settings.progress_seconds), self._still_working)

    def _still_working(self) -> None:
        """A command has been waiting for long for one step: say that it goes on (RFC 9585), never inside an answer."""
        if self._task is None or self._closed:
            return
        if self._silent:
            self._session.progress()
        self._patience = self._loop.call_later(max(1.0, self._settings.progress_seconds), self._still_working)

    def _resumed(self, task: asyncio.Task[None]) -> None:
        """A command that had to wait is done."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
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
            case Compress(algorithm):
                self._start_compression(tag, algorithm)
            case Unauthenticate():
                self._unauthenticate(tag)
            case _:
                self._start(self._perform(command, run(self._session, tag, command.value)))

    def _start_compression(self, tag: bytes, algorithm: str) -> None:
        """COMPRESS (RFC 4978 §3); TLS never compresses here, so nothing is compressed twice."""
        if algorithm != "DEFLATE":
            self._write(encode.tagged(tag, Completion(Condition.NO, "only DEFLATE is offered", b"CANNOT")))
        elif self._deflater is not None:
            self._write(encode.tagged(tag, Completion(Condition.NO, "DEFLATE is already active", b"COMPRESSIONACTIVE")))
        elif self._ahead or self._core.buffered or self._inflater is not None:
            self._write(encode.bye("no command may follow COMPRESS before its answer"))
            self._close()
        else:
            self._write(encode.tagged(tag, Completion(text="DEFLATE active")))
            self._compress()

    async def _perform(self, command: Command, running: Coroutine[Any, Any, Answer]) -> None:
        """Run a command to its tagged line, whatever happens."""
        tag = command.tag
        try:
            self._session.begin_progress(tag)
            self._silent = True
            try:
                answer = await running
            finally:
                self._silent = False
            self._write(b"".join(answer.data))
            if answer.stream is not None:
                async with aclosing(answer.stream) as stream:
                    async for data in stream:
                        self._write(data)
                        await self._pace()
            if not answer.quiet:
                asked = isinstance(command.value, Append | Check | Noop)
                for data in self._session.updates(expunges=answer.expunges, asked=asked):
                    self._write(data)
                await self._with_new_messages()
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

    # ------------------------------------------------------------------------------------------ lines, IDLE

    def _line(self, data: bytes) -> None:
        """Treat the line that IDLE or AUTHENTICATE waits for."""
        if self._exchange is not None:
            self._respond(data)
            return
        tag = self._idle_tag
        if tag is None:
            return
        self._end_idle()
        if data.upper() != b"DONE":
            self._write(encode.tagged(tag, Completion(Condition.BAD, "DONE was expected")))
            return
        self._start(self._perform(Command(tag, "IDLE", Idle()), self._idle_done()))
