"""Documents that another program finds where a strict reader finds none: told, and never what is no document."""

from __future__ import annotations

import base64
import binascii
import io
import zipfile

import pytest
from support.handing import cda
from support.structured_mail import archive, plain_zip

from mssante.documents.masking import INVISIBLE, departing
from mssante.services.departure import may_hold

RAW = cda().replace(b'<confidentialityCode code="N"', b'<confidentialityCode code="INVISIBLE_PATIENT"')
TOP = b"From: a@b.fr\r\nSubject: Bonjour\r\nMIME-Version: 1.0\r\n"
PHOTO = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 10
B64 = b"Content-Transfer-Encoding: base64\r\n"


def b64(content: bytes, piece: int = 0) -> bytes:
    if piece:
        return b"\r\n".join(base64.b64encode(content[at:at + piece]) for at in range(0, len(content), piece))
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


def part(header: bytes, body: bytes) -> bytes:
    return b"Content-Type: " + header + b"\r\n\r\n" + body


def mixed(*parts: bytes, media: bytes = b"multipart/mixed; boundary=x") -> bytes:
    return TOP + b"Content-Type: " + media + b"\r\n\r\n" + b"".join(b"--x\r\n" + one + b"\r\n" for one in parts) + b"--x--\r\n"


def uu(content: bytes) -> bytes:
    lines = [binascii.b2a_uu(content[at:at + 45]).replace(b"\n", b"\r\n") for at in range(0, len(content), 45)]
    return b"begin 644 piece\r\n" + b"".join(lines) + b"`\r\nend\r\n"


def yenc(content: bytes) -> bytes:
    codes = [(octet + 42) % 256 for octet in content]
    return b"=ybegin line=128 size=1 name=a\r\n" + b"".join(
        b"=" + bytes([(code + 64) % 256]) if code in (0, 10, 13, 61) else bytes([code]) for code in codes) + b"\r\n=yend size=1\r\n"


def zipped(content: bytes, name: str = "cr.xml", method: int = zipfile.ZIP_DEFLATED, *, large: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as target, target.open(name, "w", force_zip64=large) as member:
        member.write(content)
    return out.getvalue()


def signed(content: bytes) -> bytes:
    """Signed data without signers."""
    def tlv(tag: int, inside: bytes) -> bytes:
        return bytes([tag, 0x84]) + len(inside).to_bytes(4) + inside
    data = tlv(0x30, bytes.fromhex("06092a864886f70d010701") + tlv(0xA0, tlv(4, content)))
    return tlv(0x30, bytes.fromhex("06092a864886f70d010702") + tlv(0xA0, tlv(0x30, b"\2\1\1" + tlv(0x31, b"") + data + tlv(0x31, b""))))


def told(raw: bytes) -> bool:
    found = departing(raw)
    return may_hold(raw) and (found.hidden > 0 or any(INVISIBLE in codes for codes in found.masking))


@pytest.mark.parametrize("content", [RAW, archive(RAW), zipped(RAW)], ids=["cda", "xdm", "zip"])
@pytest.mark.parametrize("word", [b"base64 (a)", b"(a) base64", b'"base64"', b"base64;", b"x-base64", b"=?us-ascii?q?base64?="])
@pytest.mark.parametrize("media", [b"text/plain", b"text/xml"])
def test_an_encoding_under_another_word(content: bytes, word: bytes, media: bytes) -> None:
    assert told(mixed(part(media + b"\r\nContent-Transfer-Encoding: " + word, b64(content))))


@pytest.mark.parametrize("content", [RAW, archive(RAW), zipped(RAW)], ids=["cda", "xdm", "zip"])
@pytest.mark.parametrize("spell", [uu, yenc])
def test_a_file_spelt_in_a_text(content: bytes, spell: object) -> None:
    assert callable(spell)
    text = b"Bonjour,\r\n\r\n" + spell(content)
    assert told(TOP + b"\r\n" + text) and told(mixed(part(b"text/plain\r\n" + B64[:-2], b64(text))))
    assert told(mixed(part(b"text/plain\r\nContent-Transfer-Encoding: x-uuencode", text)))
    assert not may_hold(TOP + b"\r\nBonjour,\r\n\r\n" + spell(PHOTO))


@pytest.mark.parametrize("body", [
    b64(RAW, 50), b64(archive(RAW), 50), b64(zipped(RAW), 50), b"IA==\r\n" + b64(RAW), b"=\r\n" + b64(RAW), b64(RAW)[:9] + b"=" + b64(RAW)[9:],
    b"\r\n" * 275 + b64(zipped(RAW)), b"!" * 556 + b64(RAW)], ids=range(8))
def test_base64_that_some_read_further(body: bytes) -> None:
    assert told(mixed(part(b"application/octet-stream\r\n" + B64[:-2], body)))


def test_a_photo_in_pieces_of_base64_says_nothing() -> None:
    assert not may_hold(mixed(part(b"image/jpeg; name=a.jpg\r\n" + B64[:-2], b64(PHOTO, 50))))


@pytest.mark.parametrize("one", [
    b"Content-Type: text/xml\r\n" + RAW, RAW, b"Content-Type: text/xml\r\n" + B64 + b64(RAW),
    b"Content-Type: application/zip\r\n" + B64 + b64(archive(RAW)), b"Content-Type: text/xml\r\nContent-Transfer-Encoding: base64 (a)\r\n" + b64(RAW),
    b"Content-Type: multipart/mixed; boundary=y\r\n--y\r\nContent-Type: text/xml\r\n" + B64 + b"\r\n" + b64(RAW) + b"--y\r\n\r\nb\r\n--y--\r\n"])
def test_a_header_without_its_empty_line(one: bytes) -> None:
    assert told(mixed(one)) and told(TOP + one)


def test_what_stands_behind_the_end_of_a_multipart() -> None:
    one = part(b"text/xml\r\n" + B64[:-2], b64(RAW))
    assert told(mixed(part(b"text/plain", b"a")) + b"--x\r\n" + one + b"--x--\r\n")
    assert not may_hold(mixed(part(b"text/plain", b"a")) + b"\r\nEnvoy\xc3\xa9 de mon t\xc3\xa9l\xc3\xa9phone\r\n")


@pytest.mark.parametrize("line", [b"<urgent>", b"--x", b"<?xml"])
def test_a_strange_line_hides_no_part_behind_it(line: bytes) -> None:
    assert told(b"Subject: a\r\n" + line + b"\r\n" + mixed(part(b"text/xml\r\n" + B64[:-2], b64(RAW))))


def test_a_subject_that_went_over_its_line_hides_nothing() -> None:
    long = b"Subject: Bonjour\r\nsuite de l'objet <urgent>\r\n"
    assert departing(long + mixed(*[part(b"text/xml; name=a.xml\r\n" + B64[:-2], b64(b"<labo/>"))] * 15)).hidden == 0
    assert not may_hold(long + part(b"text/plain", b"Bonjour"))


@pytest.mark.parametrize("media", [
    b"=?us-ascii?q?multipart/mixed?=; boundary=x", b"(a) multipart/mixed; boundary=x", b'"multipart/mixed"; boundary=x', b"multipart/; boundary=x",
    b"text/plain\r\nContent-Type: multipart/mixed; boundary=x"])
def test_a_multipart_whose_type_cannot_be_read(media: bytes) -> None:
    assert told(mixed(part(b"text/xml\r\n" + B64[:-2], b64(RAW)), media=media))


@pytest.mark.parametrize("media", [b"message/rfc822", b"message/news", b"message/global", b"message/x-autre", b"message/partial; id=a; number=1"])
def test_a_message_of_any_type(media: bytes) -> None:
    inside = b"Subject: x\r\n" + part(b"text/xml\r\n" + B64[:-2], b64(RAW))
    assert told(mixed(part(media, inside))) and told(mixed(part(media + b"\r\n" + B64[:-2], b64(inside))))


@pytest.mark.parametrize("media", [b"application/pkcs7-mime", b"application/octet-stream; name=cr.p7m", b"text/plain; name=cr.p7m"])
@pytest.mark.parametrize("content", [RAW.replace(b"\n\n", b"\n"), archive(RAW)])
def test_a_document_signed_without_a_message_around_it(media: bytes, content: bytes) -> None:
    assert told(mixed(part(media + b"\r\n" + B64[:-2], b64(signed(content)))))


@pytest.mark.parametrize("content", [RAW, archive(RAW)])
def test_a_document_named_as_a_message(content: bytes) -> None:
    assert told(mixed(part(b"application/octet-stream; name=a.eml\r\n" + B64[:-2], b64(content))))


@pytest.mark.parametrize("text", [b"<https://a.fr> Bonjour", b"< 3 mg", b"<jean@a.fr> a dit", b"Bonjour", b"<", b"begin 2026 suivi\r\nPK", b"--\r\nJean"])
@pytest.mark.parametrize("word", [b"utf-8", b"8-bit", b"none", b"7bit"])
def test_a_letter_under_a_wrong_word_leaves(text: bytes, word: bytes) -> None:
    assert departing(mixed(part(b"text/plain\r\nContent-Transfer-Encoding: " + word, text))).hidden == 0


@pytest.mark.parametrize("body", [b"--x--\r\n", b"", b"Bonjour\r\n", b"Bonjour\r\n-- \r\nJean\r\n"])
def test_a_multipart_without_anything_like_a_part_leaves(body: bytes) -> None:
    assert departing(TOP + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + body).hidden == 0
    assert departing(TOP + b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + body + b"--y\r\n\r\nb").hidden == 1


def laxer(raw: bytes) -> list[bytes]:
    """Archives that our reader refuses and ordinary programs open."""
    return [zipped(raw, large=True), zipped(raw, method=zipfile.ZIP_BZIP2), zipped(raw, method=zipfile.ZIP_LZMA), b"PK00" + zipped(raw),
            b"PK\x07\x08" + zipped(raw), b"MZ" + bytes(3000) + zipped(raw), zipped(raw) + b"\0" * 9, zipped(raw, "d/a.xml").replace(b"d/a", b"d\\a"),
            zipped(raw, "CR 10:30.xml"), zipped(raw)[:-30], zipped(zipped(raw, large=True), "a.zip"), zipped(zipped(raw, large=True), "a.zip", large=True),
            zipped(zipped(zipped(zipped(raw), "a.zip"), "b.zip"), "c.zip")]


@pytest.mark.parametrize("rank", range(13))
def test_an_archive_that_laxer_programs_open(rank: int) -> None:
    header = b"application/zip; name=a.zip\r\n" + B64[:-2]
    assert told(mixed(part(header, b64(laxer(RAW)[rank]))))
    for other in (b"<labo/>", PHOTO, b"<html>ClinicalDocument</html>", b'<?xml version="1.0" encoding="windows-1252"?><a/>'):
        assert departing(mixed(part(header, b64(laxer(other)[rank])))).hidden == 0


@pytest.mark.parametrize("first", ["mimetype", "[Content_Types].xml", "docProps/app.xml"])
def test_what_is_named_zip_is_opened_whatever_it_begins_with(first: str) -> None:
    out = io.BytesIO(zipped(b"x", first))
    with zipfile.ZipFile(out, "a") as target:
        target.writestr("cr.xml", RAW)
    assert told(mixed(part(b"application/zip; name=a.zip\r\n" + B64[:-2], b64(out.getvalue()))))
    assert told(mixed(part(b"application/zip; name=a.zip\r\n" + B64[:-2], b64(zipped(out.getvalue(), "b.zip")))))
    assert not may_hold(mixed(part(b"application/zip; name=a.docx\r\n" + B64[:-2], b64(out.getvalue()))))


def test_messages_and_archives_inside_archives_are_read() -> None:
    letter = mixed(part(b"text/xml\r\n" + B64[:-2], b64(RAW)))
    packed, announced = io.BytesIO(), io.BytesIO()
    packed.write(zipped(letter, "a.eml"))
    with zipfile.ZipFile(io.BytesIO(archive())) as source, zipfile.ZipFile(announced, "w") as target:
        for name in source.namelist():
            target.writestr(name, zipped(RAW) if "DOC0001" in name else source.read(name))
    for raw in (packed.getvalue(), announced.getvalue()):
        found = departing(mixed(part(b"application/zip; name=a.zip\r\n" + B64[:-2], b64(raw))))
        assert INVISIBLE in frozenset().union(*found.masking)
    assert departing(mixed(part(b"application/zip; name=a.zip\r\n" + B64[:-2], b64(zipped(mixed(part(b"text/plain", b"a")), "a.eml"))))).hidden == 0


def test_what_archives_inflate_to_in_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = mixed(*[part(b"application/zip; name=a.zip\r\n" + B64[:-2], b64(plain_zip()))] * 2)
    assert departing(raw).hidden == 0
    monkeypatch.setattr("mssante.documents.masking.MAX_UNPACKED", 10)
    assert departing(raw).hidden == 1
