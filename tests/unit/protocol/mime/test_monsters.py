"""MIME monsters (RELIABILITY §2): each is read whole, marked where cut, in less than a second of CPU, with no exception."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from support import imap_sexp

from mssante.protocol.mime.author import read_author
from mssante.protocol.mime.headers import read_headers
from mssante.protocol.mime.imapview import body_of, facts
from mssante.protocol.mime.scan import is_ambiguous, scan
from mssante.protocol.mime.sections import Section, SectionKind, section_bytes
from mssante.protocol.reports.dsn import parse_dsn
from mssante.protocol.reports.mdn import parse_mdn

MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
LIMIT = 1.0 if sys.gettrace() is None else 5.0  # seconds of CPU; coverage's tracer makes Python several times slower
KIB = b"0123456789abcde\r" * 64


def nested_multiparts() -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2_000))


def nested_same_boundary() -> bytes:
    return (MIXED + b"--b\r\n") * 2_000 + b"x" * 4_000_000


def nested_over_a_large_body() -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(49))
    return head + b"\r\n" + b"--b\r\n--" * 1_000_000


def nested_messages() -> bytes:
    return b"Content-Type: message/rfc822\r\n\r\n" * 1_000 + b"x\r\n" * 2_000_000


def many_parts() -> bytes:
    return MIXED + b"--b\r\n\r\nx\r\n" * 50_000 + b"--b--\r\n"


def many_false_delimiters() -> bytes:
    return MIXED + b"--b\r\n\r\n" + b"--bx\n" * 1_600_000 + b"--b--\r\n"


def long_delimiter_lines() -> bytes:
    return MIXED + (b"--b" + b" " * 300 + b"\r\n") * 20_000


def many_header_lines() -> bytes:
    return b"".join(b"X-%d: y\r\n" % n for n in range(100_000)) + b"\r\nx"


def many_continuations() -> bytes:
    return b"Subject: a\r\n" + b" b\r\n" * 100_000 + b"\r\nx"


def huge_header() -> bytes:
    return b"Subject: " + b"x" * (8 << 20) + b"\r\n\r\nbody"


def header_without_end() -> bytes:
    return b"A" * (8 << 20)


def many_addresses() -> bytes:
    return b"To: " + b", ".join(b"u%d@d.fr" % n for n in range(100_000)) + b"\r\nFrom: a@b.fr\r\n\r\n"


def from_of(value: bytes) -> Callable[[], bytes]:
    return lambda: b"From: " + value + b"\r\nTo: " + value + b"\r\nCc: " + value + b"\r\n\r\n"


def typed(value: bytes) -> Callable[[], bytes]:
    return lambda: b"Content-Type: " + value + b"\r\nContent-Disposition: " + value + b"\r\n\r\nx"


def many_from_fields() -> bytes:
    return b"From: a@b.fr\r\n" * 100_000 + b"\r\n"


def segments() -> bytes:
    value = b"".join(b"; filename*%d*=utf-8''%%C3%%A9" % n for n in range(100_000))
    return b"Content-Disposition: attachment" + value + b"\r\nContent-Type: a/b" + value + b"\r\n\r\nx"


def encoded_words() -> bytes:
    return b"Subject: " + b"=?utf-8?q?=0D=0A?= " * 50_000 + b"=?zlib?B?eJw=?= =?utf-7?Q?+AA?= =?idna?Q?xn--?=\r\n\r\n"


MONSTERS: dict[str, tuple[Callable[[], bytes], bool]] = {  # name: (maker, must be marked)
    "nested multiparts": (nested_multiparts, True),
    "nested multiparts, one boundary": (nested_same_boundary, True),
    "nested over a large body": (nested_over_a_large_body, True),
    "nested messages": (nested_messages, True),
    "50,000 parts": (many_parts, True),
    "false delimiters": (many_false_delimiters, True),
    "long delimiter lines": (long_delimiter_lines, True),
    "100,000 header lines": (many_header_lines, True),
    "100,000 continuations": (many_continuations, False),
    "8 MB header": (huge_header, True),
    "no header end": (header_without_end, True),
    "100,000 addresses": (many_addresses, True),
    "100,000 From fields": (many_from_fields, True),
    "quotes": (from_of(b'"' * 100_001), False),
    "quotes and brackets": (from_of(b'"<' * 100_001), False),
    "open comments": (from_of(b"(" * 200_000), False),
    "closed comments": (from_of(b"(" * 100_000 + b")" * 100_000), False),
    "at signs": (from_of(b"a@" * 100_000), False),
    "routes": (from_of(b"<" + b"@a," * 90_000 + b":b@c>"), False),
    "blanks": (from_of(b"x" + b" " * 250 + b"y"), False),
    "colons": (from_of(b"a:" * 100_000), False),
    "escapes": (from_of(b'"' + b"\\" * 200_001), False),
    "domain literals": (from_of(b"a@[" * 80_000), False),
    "100,000 segments": (segments, True),
    "semicolons": (typed(b"a/b" + b";" * 400_000), False),
    "parameter quotes": (typed(b"a/b;x=" + b'";x="' * 80_000), False),
    "parameter blanks": (typed(b"a/b; " + b" " * 16_000 + b"=" + b" " * 400_000), False),
    "encoded words": (encoded_words, False),
    "bare CR": (lambda: KIB * 8_192, True),
    "NUL": (lambda: b"\x00" * (8 << 20), True),
}


@pytest.mark.parametrize("name", MONSTERS)
def test_monster(name: str) -> None:
    maker, marked = MONSTERS[name]
    message = maker()
    before = time.process_time()
    found = facts(message)
    spent = time.process_time() - before
    assert spent < LIMIT, f"{spent:.2f} s of CPU"
    imap_sexp.check_envelope(imap_sexp.read(found.envelope))
    imap_sexp.check_body(imap_sexp.read(found.bodystructure))
    assert len(found.subject) <= 512 and found.subject.isprintable()
    assert is_ambiguous(scan(message)) or not marked


@pytest.mark.parametrize("name", MONSTERS)
def test_monster_elsewhere(name: str) -> None:
    message = MONSTERS[name][0]()
    root = scan(message)
    before = time.process_time()
    imap_sexp.check_body(imap_sexp.read(body_of(root)), extended=False)
    section_bytes(message, root, Section((), SectionKind.HEADER_FIELDS_NOT, (b"x",)))
    section_bytes(message, root, Section((1, 1, 1)))
    read_author(read_headers(message))
    assert parse_dsn(message) is None and parse_mdn(message) is None
    spent = time.process_time() - before
    assert spent < LIMIT, f"{spent:.2f} s of CPU"


@pytest.mark.parametrize("kind", [b"delivery-status", b"disposition-notification"])
@pytest.mark.parametrize("filler", [b" " * 500_000, b" \r\n" * 200_000, b"Action: x\r\n\r\n" * 60_000,
                                    b"Disposition: " + b" " * 60_000, b"Disposition: a/b;c/error\r\nError:" + b"9^" * 30_000])
def test_report_monsters(kind: bytes, filler: bytes) -> None:
    message = (b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/" + kind + b"\r\n\r\n"
               + filler + b"\r\n--b--\r\n")
    before = time.process_time()
    parse_dsn(message)
    parse_mdn(message)
    assert time.process_time() - before < LIMIT
