"""Body sections: the part numbering example of RFC 9051 §6.4.5.1, header fields, decoding."""

from __future__ import annotations

import base64

import pytest

from mssante.protocol.mime.scan import scan
from mssante.protocol.mime.sections import (
    Section,
    SectionKind,
    decode_part,
    decode_text,
    resolve,
    section_bytes,
)


def multipart(subtype: bytes, boundary: bytes, *parts: bytes) -> bytes:
    return (b"Content-Type: multipart/" + subtype + b"; boundary=" + boundary + b"\r\n\r\n"
            + b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n")


def leaf(kind: bytes, content: bytes) -> bytes:
    return b"Content-Type: " + kind + b"\r\n\r\n" + content


INNER = b"Subject: three\r\n" + multipart(b"mixed", b"B3", leaf(b"text/plain", b"3.1"),
                                          leaf(b"application/octet-stream", b"3.2"))
DEEP = b"Subject: deep\r\n" + multipart(
    b"mixed", b"B42", leaf(b"text/plain", b"4.2.1"),
    multipart(b"alternative", b"B422", leaf(b"text/plain", b"4.2.2.1"), leaf(b"text/richtext", b"4.2.2.2")))
TREE = b"From: a@b.fr\r\nSubject: tree\r\n two\r\nX-One: 1\r\n" + multipart(
    b"mixed", b"B0", leaf(b"text/plain", b"1"), leaf(b"application/octet-stream", b"2"), leaf(b"message/rfc822", INNER),
    multipart(b"mixed", b"B4", leaf(b"image/gif", b"4.1"), leaf(b"message/rfc822", DEEP)))
ROOT = scan(TREE)


def get(numbers: tuple[int, ...] = (), kind: SectionKind = SectionKind.ALL, *fields: bytes) -> bytes | None:
    return section_bytes(TREE, ROOT, Section(numbers, kind, fields))


@pytest.mark.parametrize("path", ["1", "2", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1", "4.2.2.2"])
def test_leaves_have_the_numbers_of_the_rfc(path: str) -> None:
    assert get(tuple(int(number) for number in path.split("."))) == path.encode()


def test_whole_header_and_text() -> None:
    assert get() == TREE
    header, text = get((), SectionKind.HEADER), get((), SectionKind.TEXT)
    assert header is not None and text is not None
    assert header + text == TREE and header.endswith(b"boundary=B0\r\n\r\n")


def test_embedded_messages() -> None:
    assert get((3,)) == INNER
    assert get((3,), SectionKind.HEADER) == INNER[:INNER.index(b"\r\n\r\n") + 4]
    assert get((3,), SectionKind.TEXT) == INNER[INNER.index(b"\r\n\r\n") + 4:]
    assert get((4, 2)) == DEEP
    assert get((4, 2), SectionKind.HEADER_FIELDS, b"SUBJECT") == b"Subject: deep\r\n\r\n"
    assert get((4, 1), SectionKind.MIME) == b"Content-Type: image/gif\r\n\r\n"
    assert get((4, 2, 2), SectionKind.MIME) == b"Content-Type: multipart/alternative; boundary=B422\r\n\r\n"


@pytest.mark.parametrize("section", [
    Section((5,)), Section((0,)), Section((1, 1)), Section((3, 3)), Section((4, 2, 2, 3)), Section((1,), SectionKind.HEADER),
    Section((1,), SectionKind.TEXT), Section((4,), SectionKind.HEADER), Section((), SectionKind.MIME), Section((4, 1, 1)),
    Section((2,), SectionKind.HEADER_FIELDS, (b"x",)),
])
def test_what_does_not_exist(section: Section) -> None:
    assert resolve(TREE, ROOT, section) is None


def test_header_fields() -> None:
    assert get((), SectionKind.HEADER_FIELDS, b"subject", b"FROM") == b"From: a@b.fr\r\nSubject: tree\r\n two\r\n\r\n"
    assert get((), SectionKind.HEADER_FIELDS, b"absent") == b"\r\n"
    rest = get((), SectionKind.HEADER_FIELDS_NOT, b"subject", b"from")
    assert rest == b"X-One: 1\r\nContent-Type: multipart/mixed; boundary=B0\r\n\r\n"


def test_single_part_message() -> None:
    message = b"Subject: x\r\n\r\nbody\r\n"
    root = scan(message)
    assert section_bytes(message, root, Section((1,))) == b"body\r\n"
    assert section_bytes(message, root, Section((1,), SectionKind.MIME)) == b"Subject: x\r\n\r\n"
    assert section_bytes(message, root, Section((1, 1))) is None
    assert section_bytes(message, root, Section((2,))) is None
    assert section_bytes(memoryview(message), root, Section((), SectionKind.TEXT)) == b"body\r\n"


def test_root_that_is_an_embedded_message() -> None:
    message = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ntext"
    root = scan(message)
    assert section_bytes(message, root, Section((1,))) == b"Subject: in\r\n\r\ntext"
    assert section_bytes(message, root, Section((1,), SectionKind.HEADER)) == b"Subject: in\r\n\r\n"
    assert section_bytes(message, root, Section((1, 1))) == b"text"
    assert section_bytes(message, root, Section((), SectionKind.HEADER)) == b"Content-Type: message/rfc822\r\n\r\n"


def test_ranges_need_no_copy() -> None:
    assert resolve(TREE, ROOT, Section((3, 1))) == [(TREE.index(b"3.1"), 3)]


def test_prefix_lines_belong_to_the_header() -> None:
    full = b"Received: by us\r\n" + TREE
    header = section_bytes(full, scan(full), Section((), SectionKind.HEADER_FIELDS, (b"received",)))
    assert header == b"Received: by us\r\n\r\n"


@pytest.mark.parametrize(("data", "encoding", "decoded"), [
    (b"abc", b"7bit", b"abc"), (b"abc", b"", b"abc"), (b"abc", b" Binary ", b"abc"),
    (base64.encodebytes(b"hello" * 40), b"BASE64", b"hello" * 40), (b"aGVsbG8", b"base64", b"hello"),
    (b"aGVs!!bG8=garbage", b"base64", b"hello"), (b"a", b"base64", b""), (b"", b"base64", b""),
    (b"=C3=A9=\r\nt=zz", b"quoted-printable", b"\xc3\xa9t=zz"), (b"abc", b"x-uuencode", None),
])
def test_decoding(data: bytes, encoding: bytes, decoded: bytes | None) -> None:
    assert decode_part(data, encoding) == decoded


def test_decoding_is_bounded() -> None:
    assert decode_part(base64.b64encode(b"x" * 10_000), b"base64", limit=100) == b"x" * 100
    assert decode_part(b"x" * 1_000, b"8bit", limit=10) == b"x" * 10
    assert decode_part(b"=41" * 1_000, b"quoted-printable", limit=10) == b"A" * 10


@pytest.mark.parametrize(("data", "charset", "text"), [
    (b"\xc3\xa9", "utf-8", "é"), (b"\xe9", "ISO-8859-1", "é"), (b"\xe9", "utf-8", "é"), (b"\xc3\xa9", "idna", "é"),
    (b"abc", "unicode_escape", "abc"), (b"\xc3\xa9", "", "é"),
])
def test_text(data: bytes, charset: str, text: str) -> None:
    assert decode_text(data, charset) == text


def test_quoted_printable_forgets_blanks_at_the_end_of_lines() -> None:
    coded = b"hello  \r\nb=\r\nar\t \r\nfoo\t=\r\nbar\r\nfoo\t =20=\r\n=62\r\nend \t"
    assert decode_part(coded, b"quoted-printable") == b"hello\r\nbar\r\nfoo\tbar\r\nfoo\t  b\r\nend"
    assert decode_part(b"foo = \t\r\nbar", b"Quoted-Printable") == b"foo bar"
