"""MIME readers on any octets: never an exception, always the shape that IMAP wants, offsets always inside."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from support import imap_sexp

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.author import read_author
from mssante.protocol.mime.compose import Letter, encode_words, letter
from mssante.protocol.mime.headers import decode_words, parse_headers, read_headers
from mssante.protocol.mime.imapview import body_of, facts
from mssante.protocol.mime.parameters import parameter, parse_disposition, parse_media
from mssante.protocol.mime.scan import Limits, Part, scan
from mssante.protocol.mime.sections import Section, SectionKind, decode_part, find_part, section_bytes
from mssante.protocol.reports.dsn import parse_dsn
from mssante.protocol.reports.mdn import parse_mdn

PIECES = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b",", b'"', b"\\", b"(", b")", b"<", b">", b"@",
    b"=", b"*0*", b"--b", b"--b--", b"--c", b"--", b"b", b"c", b"a@b.fr", b"\x00", b"\xc3\xa9", b"\xff",
    b"=?utf-8?q?", b"?=", b"utf-8''%C3", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
    b"Content-Type: multipart/digest; boundary=c\r\n\r\n", b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Type: text/plain\r\n\r\n", b"From: ", b"To: ", b"Subject: ", b"Date: ",
    b"Content-Disposition: attachment; filename", b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Language: fr, ", b"Content-Type: message/delivery-status\r\n\r\n", b"Action: failed\r\n",
    b"Disposition: a/b; processed", b"Content-Type: message/disposition-notification\r\n\r\n",
    b"1 Sep 2026 08:30 +0200",
]
octets = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
messages = st.one_of(octets, octets.map(lambda rest: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + rest))


def one_line(text: str) -> bool:
    """True without controls or line separators; no-break spaces are text."""
    return len(text.splitlines()) <= 1 and not any(ord(one) < 32 or ord(one) == 127 for one in text)


def check_offsets(part: Part, start: int, end: int) -> None:
    assert start <= part.header_start <= part.body_start <= part.body_end <= end
    before = part.body_start
    for child in part.children:
        check_offsets(child, before, part.body_end)
        before = child.body_end
    if part.message is not None:
        check_offsets(part.message, part.body_start, part.body_end)


@settings(max_examples=300, deadline=None)
@given(messages)
def test_facts_have_the_shape_of_imap(message: bytes) -> None:
    found = facts(message)
    imap_sexp.check_envelope(imap_sexp.read(found.envelope))
    imap_sexp.check_body(imap_sexp.read(found.bodystructure))
    root = scan(message)
    imap_sexp.check_body(imap_sexp.read(body_of(root)), extended=False)
    check_offsets(root, 0, len(message))
    assert 0 <= found.header_size <= len(message)
    for text in (found.subject, found.message_id, found.in_reply_to, found.from_address):
        assert one_line(text)


@settings(max_examples=200, deadline=None)
@given(messages, st.integers(1, 6), st.integers(1, 4))
def test_limits_hold(message: bytes, parts: int, depth: int) -> None:
    root = scan(message, Limits(parts=parts, depth=depth, search_octets=0, false_hits=1))
    check_offsets(root, 0, len(message))

    def count(part: Part, level: int) -> int:
        assert level <= depth + 1
        inner = (*part.children, part.message) if part.message else part.children
        return 1 + sum(count(one, level + 1) for one in inner)
    assert count(root, 1) <= parts + depth + 1  # one opaque rest for each level that was open


@settings(max_examples=200, deadline=None)
@given(messages, st.lists(st.integers(0, 3), max_size=3).map(tuple), st.sampled_from(SectionKind))
def test_sections_lie_in_the_message(message: bytes, numbers: tuple[int, ...], kind: SectionKind) -> None:
    root = scan(message)
    found = section_bytes(message, root, Section(numbers, kind, (b"from", b"subject")))
    assert find_part(root, numbers) is not None or found is None
    if found is not None and kind not in (SectionKind.HEADER_FIELDS, SectionKind.HEADER_FIELDS_NOT):
        assert found in message


@settings(max_examples=300, deadline=None)
@given(octets)
def test_values_never_raise(value: bytes) -> None:
    for entry in parse_addresses(value):
        assert entry.domain is not None or entry.display == b""
    assert one_line(decode_words(value))
    for pairs in (parse_media(value).parameters, parse_disposition(b"attachment; " + value)[1]):
        assert all(one_line(parameter(pairs, name)) for name, _ in pairs)
    for encoding in (b"base64", b"quoted-printable", b"8bit"):
        assert decode_part(value, encoding) is not None
    parse_dsn(value)
    parse_mdn(value)
    read_author(read_headers(b"From: " + value))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=150))
def test_words_come_back(text: str) -> None:
    text = "".join(text.encode("utf-8", "replace").decode().split())
    if text.isprintable():
        encoded = encode_words(text)
        assert encoded.isascii()
        assert decode_words(encoded.replace("\r\n", "").encode()) == text


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=100))
def test_letters_never_carry_an_injected_field(subject: str, name: str, text: str) -> None:
    sender = MailAddress("a", "b.fr")
    try:
        raw = letter(Letter(sender, (sender,), subject, text, datetime(2026, 1, 1, tzinfo=UTC), "<m@b.fr>", "x",
                            sender_name=name))
    except InputFault as fault:
        assert fault.rule == "HEADER-INJECTION"
        return
    headers = read_headers(raw)
    assert len(headers.fields) == 8 and b"\n" not in raw.replace(b"\r\n", b"")
    assert read_author(headers).is_only(sender)


@settings(max_examples=150, deadline=None)
@given(octets)
def test_repeated_reading_gives_the_same(block: bytes) -> None:
    assert parse_headers(block).fields == parse_headers(block).fields
    assert facts(block) == facts(block)
