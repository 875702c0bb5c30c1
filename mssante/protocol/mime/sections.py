"""IMAP body sections: from a section specification to ranges of the full message (RFC 9051 §6.4.5.1).

- Works on a tree made by `mime.scan.scan` of the *full* message (our prefix lines, then the body), so that what FETCH
  gives and what BODYSTRUCTURE announces come from the same reading.
- A section that does not exist gives None (the caller answers NIL); an empty one gives no octets.
- Never raises; never copies a body to find it. `decode_part` is the only decoder, bounded by its limit.
- Called by services.imap.fetch and services.imap.search.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from enum import StrEnum

from mssante.protocol.mime.headers import decode_bytes
from mssante.protocol.mime.scan import Part

MAX_DECODED = 64 << 20
_TRAILING_BLANKS = re.compile(rb"(?<![ \t])[ \t]+(?=\r?\n|\Z)")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
_LINE = re.compile(rb"[^\n]*\n?")
_IDENTITY = (b"", b"7bit", b"8bit", b"binary")


class SectionKind(StrEnum):
    """What of a part is asked; ALL is the part itself (`BODY[]`, `BODY[1.2]`)."""

    ALL = ""
    HEADER = "HEADER"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """numbers: part path, from 1, empty for the message; fields: names for the HEADER.FIELDS kinds, any case."""

    numbers: tuple[int, ...] = ()
    kind: SectionKind = SectionKind.ALL
    fields: tuple[bytes, ...] = ()


Range = tuple[int, int]


def find_part(root: Part, numbers: tuple[int, ...]) -> Part | None:
    """Give the part at a path, or None. In a message that is no multipart, part 1 is its body (RFC 9051 §6.4.5.1).

    The part given for the `1` of a single-part message is the message's own root.
    """
    part = root
    inside_message = True  # part is a message's root: numbers count its parts
    for number in numbers:
        if not inside_message and part.message is not None:
            part, inside_message = part.message, True
        if part.children:
            if not 1 <= number <= len(part.children):
                return None
            part, inside_message = part.children[number - 1], False
        elif inside_message and number == 1:
            inside_message = False
        else:
            return None
    return part


def resolve(message: bytes | memoryview, root: Part, section: Section) -> list[Range] | bytes | None:
    """Give where a section stands in `message`: (offset, length) ranges, or octets for HEADER.FIELDS, or None.

    message: the whole that was scanned. HEADER and TEXT below a path exist only for message/rfc822 parts; MIME only
    below a path.
    """
    part = find_part(root, section.numbers)
    if part is None:
        return None
    kind = section.kind
    if kind is SectionKind.MIME:
        return [(part.header_start, part.body_start - part.header_start)] if section.numbers else None
    if not section.numbers:
        inner: Part | None = part
        whole = (part.header_start, part.body_end - part.header_start)
    else:
        inner = part.message
        whole = (part.body_start, part.body_end - part.body_start)
    if kind is SectionKind.ALL:
        return [whole]
    if inner is None:
        return None
    if kind is SectionKind.TEXT:
        return [(inner.body_start, inner.body_end - inner.body_start)]
    if kind is SectionKind.HEADER:
        return [(inner.header_start, inner.body_start - inner.header_start)]
    block = bytes(message[inner.header_start:inner.body_start])
    return header_fields(block, section.fields, keep=kind is SectionKind.HEADER_FIELDS)


def section_bytes(message: bytes | memoryview, root: Part, section: Section) -> bytes | None:
    """Give the octets of a section, or None when it does not exist."""
    found = resolve(message, root, section)
    if found is None or isinstance(found, bytes):
        return found
    return b"".join([bytes(message[offset:offset + length]) for offset, length in found])


def header_fields(block: bytes, names: tuple[bytes, ...], *, keep: bool) -> bytes:
    """Give the lines of the named fields (or of all others), as they stand, and the empty line that ends a header.

    names: any case. RFC 9051 §6.4.5.1: the match is on the whole field name, and the empty line is always there.
    """
    wanted = {name.lower() for name in names}
    out: list[bytes] = []
    taking = False
    for line in _LINE.findall(block):
        if line[:1] in (b" ", b"\t"):
            if taking:
                out.append(line)
            continue
        name, colon, _ = line.partition(b":")
        taking = bool(colon) and (name.rstrip().lower() in wanted) is keep
        if taking:
            out.append(line)
    if out and not out[-1].endswith(b"\n"):
        out.append(b"\r\n")
    return b"".join(out) + b"\r\n"


def decode_part(data: bytes, encoding: bytes, *, limit: int = MAX_DECODED) -> bytes | None:
    """Undo a Content-Transfer-Encoding (RFC 2045 §6); None when it is unknown (IMAP answers UNKNOWN-CTE).

    data: the octets of the body as they stand. At most `limit` octets come out; broken base64 and quoted-printable
    give what can be read.
    """
    name = encoding.strip().lower()
    if name in _IDENTITY:
        return data[:limit]
    if name == b"base64":
        return _decode_base64(data[:limit // 3 * 4 + limit // 16], limit)
    if name == b"quoted-printable":
        # Blanks at the end of a line were added on the way (RFC 2045 §6.7 rule 3).
        return binascii.a2b_qp(_TRAILING_BLANKS.sub(b"", data[:limit * 3]))[:limit]
    return None


def _decode_base64(data: bytes, limit: int) -> bytes:
    clean = _NOT_BASE64.sub(b"", data)
    padding = clean.find(b"=")
    if padding >= 0:
        clean = clean[:padding]
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))[:limit]


def decode_text(data: bytes, charset: str) -> str:
    """Decode octets of a text part; an unknown or false charset falls back on UTF-8, then Windows-1252. Never
    raises.
    """
    return decode_bytes(data, charset)
