"""The output side of a connection: one buffer, one write a turn, and waiting for a client that does not read.

- `_write` keeps, `_flush` hands over: many short answers leave as one TLS record.
- While the transport's buffer is above its mark, `_drained` is a future: whoever produces awaits it (`_pace`).
- A client that leaves our answers unread for `stall_seconds` loses its connection.
- With COMPRESS, each write is deflated here (RFC 4978); what comes in is inflated as far as it is used.
- No protocol here; base of `endpoints/imap_connection.py`.
"""

from __future__ import annotations

import asyncio

from mssante.observability.metrics import LIMITS
from mssante.protocol.imap.deflate import Deflater, Inflater

FLUSH_OCTETS = 64 * 1024
ROOM_OCTETS = 64  # beyond what is written with `_roomy`: a first line that follows at once


class PacedConnection(asyncio.BufferedProtocol):
    """Buffered output with back-pressure."""

    def __init__(self, stall_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._stall_seconds = stall_seconds
        self._out: list[bytes] = []
        self._out_octets = 0
        self._drained: asyncio.Future[None] | None = None  # set while the client does not read
        self._closed = False
        self._deflater: Deflater | None = None
        self._inflater: Inflater | None = None
        self._roomy = False  # the next write leaves no shorter than it is, compressed (`endpoints/imap_push.py`)

    def _bind(self, transport: asyncio.Transport) -> None:
        """Use this transport from now on."""
        self._transport = transport
        transport.set_write_buffer_limits(high=FLUSH_OCTETS * 4)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        if self._drained is None:
            self._drained = self._loop.create_future()
            # Nobody may be waiting when the connection is lost: the exception is then nobody's news.
            self._drained.add_done_callback(lambda future: future.cancelled() or future.exception())
            self._loop.call_later(self._stall_seconds, self._check_stall, self._drained)

    def resume_writing(self) -> None:
        """The client caught up."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self._caught_up()

    def _caught_up(self) -> None:
        """Called when the client reads again."""

    def _lost(self) -> None:
        """The connection is gone: forget what was to be written, wake who waits."""
        self._closed = True
        self._out.clear()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionResetError())

    # ------------------------------------------------------------------------------------------ writing

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self._out_octets += len(data)

    def _tell(self, line: bytes) -> None:
        """Write a whole line now, while a command goes on."""
        self._write(line)
        self._flush()

    def _flush(self) -> None:
        """Hand over what waits in one write: one TLS record for many short answers."""
        if self._out and self._transport is not None and not self._closed:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            if self._deflater is not None:
                data = self._deflater.write(data, len(data) + ROOM_OCTETS if self._roomy else 0)
            self._transport.write(data)
        self._roomy = False
        self._out.clear()
        self._out_octets = 0

    def _compress(self) -> None:
        """From the next octet on, both directions are deflated (RFC 4978 §3)."""
        self._flush()
        self._deflater, self._inflater = Deflater(), Inflater()

    def _end_compression(self) -> None:
        """From the next octet on we write plain; the client does so behind the flush of its last command (RFC 8437 §4.1)."""
        self._flush()
        self._deflater = None
        if self._inflater is not None:
            self._inflater.end()

    async def _pace(self) -> None:
        """After a chunk: let it go, wait for a slow client. Raises ConnectionResetError when it is gone."""
        if self._out_octets >= FLUSH_OCTETS:
            self._flush()
            if self._deflater is not None:
                await asyncio.sleep(0)  # deflating took a millisecond: others have their turn
        if self._closed:
            raise ConnectionResetError
        if self._drained is not None:
            self._flush()
            await self._drained

    def _close(self) -> None:
        """Close when everything written is out."""
        self._flush()
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    def _check_stall(self, waited: asyncio.Future[None]) -> None:
        if self._drained is waited and not waited.done():
            LIMITS.labels("slow_reader").inc()
            self.abort()
