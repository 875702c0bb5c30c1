"""The two directions of COMPRESS=DEFLATE (RFC 4978): raw deflate streams (RFC 1951), without IO.

- What is written ends with a sync flush, so that the client can read it whole at once (RFC 4978 §4).
- What is read is inflated as far as asked and no further: a bomb cannot take memory. One that would make us work for nothing
  is refused by its ratio.
- What is read stops at each sync flush of the client: after UNAUTHENTICATE the stream ends there, and plain octets may follow
  in the same segment (RFC 8437 §4.1).
Called by `endpoints/imap_output.py` and `endpoints/imap_connection.py`.
"""

from __future__ import annotations

import zlib

from mssante.protocol.imap.faults import SessionEnd

LEVEL = 3  # letters shrink 2.4 times (2.6 by level 6 and the largest window) for 1 ms each 64 KiB
WINDOW = -13  # raw, 8 KiB: 96 KiB of memory with MEMORY instead of 256 KiB; any inflater reads it (RFC 1951 §3.1)
MEMORY = 7
ALLOWANCE = 64 * 1024 * 1024  # octets inflated before the ratio is looked at: more than the largest message
RATIO = 200  # mail of one repeated letter; deflate itself reaches 1,032
_EMPTY = b"\x00\x00\x00\xff\xff"  # a stored block of nothing, where a flush has ended: no output, no history (RFC 1951 §3.2.4)
_FLUSHED = b"\x00\x00\xff\xff"  # how a sync flush ends: an empty stored block (RFC 1951 §3.2.4)


class Deflater:
    """What the server writes."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW, MEMORY)

    def write(self, data: bytes, at_least: int = 0) -> bytes:
        """Give the compressed octets of one write, flushed, filled up to a length with blocks that hold nothing."""
        out = self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        return out + _EMPTY * (-(-max(0, at_least - len(out)) // len(_EMPTY)))


class Inflater:
    """What the client writes."""

    __slots__ = ("_ending", "_last", "_more", "_read", "_stream", "_written")

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._last = b""  # octets read last, up to four
        self._more = False  # the stream may hold output that was not asked for yet
        self._ending = False
        self._read = self._written = 0

    def take(self, ahead: bytearray, size: int) -> bytes:
        """Give up to `size` octets of what `ahead` holds, and delete from `ahead` what was used; empty when more must come.

        Raises SessionEnd when the octets are no deflate stream, or swell beyond measure.
        """
        while (ahead or self._more) and not self._stream.eof:
            chunk = self._to_flush(bytes(ahead[:size]))
            try:
                data = self._stream.decompress(chunk, size)
            except zlib.error as fault:
                raise SessionEnd("what came is not a deflate stream", rule="RFC 4978 §3") from fault
            used = len(chunk) - len(self._stream.unconsumed_tail) - len(self._stream.unused_data)
            del ahead[:used]
            self._last = (self._last + chunk[:used])[-4:]
            self._more = len(data) == size
            self._read += used
            self._written += len(data)
            if self._written > ALLOWANCE + RATIO * self._read:
                raise SessionEnd("compressed data swell beyond measure", rule="RFC 4978 §6")
            if data:
                return data
            if self.over or not used:
                break
        if ahead and self._stream.eof and not self._ending:
            raise SessionEnd("the deflate stream has ended", rule="RFC 4978 §3")
        return b""

    def _to_flush(self, chunk: bytes) -> bytes:
        """Cut a chunk behind the first sync flush."""
        before = self._last[-3:]
        place = (before + chunk).find(_FLUSHED)
        return chunk if place < 0 else chunk[:place + 4 - len(before)]

    def end(self) -> None:
        """No command is expected of the stream any more: what is left of it is read without looking (`over` tells the end)."""
        self._ending = True

    @property
    def over(self) -> bool:
        """After `end`: the stream is behind us, plain octets follow."""
        return self._ending and not self._more and (self._stream.eof or self._last == _FLUSHED)
