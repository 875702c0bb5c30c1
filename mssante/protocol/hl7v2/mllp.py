"""MLLP framing, sans-IO: <VT> message <FS><CR> (HL7 v2 Transport Specification, MLLP release 1 §1).

- `Framer.feed` takes octets as they come and gives whole messages; what stands outside a frame is counted, never read.
- A frame that begins before the last one ended gives `Truncated`; a frame over the limit gives `Oversized` once, and its octets
  are not kept: memory is bounded by the limit of a message, whatever the sender does.
- The frame end is FS followed by CR; FS followed by anything else belongs to the message only if it comes from a charset that
  uses it, which none of those taken here does: it is the end, and the missing CR is forgiven.
- Called by endpoints.mllp and transport.mllp.
"""

from __future__ import annotations

from dataclasses import dataclass

START = b"\x0b"
END = b"\x1c"
RETURN = b"\r"


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole message, without its frame."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """A frame that never ended: its first octets, enough to read MSH, and how long it was."""

    head: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Oversized:
    """A frame beyond the limit: its first octets, enough to read MSH. The rest is passed over up to its end."""

    head: bytes


FrameEvent = Frame | Truncated | Oversized

HEAD = 4096  # octets kept of a frame that is not taken


def frame(content: bytes) -> bytes:
    """Give a message in its frame. Raises ValueError when it holds VT or FS, which no taken charset needs."""
    if START in content or END in content:
        raise ValueError("frame character inside the message")
    return START + content + END + RETURN


class Framer:
    """Reader of one connection. limit: octets of a message."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._inside = False
        self._skipping = False
        self.noise = 0  # octets outside frames

    @property
    def pending(self) -> int:
        """Octets kept of the frame under way."""
        return len(self._buffer)

    @property
    def inside(self) -> bool:
        """True while a frame has begun and not ended."""
        return self._inside

    def feed(self, data: bytes) -> list[FrameEvent]:
        """Take octets; give what became whole."""
        out: list[FrameEvent] = []
        position = 0
        while position < len(data):
            if not self._inside:
                position = self._begin(data, position)
                continue
            position = self._continue(data, position, out)
        return out

    def finish(self) -> list[FrameEvent]:
        """The connection ended: a frame under way is truncated."""
        if not self._inside:
            return []
        event = Truncated(bytes(self._buffer[:HEAD]), len(self._buffer))
        self._reset()
        return [] if self._skipping else [event]

    def _begin(self, data: bytes, position: int) -> int:
        start = data.find(START, position)
        outside = data[position:start] if start >= 0 else data[position:]
        self.noise += len(outside) - outside.count(RETURN) - outside.count(b"\n")  # CR of the last frame, blank lines
        if start < 0:
            return len(data)
        self._inside, self._skipping = True, False
        self._buffer.clear()
        return start + 1

    def _continue(self, data: bytes, position: int, out: list[FrameEvent]) -> int:
        end = data.find(END, position)
        start = data.find(START, position, end if end >= 0 else len(data))
        if start >= 0:  # a new frame inside this one: the sender lost the end of the first
            self._keep(data[position:start], out)
            if not self._skipping:
                out.append(Truncated(bytes(self._buffer[:HEAD]), len(self._buffer)))
            self._reset()
            return start
        if end < 0:
            self._keep(data[position:], out)
            return len(data)
        self._keep(data[position:end], out)
        if not self._skipping:
            out.append(Frame(bytes(self._buffer)))
        self._reset()
        return end + 1

    def _keep(self, data: bytes, out: list[FrameEvent]) -> None:
        if self._skipping:
            return
        if len(self._buffer) + len(data) > self._limit:
            self._buffer += data[:HEAD]
            out.append(Oversized(bytes(self._buffer[:HEAD])))
            self._buffer.clear()
            self._skipping = True
            return
        self._buffer += data

    def _reset(self) -> None:
        self._buffer.clear()
        self._inside = False
