"""The tree of parts of a message as offsets, found by boundary search; bodies are never decoded nor copied.

- Guarantees: never raises on any octets; work is bounded by `Limits` and by a budget of octets searched (a few passes
  over the message), whatever the nesting.
- Beyond a limit the rest is one opaque leaf (`application/octet-stream`) and `Part.ambiguous` is True, as it is for
  whatever has no unambiguous structure: a reader of parts that must not be fooled (attachments, sealing) looks at
  `is_ambiguous`.
- Called by mime.imapview.facts at ingest, mime.sections at FETCH, attachments and reports.

Measured (CPython 3.11): 8 MB of base64 in multipart/mixed, 1.3 ms; 10 KB in two parts, 13 µs.
"""

from __future__ import annotations

from dataclasses import dataclass
from mmap import mmap

from mssante.protocol.mime.headers import Headers, find_header_end, parse_part_headers
from mssante.protocol.mime.parameters import (
    MESSAGE,
    OCTETS,
    TEXT_PLAIN,
    MediaType,
    parse_media,
    raw_parameter,
)

_MAX_BOUNDARY = 200  # RFC 2046 §5.1.1 says 70; some senders go further
_MAX_PADDING = 80  # white space after a delimiter
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a scan goes. search_octets: octets that boundary searches may read, beyond 4 times the message;
    false_hits: lines that begin like a delimiter and are not one."""

    parts: int = 1_000
    depth: int = 50
    search_octets: int = 64 << 20
    false_hits: int = 20_000


DEFAULT = Limits()


@dataclass(slots=True)
class Part:
    """One part. Offsets are into the scanned buffer; the header runs from header_start to body_start.

    lines: line ends in the body for text and message parts, 0 for others (IMAP asks for no more). children: parts of a
    multipart; message: root of an embedded message (message/rfc822). Not frozen: the scan fills it in place, and a
    frozen one costs three times as much on the ingest path.
    """

    headers: Headers
    media: MediaType
    header_start: int
    body_start: int
    body_end: int
    lines: int = 0
    ambiguous: bool = False
    children: tuple[Part, ...] = ()
    message: Part | None = None

    @property
    def size(self) -> int:
        """Octets of the body, as on the wire."""
        return self.body_end - self.body_start


class _Stop(Exception):
    """A limit was reached inside a multipart (never leaves this module)."""


def scan(body: bytes | memoryview | mmap, limits: Limits = DEFAULT) -> Part:
    """Give the root part of a whole message of any size; never raises.

    A memoryview is copied unless it covers a bytes object whole. RFC 2046 §5.1, RFC 2045 §5.2.
    """
    buffer = _buffer(body)
    return _Scanner(buffer, limits).entity(0, len(buffer), 1, TEXT_PLAIN)


def is_ambiguous(part: Part) -> bool:
    """True when some part was cut by a limit or had no clear structure: readers may see it differently."""
    pending = [part]
    while pending:
        one = pending.pop()
        if one.ambiguous:
            return True
        pending.extend(one.children)
        if one.message is not None:
            pending.append(one.message)
    return False


def _buffer(body: bytes | memoryview | mmap) -> bytes | mmap:
    if not isinstance(body, memoryview):
        return body
    whole = body.obj
    return whole if isinstance(whole, bytes) and len(whole) == body.nbytes else body.tobytes()


class _Scanner:
    """One scan: the buffer and what is left of the limits."""

    __slots__ = ("buffer", "false_hits", "limits", "parts", "search_octets")

    def __init__(self, buffer: bytes | mmap, limits: Limits) -> None:
        self.buffer = buffer
        self.limits = limits
        self.parts = 0
        self.search_octets = limits.search_octets + 4 * len(buffer)
        self.false_hits = limits.false_hits

    def entity(self, start: int, end: int, depth: int, default: MediaType) -> Part:
        """Read the part in [start, end): its header, then its structure."""
        self.parts += 1
        body_start = find_header_end(self.buffer, start, end)
        headers = parse_part_headers(self.buffer[start:body_start])
        value = headers.get(b"content-type")
        media = default if value is None else parse_media(value)
        part = Part(headers, media, start, body_start, end)
        if headers.repeats(b"content-type") or headers.repeats(b"content-transfer-encoding"):
            part.ambiguous = True  # readers differ on which one counts; we take the first
        if headers.truncated:
            _make_opaque(part)
        elif media.type == b"multipart":
            self._multipart(part, depth)
        elif media.type == b"message" and media.subtype in (b"rfc822", b"global"):
            self._message(part, depth)
        if part.media.type in (b"text", b"message"):
            part.lines = self._lines(part.body_start, end)
        return part

    def _afford(self, part: Part) -> bool:
        """Take the price of one more pass over a body from the budget; False when it is spent."""
        self.search_octets -= part.size
        return self.search_octets >= 0

    def _message(self, part: Part, depth: int) -> None:
        """Read the message inside: only an identity encoding lets us see it (RFC 2046 §5.2.1)."""
        encoding = (part.headers.get(b"content-transfer-encoding") or b"").lower()
        closed = encoding in (b"base64", b"quoted-printable")
        full = depth >= self.limits.depth or self.parts >= self.limits.parts
        if closed or full or not self._afford(part):
            _make_opaque(part)
            return
        part.message = self.entity(part.body_start, part.body_end, depth + 1, TEXT_PLAIN)

    def _multipart(self, part: Part, depth: int) -> None:
        """Find the delimiter lines of one multipart and read what stands between them."""
        boundary = raw_parameter(part.media.parameters, b"boundary")
        usable = 0 < len(boundary) <= _MAX_BOUNDARY
        if not usable or depth >= self.limits.depth or not self._afford(part):
            _make_opaque(part)
            return
        default = MESSAGE if part.media.subtype == b"digest" else TEXT_PLAIN
        children: list[Part] = []
        try:
            self._children(part, children, b"\n--" + boundary, default=default, depth=depth + 1)
        except _Stop:
            part.ambiguous = True
        if children:
            part.children = tuple(children)
        else:
            _make_opaque(part)  # no part at all: RFC 2046 §5.1.1 wants one, and IMAP cannot write a multipart without

    def _children(self, part: Part, children: list[Part], needle: bytes, *, default: MediaType, depth: int) -> None:
        end = part.body_end
        _, position, closed = self._delimiter(needle, part.body_start, end)
        while not closed and position >= 0:
            if self.parts >= self.limits.parts:
                self._rest(part, children, position)
                return
            try:
                stop, after, closed = self._delimiter(needle, position, end)
            except _Stop:
                self._rest(part, children, position)
                raise
            children.append(self.entity(position, stop, depth, default))
            if after < 0:
                part.ambiguous = True  # no closing delimiter: cut on the way, or hidden from someone
            position = after

    def _rest(self, part: Part, children: list[Part], position: int) -> None:
        """Make one opaque leaf of all that is left."""
        self.parts += 1
        children.append(Part(parse_part_headers(b""), OCTETS, position, position, part.body_end, ambiguous=True))
        part.ambiguous = True

    def _delimiter(self, needle: bytes, position: int, end: int) -> tuple[int, int, bool]:
        """Find the next delimiter line from `position`, itself the start of a line. needle: line feed, `--`, boundary.

        Gives (end of what precedes without its line end, start of what follows, True if it closes); (end, -1, False)
        when there is none.
        """
        buffer = self.buffer
        size = len(needle)
        here = buffer[position:position + size - 1] == needle[1:]
        at = position - 1 if here else buffer.find(needle, position, end)
        while here or at >= 0:
            here = False
            after = at + size
            tail = buffer[after:after + 2]
            closed = False
            if tail == b"\r\n" and after + 2 <= end:
                after += 2
            else:
                after, closed = self._after_delimiter(after, end)
            if after >= 0:
                if at > position and buffer[at - 1:at] == b"\r":
                    at -= 1
                return (at if at > position else position), after, closed
            self.false_hits -= 1
            if self.false_hits < 0:
                raise _Stop
            at = buffer.find(needle, at + size, end)
        return end, -1, False

    def _after_delimiter(self, position: int, end: int) -> tuple[int, bool]:
        """Read the end of a delimiter line: (start of the next line, closing?), or (-1, False) if it is another
        line.
        """
        if position > end:
            return -1, False
        closed = self.buffer[position:position + 2] == b"--" and position + 2 <= end
        if closed:
            position += 2
        rest = self.buffer[position:min(position + _MAX_PADDING, end)]
        line, newline, _ = rest.partition(b"\n")
        if line.strip(b" \t\r") or (not newline and position + len(rest) < end):
            return -1, False
        return position + len(line) + len(newline), closed

    def _lines(self, start: int, end: int) -> int:
        """Count the line ends in [start, end)."""
        if isinstance(self.buffer, bytes):
            return self.buffer.count(b"\n", start, end)
        return sum(self.buffer[at:min(at + _CHUNK, end)].count(b"\n") for at in range(start, end, _CHUNK))


def _make_opaque(part: Part) -> None:
    """Turn a part that we do not open into a leaf that IMAP can name without lying about its structure."""
    part.ambiguous = True
    part.media = OCTETS
    part.children = ()
    part.message = None
