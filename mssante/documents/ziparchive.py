"""A ZIP reader for hostile input: in memory, capped, and refusing everything that two readers could see differently.

- Guarantees: at most 1,000 entries, 100 MiB in total, ratio 100 (RELIABILITY §2, row "XDM zip"); nothing is ever
  written or opened by name; an archive inside is plain bytes.
- Refuses: octets before, between or after the members, two end records, ZIP64, several disks, encryption, methods other
  than stored and deflate, links and special files, names that leave the archive or collide, lying sizes and checksums.
- Limits are checked on declared sizes before a single octet is inflated, and again while inflating.
- Called by `xdm` only. PKWARE APPNOTE 6.3.10 §4.3.
"""

from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from mssante.errors import InputFault

MAX_ENTRIES = 1000
MAX_TOTAL = 100 * 1024 * 1024
MAX_RATIO = 100
MAX_NAME = 255
SMALL_ENTRY = 4096  # octets under which the ratio means nothing (a repeated blank compresses to nearly none)

_END = struct.Struct("<4s4H2LH")  # §4.3.16
_CENTRAL = struct.Struct("<4s6H3L5H2L")  # §4.3.12
_LOCAL = struct.Struct("<4s5H3L2H")  # §4.3.7
_DESCRIPTORS = (12, 16, 20, 24)  # §4.3.9, with or without signature, 32 or 64 bits
_FLAG_ENCRYPTED, _FLAG_DESCRIPTOR, _FLAG_UTF8 = 0x2041, 0x08, 0x800  # bits 0, 6 and 13 all mean encryption
_DEVICES = frozenset({"con", "prn", "aux", "nul",
                      *(f"{name}{digit}" for name in ("com", "lpt") for digit in "123456789")})
_HIDDEN = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # direction overrides


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One file of an archive. path: with `/`, relative, safe to show; content: its octets."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class _Record:
    """One line of the central directory."""

    path: str
    name: bytes
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int


def read_zip(raw: bytes) -> tuple[ZipMember, ...]:
    """Give the files of an archive in the order of its directory; folders are left out.

    Raises InputFault, rule `ZIP-…` (`SHAPE`, `ENTRIES`, `SIZE`, `RATIO`, `NAME`, `DUPLICATE`, `LINK`, `ENCRYPTED`,
    `METHOD`, `OVERLAP`, `LIE`, `CRC`).
    """
    if len(raw) > MAX_TOTAL:
        raise _fault("SIZE", "archive is too large", f"at most {MAX_TOTAL} octets")
    records, directory = _directory(raw)
    _check_sizes(records)
    _check_collisions(records)
    starts = _check_layout(raw, records, directory)
    return tuple(ZipMember(record.path, _content(raw, record, starts[record.offset]))
                 for record in records if not record.path.endswith("/"))


def _fault(rule: str, text: str, remedy: str = "") -> InputFault:
    return InputFault(text, rule=f"ZIP-{rule}", remedy=remedy or "make the archive again with an ordinary ZIP tool")


def _directory(raw: bytes) -> tuple[list[_Record], int]:
    """Find the only end record, then read the central directory; give (records, offset of the directory)."""
    where = raw.rfind(b"PK\x05\x06")
    if where < 0 or where + _END.size > len(raw):
        raise _fault("SHAPE", "not a ZIP archive")
    _one_end(raw, where)
    _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(raw, where)
    if where + _END.size + comment != len(raw):
        raise _fault("SHAPE", "octets stand after the archive")
    if disk or first_disk or here != count or 0xFFFF in (count, here) or 0xFFFFFFFF in (size, offset):
        raise _fault("SHAPE", "archive is split or in the 64-bit form")
    if count > MAX_ENTRIES:
        raise _fault("ENTRIES", "archive has too many entries", f"at most {MAX_ENTRIES}")
    if offset + size != where:
        raise _fault("SHAPE", "octets stand before or inside the archive")
    records = []
    at = offset
    for _ in range(count):
        record, at = _record(raw, at, where)
        records.append(record)
    if at != where:
        raise _fault("SHAPE", "directory does not have its announced length")
    return records, offset


def _one_end(raw: bytes, last: int) -> None:
    """Refuse an archive where a reader that looks for another end record would find a sound one (§4.3.1)."""
    at = raw.find(b"PK\x05\x06", max(0, len(raw) - 0xFFFF - _END.size))
    while at != last:
        if at + _END.size + int.from_bytes(raw[at + 20:at + 22], "little") == len(raw):
            raise _fault("SHAPE", "archive has more than one end record")
        at = raw.find(b"PK\x05\x06", at + 1)


def _record(raw: bytes, at: int, end: int) -> tuple[_Record, int]:
    """Read one line of the directory at `at`; give it and the offset of the next."""
    if at + _CENTRAL.size > end:
        raise _fault("SHAPE", "directory is cut")
    (signature, version, _, flags, method, _, _, crc, compressed, size, name_length, extra, comment, disk, _,
     attributes, offset) = _CENTRAL.unpack_from(raw, at)
    start = at + _CENTRAL.size
    following = start + name_length + extra + comment
    if signature != b"PK\x01\x02" or following > end:
        raise _fault("SHAPE", "directory is malformed")
    if disk or 0xFFFFFFFF in (compressed, size, offset):
        raise _fault("SHAPE", "entry is split or in the 64-bit form")
    if flags & _FLAG_ENCRYPTED:
        raise _fault("ENCRYPTED", "archive is encrypted", "send it without a password")
    if method not in (0, 8):
        raise _fault("METHOD", f"compression method {method} is not accepted", "use deflate")
    name = raw[start:start + name_length]
    path = _safe_path(name, flags)
    kind = (attributes >> 28) if version >> 8 in (3, 19) else 0  # Unix or macOS: type bits of st_mode
    if kind not in ((0, 4) if path.endswith("/") else (0, 8)):
        raise _fault("LINK", "archive holds a link or a special file")
    if path.endswith("/") and (size or compressed > 2):
        raise _fault("LIE", "a folder has content")
    return _Record(path, name, flags, method, crc, compressed, size, offset), following


def _safe_path(name: bytes, flags: int) -> str:
    """Decode a name and refuse what could leave the archive, hide or hit a device."""
    try:
        path = name.decode("utf-8" if flags & _FLAG_UTF8 else "cp437")
    except UnicodeDecodeError as exc:
        raise _fault("NAME", "entry name is not valid text") from exc
    parts = path.removesuffix("/").split("/")
    hidden = any(unicodedata.category(char) in ("Cc", "Cs") or char in _HIDDEN for char in path)
    if not path or len(path) > MAX_NAME or hidden or "\\" in path or ":" in path:
        raise _fault("NAME", "entry name is not acceptable", "use plain relative names")
    if any(part in ("", ".", "..") or part != part.rstrip(" .") for part in parts):
        raise _fault("NAME", "entry name leaves the archive or is ambiguous", "use plain relative names")
    if any(part.partition(".")[0].rstrip().lower() in _DEVICES for part in parts):
        raise _fault("NAME", "entry name is that of a device", "use plain relative names")
    return path


def _check_sizes(records: Sequence[_Record]) -> None:
    """Refuse bombs on what the directory declares."""
    if sum(record.size for record in records) > MAX_TOTAL:
        raise _fault("SIZE", "archive inflates beyond the limit", f"at most {MAX_TOTAL} octets in total")
    for record in records:
        if record.size > SMALL_ENTRY and record.size > MAX_RATIO * record.compressed:
            raise _fault("RATIO", "an entry inflates too much", f"at most {MAX_RATIO} to 1")


def _check_collisions(records: Sequence[_Record]) -> None:
    """Refuse two entries that one file system would take for the same, and a file that is also a folder."""
    seen: set[str] = set()
    files: set[str] = set()
    for record in records:
        key = _key(record.path)
        if key in seen:
            raise _fault("DUPLICATE", "two entries have the same name")
        seen.add(key)
        if not record.path.endswith("/"):
            files.add(key)
    for key in seen:
        parts = key.split("/")
        if any("/".join(parts[:depth]) in files for depth in range(1, len(parts))):
            raise _fault("DUPLICATE", "a file is also a folder")


def _key(path: str) -> str:
    return unicodedata.normalize("NFKC", path.removesuffix("/")).casefold()


def _check_layout(raw: bytes, records: Sequence[_Record], directory: int) -> dict[int, int]:
    """Check that local parts follow one another from offset 0 to the directory; give where each one's data starts."""
    starts: dict[int, int] = {}
    expected = 0
    last: _Record | None = None
    for record in sorted(records, key=lambda item: item.offset):
        _check_gap(record.offset - expected, last)
        starts[record.offset] = _local_data(raw, record, directory)
        expected = starts[record.offset] + record.compressed
        if expected > directory:
            raise _fault("OVERLAP", "an entry runs into the directory")
        last = record
    _check_gap(directory - expected, last)
    return starts


def _check_gap(gap: int, last: _Record | None) -> None:
    """Between two members only the data descriptor of the first may stand."""
    if gap < 0:
        raise _fault("OVERLAP", "entries overlap")
    if gap and (last is None or not last.flags & _FLAG_DESCRIPTOR or gap not in _DESCRIPTORS):
        raise _fault("SHAPE", "octets stand before or between the entries")


def _local_data(raw: bytes, record: _Record, directory: int) -> int:
    """Check the local header against the directory; give the offset of the data."""
    if record.offset + _LOCAL.size > directory:
        raise _fault("OVERLAP", "an entry lies outside the archive")
    (signature, _, flags, method, _, _, crc, compressed, size, name_length,
     extra) = _LOCAL.unpack_from(raw, record.offset)
    start = record.offset + _LOCAL.size
    same = (record.crc, record.compressed, record.size)
    values = (crc, compressed, size)
    agreed = values == same or (flags & _FLAG_DESCRIPTOR and values in ((0, 0, 0), (0, 0xFFFFFFFF, 0xFFFFFFFF)))
    if signature != b"PK\x03\x04" or raw[start:start + name_length] != record.name or not agreed:
        raise _fault("LIE", "an entry and the directory disagree")
    if method != record.method or (flags ^ record.flags) & (_FLAG_ENCRYPTED | _FLAG_DESCRIPTOR):
        raise _fault("LIE", "an entry and the directory disagree")
    return int(start + name_length + extra)


def _content(raw: bytes, record: _Record, start: int) -> bytes:
    """Give the octets of one entry, checked against its declared size and checksum."""
    packed = raw[start:start + record.compressed]
    if record.method == 0:
        content = packed
    else:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflater.decompress(packed, record.size + 1)
            if not inflater.eof and len(content) == record.size:
                content += inflater.decompress(inflater.unconsumed_tail, 1)
        except zlib.error as exc:
            raise _fault("LIE", "an entry does not inflate") from exc
        if not inflater.eof or inflater.unused_data:
            raise _fault("LIE", "an entry does not have its announced size")
    if len(content) != record.size:
        raise _fault("LIE", "an entry does not have its announced size")
    if zlib.crc32(content) != record.crc:
        raise _fault("CRC", "an entry is damaged")
    return content
