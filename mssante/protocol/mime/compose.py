"""Header lines that we write, and the letters that the operator itself composes.

- Guarantees: what is written is CRLF only, ASCII in headers (RFC 2047 for the rest, unless stated), one folded field
  each; a value that holds CR, LF or NUL is refused, never cleaned (`HEADER-INJECTION`).
- The body of a message of someone else is never touched: what is missing is given as *prefix* lines.
- Never reads the clock, never draws a random number: dates and identifiers are arguments.
- Called by services.reception and services.submission (trace lines, hygiene, From facts), reports and the lab
  (letters).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.protocol.mime.dates import format_date
from mssante.protocol.mime.headers import read_headers

MAX_FROM_ADDRESSES = 100
_LINE = 76  # RFC 2045 §6.8
_FORBIDDEN = re.compile(r"[\r\n\x00]")
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}\Z")  # RFC 5322 §3.6.8
_COMMENT_SAFE = re.compile(r"[^A-Za-z0-9.\-_:/=+ \[\]]")
_MEDIA = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+\Z")
_ATTRIBUTE_OCTETS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")
_ATOM_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ \-]+\Z")


@dataclass(frozen=True, slots=True)
class ReceivedFrom:
    """What a Received line tells (RFC 5321 §4.4). peer_ip empty when local; protocol: ESMTP, ESMTPS, ESMTPSA (RFC
    3848).

    tls: version and cipher as text, or empty. No recipient stands in it: a `for` clause would show blind copies.
    """

    helo: str
    peer_ip: str
    by: str
    protocol: str
    trace_id: str
    date: datetime
    tls: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attached file; content is sent in base64."""

    filename: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to compose. message_id with its brackets; boundary: unique word (the trace id); headers: further
    fields.
    """

    sender: MailAddress
    to: tuple[MailAddress, ...]
    subject: str
    text: str
    date: datetime
    message_id: str
    boundary: str
    cc: tuple[MailAddress, ...] = ()
    sender_name: str = ""
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


def check_value(name: str, value: str) -> str:
    """Give `value` back; raise InputFault (`HEADER-INJECTION`) when the name is no field name or the value holds CR,
    LF, NUL.

    The fault names the field, never the value.
    """
    if not _FIELD_NAME.match(name) or _FORBIDDEN.search(name):
        raise InputFault("field name is not valid", rule="HEADER-INJECTION", remedy="letters, digits and hyphens")
    if _FORBIDDEN.search(value):
        raise InputFault(f"value of {name} holds a line end or NUL", rule="HEADER-INJECTION", remedy="give one line")
    return value


def encode_words(text: str, *, first: int = 0) -> str:
    """Give `text` as it may stand in an unstructured field: itself in ASCII, or RFC 2047 base64 words of at most 75
    characters, cut between characters, one per folded line. first: columns already used on the first line."""
    if text.isascii() and text.isprintable() and "=?" not in text:
        return text
    words: list[str] = []
    chunk = b""
    room = max(12, 45 - first * 3 // 4)
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(chunk) + len(octets) > room:
            words.append(base64.b64encode(chunk).decode("ascii"))
            chunk, room = b"", 45
        chunk += octets
    if chunk:
        words.append(base64.b64encode(chunk).decode("ascii"))
    return "\r\n ".join([f"=?utf-8?b?{word}?=" for word in words])


def header_line(name: str, value: str) -> bytes:
    """Give `Name: value` CRLF, folded at white space near 76 columns, RFC 2047 words where not ASCII.

    Raises InputFault (`HEADER-INJECTION`).
    """
    check_value(name, value)
    text = encode_words(value, first=len(name) + 2)
    if "\r\n" not in text:
        text = _fold(text, len(name) + 2)
    return f"{name}: {text}\r\n".encode("ascii")


def _fold(text: str, used: int) -> str:
    """Fold at single spaces: white space itself is kept (RFC 5322 §2.2.3)."""
    if used + len(text) <= _LINE:
        return text
    lines: list[str] = []
    line = ""
    for word in re.split(r"(?= )", text):
        if line.strip() and used + len(line) + len(word) > _LINE and word.strip():
            lines.append(line)
            line, used = "", 0
        line += word
    lines.append(line)
    return "\r\n".join(lines)


def address_text(address: MailAddress, name: str = "") -> str:
    """Give `Name <local@domain>`, or the bare address without a name; the name quoted or encoded as needed."""
    check_value("address", str(address))
    check_value("name", name)
    if not name:
        return str(address)
    if not name.isascii():
        return f"{encode_words(name)} <{address}>"
    if _ATOM_PHRASE.match(name) and "=?" not in name:
        return f"{name} <{address}>"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>'


def addresses_line(name: str, entries: tuple[str, ...]) -> bytes:
    """Give an address field with one entry per line (as made by `address_text`); UTF-8 when an address needs it."""
    check_value(name, "")
    return f"{name}: ".encode("ascii") + ",\r\n ".join(entries).encode("utf-8") + b"\r\n"


def add_missing(header: bytes, *, date: datetime, domain: str, trace_id: str) -> bytes:
    """Give the lines that a submitted message lacks, as a prefix: Date and Message-ID (RFC 6409 §8.2, §8.3).

    header: the header block (or the whole message). Empty when nothing lacks. Raises InputFault (`HEADER-INJECTION`).
    """
    headers = read_headers(header)
    out = b""
    if headers.get(b"date") is None:
        out += b"Date: " + format_date(date) + b"\r\n"
    if headers.get(b"message-id") is None:
        out += header_line("Message-ID", f"<{trace_id}@{domain}>")
    return out


def received_line(facts: ReceivedFrom) -> bytes:
    """Give the trace line that a receiving host puts first (RFC 5321 §4.4), three folded lines.

    The greeting name of the peer is outside input: what could break the syntax becomes `?`.
    """
    helo = _COMMENT_SAFE.sub("?", facts.helo)[:255].replace(" ", "?") or "unknown"
    literal = f"IPv6:{facts.peer_ip}" if ":" in facts.peer_ip else facts.peer_ip
    origin = f" ([{_COMMENT_SAFE.sub('?', literal)}])" if facts.peer_ip else ""
    tls = f"\r\n (using {_COMMENT_SAFE.sub('?', facts.tls)[:120]})" if facts.tls else ""
    for name, value in (("by", facts.by), ("with", facts.protocol), ("id", facts.trace_id)):
        check_value(name, value)
    return (f"Received: from {helo}{origin}{tls}\r\n by {facts.by} with {facts.protocol} id {facts.trace_id};\r\n "
            ).encode("utf-8", "replace") + format_date(facts.date) + b"\r\n"


def return_path_line(sender: MailAddress | None) -> bytes:
    """Give the Return-Path line of a final delivery (RFC 5321 §4.4); `<>` for the null sender."""
    text = "" if sender is None else check_value("Return-Path", str(sender))
    return f"Return-Path: <{text}>\r\n".encode()


def base64_lines(content: bytes) -> bytes:
    """Give `content` in base64, lines of 76 columns ended by CRLF (RFC 2045 §6.8)."""
    text = binascii.b2a_base64(content, newline=False)
    lines = [text[at:at + _LINE] for at in range(0, len(text), _LINE)]
    return b"\r\n".join(lines) + b"\r\n" if lines else b""


def text_part(text: str) -> bytes:
    """Give a text/plain part, header included: 7bit when plain and short-lined, quoted-printable otherwise."""
    body = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = body.split("\n")
    raw = "\r\n".join(lines).encode("utf-8", "replace")
    if not raw.endswith(b"\r\n"):
        raw += b"\r\n"
    if raw.isascii() and max(len(line) for line in lines) <= 78 and b"\x00" not in raw:
        return b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n" + raw
    encoded = b"\r\n".join([_quoted_printable(line) for line in lines])
    return (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            + encoded + (b"" if encoded.endswith(b"\r\n") else b"\r\n"))


def _quoted_printable(line: str) -> bytes:
    """Encode one line (RFC 2045 §6.7), soft breaks with CRLF; a leading dot is encoded too, no relay can hurt it."""
    encoded = binascii.b2a_qp(line.encode("utf-8", "replace"), istext=False).replace(b"=\n", b"=\r\n")
    return b"=2E" + encoded[1:] if encoded.startswith(b".") else encoded


def attachment_part(attachment: Attachment) -> bytes:
    """Give one attached file as a part, header included. Raises InputFault (`HEADER-INJECTION`, `HEADER-MEDIA`)."""
    media = check_value("Content-Type", attachment.media_type)
    if not _MEDIA.match(media):
        raise InputFault("media type is not type/subtype", rule="HEADER-MEDIA", remedy="give for instance text/xml")
    filename = check_value("Content-Disposition", attachment.filename)
    return (f"Content-Type: {media}\r\nContent-Transfer-Encoding: base64\r\n"
            f"Content-Disposition: attachment;\r\n {_filename(filename)}\r\n\r\n").encode("ascii"
            ) + base64_lines(attachment.content)


def _filename(name: str) -> str:
    """Give `filename="…"`, or the RFC 2231 §4 form when it is not ASCII."""
    if name.isascii() and name.isprintable():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'filename="{quoted}"'
    octets = name.encode("utf-8", "replace")
    safe = "".join([chr(octet) if octet in _ATTRIBUTE_OCTETS else f"%{octet:02X}"
                    for octet in octets])
    return f"filename*=utf-8''{safe}"


def multipart(subtype: str, parts: list[bytes], *, boundary: str, parameters: str = "") -> bytes:
    """Join parts (header and body each) into one multipart, its MIME header lines first (RFC 2046 §5.1).

    boundary: a unique word; when it occurs in a part it is lengthened until it does not.
    """
    word = "=_" + check_value("boundary", boundary)
    number = 0
    while any(("--" + word).encode() in part for part in parts):
        number += 1
        word = f"=_{boundary}_{number}"
    out = [f'Content-Type: multipart/{subtype};{parameters}\r\n boundary="{word}"\r\n\r\n'.encode("ascii")]
    for part in parts:
        out.append(b"--" + word.encode("ascii") + b"\r\n" + part + b"\r\n")  # this line end belongs to the delimiter
    out.append(b"--" + word.encode("ascii") + b"--\r\n")
    return b"".join(out)


def letter(content: Letter) -> bytes:
    """Give a whole message, CRLF only: one text, or multipart/mixed with base64 attachments at 76 columns.

    Raises InputFault (`HEADER-INJECTION`, `HEADER-MEDIA`).
    """
    lines = [b"Date: " + format_date(content.date) + b"\r\n",
             addresses_line("From", (address_text(content.sender, content.sender_name),)),
             addresses_line("To", tuple([address_text(entry) for entry in content.to]) or ("undisclosed-recipients:;",))]
    if content.cc:
        lines.append(addresses_line("Cc", tuple([address_text(entry) for entry in content.cc])))
    lines.append(header_line("Subject", content.subject))
    lines.append(header_line("Message-ID", content.message_id))
    lines.extend([header_line(name, value) for name, value in content.headers])
    lines.append(b"MIME-Version: 1.0\r\n")
    text = text_part(content.text)
    if content.attachments:
        parts = [text, *[attachment_part(attachment) for attachment in content.attachments]]
        lines.append(multipart("mixed", parts, boundary=content.boundary))
    else:
        lines.append(text)
    return b"".join(lines)
