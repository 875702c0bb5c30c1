"""Messages with NUL octets, which no IMAP literal but literal8 may hold: their binary parts become base64 (RFC 3516 §4.4).

- Only leaf parts whose body holds a NUL and whose encoding is none (7bit, 8bit, binary or not said) are touched: the body is
  written in base64 and Content-Transfer-Encoding says so. The octets that BINARY gives stay what they were.
- Nothing else is altered; a message whose NUL octets stand elsewhere (header, preamble, a part already encoded or without clear
  structure) cannot be mended.
Called by `services/imap/append.py`, in a worker thread. Pure; about three times the message in memory.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from mssante.protocol.mime.scan import Part, scan

_LINE = re.compile(rb"[^\n]+\n?|\n")
_FIELD = b"content-transfer-encoding"
_IDENTITY = (b"", b"7bit", b"8bit", b"binary")
_COLUMNS = 57  # octets that make a line of 76 letters (RFC 2045 §6.8)


def without_nul(message: bytes) -> bytes | None:
    """Give a message without NUL octets, the same when it has none; None when that cannot be done."""
    out: list[bytes] = []
    done = 0
    for part in _leaves(scan(message)):
        if message.find(b"\0", part.body_start, part.body_end) < 0:
            continue
        encoding = (part.headers.get(_FIELD) or b"").lower()
        if part.ambiguous or encoding not in _IDENTITY:
            return None
        out += (message[done:part.header_start], _relabelled(message[part.header_start:part.body_start]),
                _base64(message[part.body_start:part.body_end]))
        done = part.body_end
        if done == len(message):
            out.append(b"\r\n")
    out.append(message[done:])
    mended = b"".join(out)
    return None if b"\0" in mended else mended


def _leaves(root: Part) -> Iterator[Part]:
    """Give the parts without parts inside, in the order of the message."""
    pending = [root]
    while pending:
        part = pending.pop()
        if part.message is not None:
            pending.append(part.message)
        elif part.children:
            pending.extend(reversed(part.children))
        else:
            yield part


def _relabelled(block: bytes) -> bytes:
    """Give a header whose Content-Transfer-Encoding is base64, in the place where it stood, else at the end."""
    out: list[bytes] = []
    label, dropping, placed = b"Content-Transfer-Encoding: base64\r\n", False, False
    for line in _LINE.findall(block):
        if line[:1] in (b" ", b"\t"):
            if not dropping:
                out.append(line)
            continue
        dropping = line.partition(b":")[0].rstrip().lower() == _FIELD
        if (dropping or not line.strip()) and not placed:
            out.append(label)
            placed = True
        if not dropping:
            out.append(line)
    return b"".join(out)


def _base64(data: bytes) -> bytes:
    """Give lines of base64, the last one without its end."""
    return b"\r\n".join([binascii.b2a_base64(data[at:at + _COLUMNS], newline=False) for at in range(0, len(data), _COLUMNS)])
