"""A look into a ZIP that the reader of archives refuses: whether a document stands in it for another, laxer program.

- `ziparchive` refuses what two readers could see differently: the 64-bit form, octets before, names with a backslash, twice the
  same name. Ordinary tools write such archives and open them all.
- Each member is looked at from its local header on (APPNOTE §4.3.7), whatever the directory says or if it is missing: its first
  octets, stored, deflated, in bzip2 or LZMA. What is encrypted or compressed in another way shows its name only.
- Bounded: members, octets inflated, archives inside archives. Never raises.
Pure. Called by `masking`.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator

from mssante.documents.beginnings import ZIP, Kind, may_hide_cda, told

NAMES = (b"IHE_XDM", b"METADATA.XML")
MAX_MEMBERS = 20_000  # a study in DICOM holds thousands
MAX_OCTETS = 64 * 1024 * 1024
_BEGINNING = 2048
_PIECE = 1024 * 1024  # of a member that may be a document: a stylesheet that shows it may stand before
_DEPTH = 4
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x2041
_LZMA_MEMORY = 64 * 1024 * 1024


def names_documents(raw: bytes) -> bool:
    """Tell if octets name structured documents, in clear."""
    upper = raw.upper()
    return any(name in upper for name in NAMES) or may_hide_cda(raw)


def holds_document(raw: bytes) -> bool:
    """Tell if an archive that cannot be read names structured documents or holds one."""
    pending, left = [(raw, 0)], MAX_OCTETS
    while pending:
        octets, depth = pending.pop()
        if names_documents(octets):
            return True
        for kind, piece in _beginnings(octets) if depth < _DEPTH else ():
            left -= len(piece)
            if left < 0:
                return True  # nobody knows what else is in it
            if kind is Kind.ARCHIVE:
                pending.append((piece, depth + 1))
            elif names_documents(piece):
                return True
    return False


def _beginnings(raw: bytes) -> Iterator[tuple[Kind | None, bytes]]:
    """Give the first octets of each member that can be inflated and may be a document or hold one."""
    at = raw.find(ZIP[0])
    for _ in range(MAX_MEMBERS):
        if at < 0 or at + _LOCAL.size > len(raw):
            return
        _, _, flags, method, _, _, _, _, _, name, extra = _LOCAL.unpack_from(raw, at)
        start = at + _LOCAL.size + name + extra
        if not flags & _ENCRYPTED and method:  # what is stored was seen with the whole
            packed = memoryview(raw)[start:start + _PIECE]
            kind = told(_inflated(method, packed, _BEGINNING))
            if kind is not Kind.OTHER:
                yield kind, _inflated(method, packed, _PIECE)
        at = raw.find(ZIP[0], at + 4)


def _inflated(method: int, packed: memoryview, most: int) -> bytes:
    """Give what the beginning of a member holds, nothing when it cannot be told."""
    try:
        if method == 8:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
        if method == 12:
            return bz2.BZ2Decompressor().decompress(packed, most)
        if method == 14:  # APPNOTE §5.8.8: version, size of the properties, properties
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, _LZMA_MEMORY).decompress(
                b"".join((packed[4:9], b"\xff" * 8, packed[9:])), most)
    except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError):
        return b""
    return b""
