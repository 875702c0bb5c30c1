"""What other programs find in a part where ours finds no file: text that spells a file, a header that ends too early.

- uuencode and yEnc inside a text: Outlook and libmime make files of them (no RFC; POSIX uuencode, the yEnc draft 1.3).
- An encoding under a word that we do not know: what it spells when read as one of the usual ones.
- Base64 with padding in its middle: some stop there, some read on, encoding behind encoding, some pass over it.
- A header without its empty line: some readers begin the body at the first line that is no field (RFC 5322 §2.2).
- Only documents count (`beginnings.told`): a photo sent this way says nothing.
Pure, linear, bounded; never raises. Called by `mailfiles`.
"""

from __future__ import annotations

import binascii
import re
from itertools import islice

from mssante.documents.beginnings import BEGINNING, ZIP, Kind, kind_of, may_hide_cda, told
from mssante.protocol.mime.scan import Part
from mssante.protocol.mime.sections import decode_part

_SPELT = frozenset({Kind.ARCHIVE, Kind.XML, Kind.CONTAINER})
_UU = re.compile(rb"^begin(-base64)? [0-7]{3,4} [^\r\n]{1,300}\r?\n", re.MULTILINE)
_YENC = re.compile(rb"^=ybegin [^\r\n]{1,300}\r?\n(?:=ypart [^\r\n]{1,300}\r?\n)?", re.MULTILINE)
_YENC_SHIFT = bytes((octet - 42) % 256 for octet in range(256))
_NO_FIELD = re.compile(rb"^(?![!-9;-~]+[ \t]*:|[ \t]|>?From |\r*\n|\r*\Z)", re.MULTILINE)
_PADDED = re.compile(rb"=[^A-Za-z0-9+/]*+[A-Za-z0-9+/]")
_NOT_BASE64, _RUN = re.compile(rb"[^A-Za-z0-9+/=]+"), re.compile(rb"[^=]+")
_MAX_RUNS = 400_000  # one for each line of 25 MB
_MAX_SPELT = 100  # files looked at in one text
_UU_LINES = 10  # of 45 octets: enough for a beginning


def spells_document(text: bytes) -> bool:
    """Tell if a text spells a document in uuencode or yEnc."""
    return any(told(begin) in _SPELT for begin in _spelt(text))


def padded_inside(octets: bytes, start: int, end: int) -> bool:
    """Tell if base64 has padding in its middle."""
    return _PADDED.search(octets, start, end) is not None


def hides_in_base64(raw: bytes, *, zipped: bool) -> bool:
    """Tell if base64 with padding in its middle is a document for a reader that does not stop there. zipped: see `kind_of`."""
    clean = _NOT_BASE64.sub(b"", raw)
    joined = b"".join([decode_part(found.group(), b"base64") or b"" for found in islice(_RUN.finditer(clean), _MAX_RUNS)])
    passed = decode_part(clean.replace(b"=", b""), b"base64") or b""
    return any(one.strip() and kind_of(one, zipped=zipped) in _SPELT for one in (joined, passed))


def hides_document(raw: bytes) -> bool:
    """Tell if octets under an unknown encoding are a document as they stand or in one of the usual ones."""
    if told(decode_part(raw[:8 * BEGINNING], b"base64", limit=8 * BEGINNING) or b"") in _SPELT or spells_document(raw):
        return True
    if padded_inside(raw, 0, 4 * BEGINNING) and hides_in_base64(raw[:4 * BEGINNING], zipped=False):
        return True
    plain = decode_part(raw, b"quoted-printable", limit=len(raw)) or b""
    return any(one.startswith(ZIP) or (kind_of(one) is Kind.XML and may_hide_cda(one)) for one in (raw, plain))


def early_body(octets: bytes, part: Part) -> int:
    """Give where the body begins for a reader that ends the header at the first line which is no field; -1 where all agree."""
    found = _NO_FIELD.search(octets[part.header_start:part.body_start])
    return part.header_start + found.start() if found else -1


def _spelt(text: bytes) -> list[bytes]:
    """Give the beginnings of the files that a text spells."""
    out = []
    if b"begin" in text:
        for found, _ in zip(_UU.finditer(text), range(_MAX_SPELT), strict=False):
            piece = text[found.end():found.end() + 4 * BEGINNING]
            out.append(decode_part(piece, b"base64", limit=BEGINNING) or b"" if found.group(1) else _uu(piece))
    if b"=ybegin" in text:
        for found, _ in zip(_YENC.finditer(text), range(_MAX_SPELT), strict=False):
            piece = text[found.end():found.end() + 2 * BEGINNING].replace(b"\r", b"").replace(b"\n", b"")
            plain = re.sub(rb"=(.)", lambda one: bytes([(one.group(1)[0] - 64) % 256]), piece, flags=re.DOTALL)
            out.append(plain.translate(_YENC_SHIFT)[:BEGINNING])
    return out


def _uu(piece: bytes) -> bytes:
    out = bytearray()
    for line in piece.split(b"\n")[:_UU_LINES]:
        try:
            out += binascii.a2b_uu(line.rstrip(b"\r"))
        except binascii.Error:  # cut, or no such file
            break
    return bytes(out)
