"""Hostile ZIP archives: each is a typed refusal, within a second and bounded memory."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable

import pytest

from mssante.documents.ziparchive import MAX_TOTAL, ZipMember, read_zip
from mssante.errors import InputFault


def _zip(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(_info(name, method), content)
    return buffer.getvalue()


def _info(name: str, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("placeholder", (2026, 1, 1, 0, 0, 0))
    info.filename = name  # set after, so that the module does not clean it
    info.compress_type = method
    return info


def _raw(files: list[tuple[bytes, bytes]], *, flags: int = 0, attributes: int = 0, version: int = 20,
         declared: int | None = None) -> bytes:
    """Build an archive by hand: stored entries with any name; `declared` lies about the size everywhere."""
    out, directory = bytearray(), bytearray()
    for name, content in files:
        size = len(content) if declared is None else declared
        crc = zlib.crc32(content)
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", version, 20, flags, 0, 0, 0x21, crc, len(content), size,
                                 len(name), 0, 0, 0, 0, attributes, len(out)) + name
        out += struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, flags, 0, 0, 0x21, crc, len(content), size, len(name), 0)
        out += name + content
    return bytes(out + directory) + _end(len(files), len(directory), len(out))


def _end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, offset, len(comment)) + comment


def test_an_ordinary_archive_is_read_in_order() -> None:
    raw = _zip(("B/", b""), ("B/A.TXT", b"one"), ("C.TXT", b""), ("é.TXT", b"two"))
    assert read_zip(raw) == (ZipMember("B/A.TXT", b"one"), ZipMember("C.TXT", b""), ZipMember("é.TXT", b"two"))
    assert read_zip(_zip()) == ()


def test_stored_streamed_and_commented_archives_are_read() -> None:
    assert read_zip(_zip(("A", b"x" * 10_000), method=zipfile.ZIP_STORED))[0].content == b"x" * 10_000

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("A", b"one")
        archive.writestr("B", b"two")
        archive.comment = b"made by a stream"
    assert [member.content for member in read_zip(pipe.getvalue())] == [b"one", b"two"]


def test_an_archive_inside_stays_closed() -> None:
    inner = _zip(("A", b"x"))
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        assert read_zip(_zip(("IN.ZIP", inner), method=method)) == (ZipMember("IN.ZIP", inner),)


@pytest.mark.parametrize("name", [
    b"../A", b"A/../../B", b"/etc/passwd", b"C:/A", b"C:A", b"A\\B", b"A\x00B", b"A\nB", b"A//B", b"./A", b"",
    b"CON", b"A/nul.txt", b"com1.XML", b"A.", b"A ", b"A. /B", b"\x7f", b"x" * 256, b"..", b"A/..",
])
def test_names_are_checked(name: bytes) -> None:
    _refused(_raw([(name, b"x")]), "ZIP-NAME")


@pytest.mark.parametrize("name", ["METADATA\u202eLMX", "a\u2066b"])
def test_direction_overrides_are_refused(name: str) -> None:
    _refused(_zip((name, b"x")), "ZIP-NAME")


def test_a_name_that_is_not_utf8_is_refused() -> None:
    _refused(_raw([(b"\xff\xfe", b"x")], flags=0x800), "ZIP-NAME")


@pytest.mark.parametrize("names", [("METADATA.XML", "METADATA.XML"), ("METADATA.XML", "metadata.xml"),
                                   ("É.TXT", "é.TXT"), ("A\ufb01", "AFI"), ("A", "A/B"), ("a/b", "A"), ("A/", "a")])
def test_colliding_names_are_refused(names: tuple[str, str]) -> None:
    _refused(_raw([(name.encode(), b"" if name.endswith("/") else b"x") for name in names], flags=0x800), "ZIP-DUPLICATE")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o060666, 0o010666, 0o140777, 0o040755])
def test_links_and_special_files_are_refused(mode: int) -> None:
    _refused(_raw([(b"A", b"/etc/passwd")], attributes=mode << 16, version=(3 << 8) | 20), "ZIP-LINK")


@pytest.mark.parametrize("flags", [0x01, 0x41, 0x2000])
def test_encryption_is_refused(flags: int) -> None:
    _refused(_raw([(b"A", b"x")], flags=flags), "ZIP-ENCRYPTED")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(method: int) -> None:
    _refused(_zip(("A", b"x"), method=method), "ZIP-METHOD")


@pytest.mark.parametrize("count", [1001, 60_000])
def test_too_many_entries(count: int) -> None:
    _refused(_raw([(b"%d" % number, b"") for number in range(count)]), "ZIP-ENTRIES")


def test_a_thousand_entries_pass() -> None:
    assert len(read_zip(_raw([(b"%d" % number, b"x") for number in range(1000)]))) == 1000


def _bomb(size: int, count: int = 1) -> bytes:
    """Deflate streams of zeros declared honestly."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    crc, packed, chunk = 0, b"", bytes(1 << 20)
    for _ in range(size >> 20):
        crc = zlib.crc32(chunk, crc)
        packed += packer.compress(chunk)
    packed += packer.flush()
    out, directory = b"", b""
    for number in range(count):
        name = b"%d" % number
        numbers = (8, 0, 0x21, crc, len(packed), size)
        directory += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, *numbers, 1, 0, 0, 0, 0, 0, len(out)) + name
        out += struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, *numbers, 1, 0) + name + packed
    return out + directory + _end(count, len(directory), len(out))


@pytest.mark.parametrize(("size", "count", "rule"), [(2 << 20, 1, "ZIP-RATIO"), (90 << 20, 1, "ZIP-RATIO"),
                                                     (104 << 20, 1, "ZIP-SIZE"), (20 << 20, 9, "ZIP-SIZE")])
def test_bombs_are_seen_on_their_declared_sizes(size: int, count: int, rule: str) -> None:
    _refused(_bomb(size, count), rule)


def test_a_bomb_that_lies_is_stopped_while_inflating() -> None:
    raw = _bomb(64 << 20)
    honest, lie = struct.pack("<L", 64 << 20), struct.pack("<L", 100)
    _refused(raw.replace(honest, lie), "ZIP-LIE")


def test_the_archive_itself_is_capped() -> None:
    _refused(bytes(MAX_TOTAL + 1), "ZIP-SIZE")


def _overlapping() -> bytes:
    """Two directory lines that quote the same local part (CVE-2024-0450 class)."""
    whole = _raw([(b"A", b"xyz")])
    local, line = whole[:34], whole[34:34 + 47]
    return local + line + line.replace(b"A", b"B") + _end(2, 94, 34)


def _shifted(raw: bytes, prefix: bytes) -> bytes:
    """Put octets before an archive and correct every offset, as a self-extracting tool does."""
    end = bytearray(raw[-22:])
    size, offset = struct.unpack_from("<2L", end, 12)
    struct.pack_into("<L", end, 16, offset + len(prefix))
    line = bytearray(raw[offset:offset + size])
    struct.pack_into("<L", line, 42, len(prefix))
    return prefix + raw[:offset] + bytes(line) + bytes(end)


def _two_ends() -> bytes:
    """An archive where the comment of the last entry is an end record too, whose own comment is the true one."""
    whole = _raw([(b"A", b"xyz")])
    line = bytearray(whole[34:81])
    struct.pack_into("<H", line, 32, 22)
    other = _end(1, 47, 34, bytes(22))[:22]
    return whole[:34] + bytes(line) + other + _end(1, 69, 34)


_GOOD = _raw([(b"A", b"xyz")])
_TWO = _raw([(b"A", b"xyz"), (b"B", b"uvw")])


@pytest.mark.parametrize(("build", "rule"), [
    (lambda: b"", "ZIP-SHAPE"), (lambda: b"PK\x05\x06", "ZIP-SHAPE"), (lambda: b"hello", "ZIP-SHAPE"),
    (lambda: b"MZ junk" + _GOOD, "ZIP-SHAPE"), (lambda: _shifted(_GOOD, b"MZ junk"), "ZIP-SHAPE"),
    (lambda: _GOOD + b"junk", "ZIP-SHAPE"), (lambda: _GOOD + _GOOD, "ZIP-SHAPE"),
    (lambda: _shifted(_GOOD, _GOOD), "ZIP-SHAPE"),
    (lambda: _GOOD[:-22] + _end(1, 47, 34, _GOOD), "ZIP-SHAPE"), (lambda: _two_ends(), "ZIP-SHAPE"),
    (lambda: _GOOD[:-1], "ZIP-SHAPE"),
    (lambda: _GOOD[:-22] + _end(2, 47, 34), "ZIP-SHAPE"), (lambda: _GOOD[:-22] + _end(0, 47, 34), "ZIP-SHAPE"),
    (lambda: _GOOD[:-22] + _end(0xFFFF, 47, 34), "ZIP-SHAPE"),
    (lambda: _GOOD[:-22] + _end(1, 0xFFFFFFFF, 34), "ZIP-SHAPE"),
    (_overlapping, "ZIP-OVERLAP"),
    (lambda: _GOOD.replace(b"xyz", b"xyw"), "ZIP-CRC"),
    (lambda: _GOOD.replace(b"A", b"B", 1), "ZIP-LIE"),
    (lambda: _raw([(b"A", b"xyz")], declared=2), "ZIP-LIE"), (lambda: _raw([(b"A", b"xyz")], declared=4), "ZIP-LIE"),
    (lambda: _raw([(b"A/", b"xyz")]), "ZIP-LIE"),
    (lambda: _TWO[:34] + b"hidden" + _TWO[34:], "ZIP-SHAPE"),
])
def test_containers_that_two_readers_see_differently(build: Callable[[], bytes], rule: str) -> None:
    _refused(build(), rule)


def _refused(raw: bytes, rule: str) -> None:
    """The refusal has its rule, takes under a second of processor and little more memory than one small entry."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(InputFault) as caught:
            read_zip(raw)
        spent, peak = time.process_time() - begun, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.rule == rule, str(caught.value)
    assert spent < 1 and peak < 4 << 20
