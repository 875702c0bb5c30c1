"""TLS of one accepted connection, whose handshake is worked out beside the event loop (docs/adr/0027).

A full handshake with a client's certificate is a millisecond of arithmetic. On the loop's thread every other session waits for
it, and a second core idles. Here each step of it is done by a thread while the loop goes on; what follows the handshake is done
on the loop, where a hop would cost more than the work.

- A session sees a transport: `write`, `close`, `abort`, `pause_reading`, `resume_reading`, `get_extra_info`, `is_closing`.
- While a thread works on the handshake nobody else touches the TLS state: what the peer sends meanwhile is kept, and no more is
  read past `EARLY_BYTES`.
- A handshake that fails is answered with its alert (RFC 8446 §6.2), then the connection ends; one that takes too long ends.
- `close` sends what was written and close_notify (RFC 8446 §6.1), shuts our half, and reads the peer out for `LINGER_SECONDS`
  at most: closing while octets of the peer are unread would reset the connection and lose our last reply on its way.
- The peer's octets in clear never come here: the caller looks after what was read before (RFC 3207 §4.2).

Called by `endpoints.smtp_verbs` after STARTTLS. One pipe is one connection.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from functools import lru_cache
from queue import SimpleQueue
from typing import Any, Protocol

from mssante.endpoints.tls_context import alert_of

EARLY_BYTES = 64 * 1024  # a client's flight with a chain of certificates is some 5 KiB
LINGER_SECONDS = 2.0
RECORD = 16 * 1024  # octets of one TLS record, RFC 8446 §5.1
MOST_THREADS = 4


class PlainSession(Protocol):
    """Who reads and writes inside TLS."""

    def data_received(self, data: bytes) -> None:
        """Take octets that were decrypted."""
        ...

    def eof_received(self) -> bool | None:
        """The peer will say no more; True keeps our half open."""
        ...

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        ...


@lru_cache(maxsize=1)
def _threads() -> SimpleQueue[TlsPipe]:
    """Start the threads of the process; give where they take their work."""
    queue: SimpleQueue[TlsPipe] = SimpleQueue()

    def work() -> None:
        while True:
            queue.get().step()

    for number in range(min(MOST_THREADS, os.cpu_count() or 1)):
        threading.Thread(target=work, name=f"tls_{number}", daemon=True).start()
    return queue


class TlsPipe(asyncio.BufferedProtocol):
    """Stands between the socket's transport and a session."""

    __slots__ = ("_closing", "_done", "_early", "_incoming", "_loop", "_outgoing", "_place", "_session", "_timer", "_tls", "_up",
                 "_wire", "_working")

    def __init__(self, wire: asyncio.Transport, context: ssl.SSLContext, session: PlainSession, place: memoryview) -> None:
        """wire: the transport in clear; place: writable, where sockets are read, free again at the end of each call."""
        self._wire = wire
        self._session = session
        self._place = place
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._loop = asyncio.get_running_loop()
        self._early = b""
        self._up = self._working = self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._done: asyncio.Future[None] = self._loop.create_future()

    # ------------------------------------------------------------ handshake

    def handshake(self, seconds: float) -> asyncio.Future[None]:
        """Take the connection over; give what ends with the handshake. It raises ssl.SSLError, TimeoutError past `seconds`,
        ConnectionError when the peer left: the connection is then closing, and the session is not told."""
        self._timer = self._loop.call_later(seconds, self._fail, TimeoutError("handshake"))
        self._wire.set_protocol(self)
        return self._done

    def step(self) -> None:
        """Work on the handshake, on a thread."""
        fault: Exception | None = None
        try:
            self._tls.do_handshake()
        except Exception as exc:
            fault = exc
        try:
            self._loop.call_soon_threadsafe(self._stepped, fault)
        except RuntimeError:
            pass  # the loop was closed meanwhile, the connection with it

    def _stepped(self, fault: Exception | None) -> None:
        self._working = False
        if self._done.done():  # too late, or the peer left
            return
        if len(self._early) > EARLY_BYTES:
            self._wire.resume_reading()
        if fault is not None and not isinstance(fault, ssl.SSLWantReadError):
            self._fail(fault)
            return
        self._let_out()
        if fault is None:
            self._up = True
            self._settle()
            self._done.set_result(None)
            if self._early or self._incoming.pending:  # what followed the last flight at once
                self._loop.call_soon(self._take_early)
        elif self._early:
            self._work()

    def _work(self) -> None:
        early, self._early = self._early, b""
        self._incoming.write(early)
        self._working = True
        _threads().put(self)

    def _take_early(self) -> None:
        early, self._early = self._early, b""
        if not self._closing:
            self._decrypt(early)

    def _fail(self, fault: Exception) -> None:
        if self._done.done():
            return
        self._settle()
        self._closing = True
        self._done.set_exception(fault)
        alert = alert_of(fault)
        if alert:
            self._wire.write(alert)
            self._end()
        else:
            self._wire.close()

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ------------------------------------------------------------ what the loop says of the socket

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give where to read."""
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read: a piece of the handshake, records, or what nobody reads any more."""
        if self._closing:
            return
        if self._up and not self._early:
            self._decrypt(self._place[:nbytes])
            return
        self._early += self._place[:nbytes]
        if self._working:
            if len(self._early) > EARLY_BYTES:
                self._wire.pause_reading()
        elif not self._up:
            self._work()

    def eof_received(self) -> bool | None:
        """The peer will say no more."""
        if self._up and not self._closing:
            self._session.eof_received()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._settle()
        self._closing = True
        if not self._done.done():
            self._done.set_exception(error or ConnectionResetError("the peer left during the handshake"))
        elif self._up:
            self._session.connection_lost(error)

    def pause_writing(self) -> None:
        """Replies are small: see `SmtpLoop.pause_writing`."""

    def resume_writing(self) -> None:
        """See pause_writing."""

    def _decrypt(self, data: bytes | memoryview) -> None:
        """Give the session the content of all records that came whole, at once."""
        self._incoming.write(data)
        pieces: list[bytes] = []
        ended = False
        try:
            while self._incoming.pending:
                piece = self._tls.read(RECORD)
                if not piece:
                    ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # a record that does not verify: nothing that follows is believed (RFC 8446 §5.2)
            self._let_out()
            self.abort()
            return
        if self._outgoing.pending and not getattr(self._tls, "tickets", b""):
            self._let_out()
        if pieces:
            self._session.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if ended and not self._closing and not self._session.eof_received():
            self.close()

    # ------------------------------------------------------------ what the session sees of a transport

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if not self._closing:
            self._tls.write(data)
            self._let_out()

    def _let_out(self) -> None:
        if self._outgoing.pending:
            self._wire.write(self._outgoing.read())

    def close(self) -> None:
        """Send close_notify after what was written, then end when the peer does, or soon."""
        if self._closing:
            return
        if not self._up:
            self._fail(ConnectionAbortedError("closed during the handshake"))
            return
        self._closing = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's own close_notify has not come: nobody waits for it
        self._let_out()
        self._end()

    def _end(self) -> None:
        """Shut our half; read the peer out."""
        if self._wire.is_closing() or not self._wire.can_write_eof():
            self._wire.close()
            return
        self._wire.write_eof()
        self._wire.resume_reading()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._wire.abort)

    def abort(self) -> None:
        """End at once."""
        self._closing = True
        self._wire.abort()

    def is_closing(self) -> bool:
        """True when no more is read for the session."""
        return self._closing or self._wire.is_closing()

    def pause_reading(self) -> None:
        """Stop reading the socket."""
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        """Read the socket again."""
        if not self._wire.is_closing():
            self._wire.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give a fact of the connection; `ssl_object` is the TLS state."""
        return self._tls if name == "ssl_object" else self._wire.get_extra_info(name, default)
