"""The one reader of files inside mail: what is given, its limits, what is read through a signature, and what uses it."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from functools import cache

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from support.handing import INS, cda
from support.smime import alice
from support.structured_mail import altered, archive, broken_hash, mail, plain_zip, structured

from mssante.documents.beginnings import Kind
from mssante.documents.mailfiles import FileRemark, Reading, mail_files
from mssante.documents.mailtwins import twins_of
from mssante.documents.masking import departing
from mssante.documents.preflight import Outcome, Rules, examine_message
from mssante.documents.signedcontent import signed_content
from mssante.errors import InputFault

A, B = "a@a.mssante.fr", "b@a.mssante.fr"
READ = Reading(signed=True)
EVERY = Reading(frozenset(Kind))
BAD_CDA = b"<?xml version='1.0'?><ClinicalDocument xmlns='urn:hl7-org:v3'>"


def loose(*files: tuple[str, bytes]) -> bytes:
    return mail(A, B, *files, subject="Bonjour")


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content).to_bytes(4)
    return bytes([tag, 0x84]) + size + content


def endless(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80]) + content + b"\0\0"


SIGNED_OID, DATA_OID = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("06092a864886f70d010701")


def by_hand(content: bytes, wrap: Callable[[int, bytes], bytes] = tlv, pieces: int = 0) -> bytes:
    """Signed data without signers: definite or indefinite, its content whole or in pieces."""
    parts = [content[at:at + pieces] for at in range(0, len(content), pieces)] if pieces else []
    octets = wrap(0x24, b"".join(tlv(4, one) for one in parts)) if pieces else tlv(4, content)
    inside = wrap(0x30, DATA_OID + wrap(0xA0, octets))
    return wrap(0x30, SIGNED_OID + wrap(0xA0, wrap(0x30, b"\x02\x01\x01" + wrap(0x31, wrap(0x30, b"\x06\x01\x2a")) + inside + tlv(0x31, b""))))


def p7m(raw: bytes, media: str = "application/pkcs7-mime; smime-type=signed-data") -> bytes:
    return (f"From: {A}\r\nTo: {B}\r\nSubject: Bonjour\r\nMIME-Version: 1.0\r\nContent-Type: {media}\r\n"
            "Content-Transfer-Encoding: base64\r\n\r\n").encode() + base64.encodebytes(raw).replace(b"\n", b"\r\n")


@cache
def entity(name: str, content: bytes) -> bytes:
    return loose((name, content))


def test_files_are_known_by_how_they_begin_in_their_order() -> None:
    found = mail_files(loose(("a.bin", archive()), ("b.txt", cda()), ("c.pdf", b"%PDF-1.4"), ("d.zip", b"texte")), EVERY)
    named = [one for one in found.files if one.name]
    assert [(one.name, one.kind) for one in named] == [("a.bin", Kind.ARCHIVE), ("b.txt", Kind.XML), ("c.pdf", Kind.OTHER), ("d.zip", Kind.OTHER)]
    assert named[0].content() == archive() and named[1].content() == named[1].octets() == cda() and found.remarks == ()


def test_limits_are_told() -> None:
    many = mail_files(loose(*[(f"{rank}.xml", cda()) for rank in range(4)]), Reading(most=3))
    assert len(many.files) == 3 and many.remarks == (FileRemark.MANY,)
    (large,) = mail_files(loose(("a.xml", cda())), Reading(largest=len(cda()) - 1)).files
    assert large.content() is None and large.octets() == cda()[:-1]
    (whole,) = mail_files(loose(("a.xml", cda())), Reading(largest=len(cda()))).files
    assert whole.content() == cda()


def test_an_unknown_encoding_has_no_content() -> None:
    raw = b"Content-Type: application/pdf; name=a\r\nContent-Transfer-Encoding: uuencode\r\n\r\nbegin"
    (one,) = mail_files(raw, EVERY).files
    assert one.content() is None and one.octets() == b"begin"


def test_an_attached_message_is_read_only_when_asked() -> None:
    outer = b"Content-Type: message/rfc822\r\n\r\n" + loose(("a.xml", cda()))
    assert mail_files(outer, Reading()).files == ()
    assert [one.kind for one in mail_files(outer, EVERY).files] == [Kind.MESSAGE]
    assert [one.kind for one in mail_files(outer, Reading(embedded=True)).files] == [Kind.XML]


@pytest.mark.parametrize("raw", [b"", b"\0" * 50, b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x", b"\xff\xfe"])
def test_bad_mail_is_no_fault(raw: bytes) -> None:
    assert mail_files(raw, READ).files == ()


@pytest.mark.parametrize(("wrap", "pieces"), [(tlv, 0), (tlv, 7), (endless, 0), (endless, 1000)])
def test_signed_content_of_every_form(wrap: Callable[[int, bytes], bytes], pieces: int) -> None:
    assert signed_content(by_hand(b"Bonjour" * 40, wrap, pieces)) == b"Bonjour" * 40


def test_signed_content_of_other_programs() -> None:
    made = PKCS7SignatureBuilder().set_data(b"Bonjour").add_signer(alice().certificate, alice().key, SHA256())  # type: ignore[arg-type]
    assert signed_content(made.sign(Encoding.DER, [PKCS7Options.Binary])) == b"Bonjour"
    assert signed_content(made.sign(Encoding.DER, [PKCS7Options.Binary, PKCS7Options.DetachedSignature])) is None


@pytest.mark.parametrize("cut", range(17, 110, 7))
def test_cut_signed_data_is_a_typed_refusal(cut: int) -> None:
    with pytest.raises(InputFault) as caught:
        signed_content(by_hand(b"Bonjour" * 40)[:cut])
    assert caught.value.rule == "MAIL-P7M"


@pytest.mark.parametrize("raw", [b"", b"\r\n", *(tlv(0x30, bytes.fromhex(oid)) for oid in (
    "06092a864886f70d010703", "06092a864886f70d010704", "06092a864886f70d010706", "060b2a864886f70d0109100117"))])
def test_what_is_encrypted_or_empty_holds_nothing(raw: bytes) -> None:
    assert signed_content(raw) is None


@pytest.mark.parametrize("raw", [b"0", b"hello", tlv(0x30, bytes.fromhex("060b2a864886f70d0109100109")), tlv(0x30, DATA_OID + b"\xa0\0"),
                                 b"\n" + by_hand(b"x")])
def test_what_others_may_open_is_a_refusal(raw: bytes) -> None:
    """Compressed data, plain data, what is no CMS under its name."""
    with pytest.raises(InputFault) as caught:
        signed_content(raw)
    assert caught.value.rule == "MAIL-P7M"


@pytest.mark.parametrize("octets", [1, 2, 4, 5, 6, 9, 40, 126])
def test_lengths_of_any_width(octets: int) -> None:
    def wide(tag: int, content: bytes) -> bytes:
        return bytes([tag, 0x80 | octets]) + len(content).to_bytes(octets) + content if len(content) < 256 ** octets else tlv(tag, content)

    assert signed_content(by_hand(b"Bonjour", wide)) == b"Bonjour"


def test_a_nest_of_pieces_ends() -> None:
    def nested(times: int) -> bytes:
        octets = tlv(4, b"x")
        for _ in range(times):
            octets = endless(0x24, octets)
        return by_hand(b"@@", endless).replace(tlv(4, b"@@"), octets)

    assert signed_content(nested(6)) == b"x"
    with pytest.raises(InputFault) as caught:
        signed_content(nested(7))
    assert caught.value.rule == "MAIL-P7M" and caught.value.detail == "depth"


def test_signatures_are_read_through_but_not_for_ever() -> None:
    raw = entity("a.xml", cda())
    for depth in range(1, 6):
        raw = p7m(by_hand(raw))
        found = mail_files(raw, READ)
        assert (len(found.files), found.remarks) == ((1, ()) if depth <= 3 else (0, (FileRemark.DEEP,)))
    assert mail_files(p7m(by_hand(entity("a.xml", cda()))), Reading()).files == ()
    assert mail_files(p7m(by_hand(b"x")[:30]), READ).remarks == (FileRemark.SIGNED,)


def test_masking_is_read_through_a_signature() -> None:
    found = departing(p7m(by_hand(loose(("x.zip", archive())))))
    assert found.documents == 1 and found.matricules == frozenset({INS}) and found.hidden == 0


@pytest.mark.parametrize(("raw", "hidden"), [
    (loose(("IHE_XDM.ZIP", b"PK\x03\x04 casse")), 1), (loose(("dossier.zip", archive()[:-30])), 1), (loose(("a.xml", BAD_CDA)), 1),
    (p7m(by_hand(b"x")[:30]), 1), (loose(*[("a.xml", b"<?xml version='1.0'?><a/>")] * 21), 1),
    (loose(("photos.zip", b"PK\x03\x04 casse")), 0), (loose(("photos.zip", plain_zip())), 0), (loose(("a.xml", b"<?xml?><a>")), 0),
    (structured(A, B), 0), (structured(A, B, broken_hash(archive())), 0)])
def test_what_may_hide_a_masking(raw: bytes, hidden: int) -> None:
    assert departing(raw).hidden == hidden


@pytest.mark.parametrize("through", [lambda raw: raw, lambda raw: p7m(by_hand(raw)),
                                     lambda raw: p7m(by_hand(raw), "application/octet-stream; name=smime.p7m")])
def test_preflight_judges_loose_documents_and_signed_ones(through: Callable[[bytes], bytes]) -> None:
    good, bad = examine_message(through(loose(("a.xml", cda()))), Rules()), examine_message(through(loose(("a.xml", BAD_CDA))), Rules())
    assert (good.documents, good.archives, good.errors, good.computed) == (1, 0, (), ())
    assert bad.outcome is Outcome.BLOCK and len(bad.errors) == 1
    hashed = examine_message(through(structured(A, B, broken_hash(archive()))), Rules())
    assert [one.rule for one in hashed.errors] == ["XDM-HASH"]


WIDE = ("utf-16", "utf-16-le", "utf-16-be")


@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("head", ["", "<?xml version='1.0' encoding='UTF-16'?>"])
def test_a_document_in_another_encoding_does_not_slip_by(encoding: str, head: str) -> None:
    """Our readers refuse UTF-16; a recipient's may not, so that what it masks may be read there."""
    text = cda().decode()
    wide = loose(("a.xml", (head + text[text.index("<ClinicalDocument"):]).encode(encoding)))
    found = departing(wide)
    assert (found.documents, found.unreadable, found.hidden) == (0, 1, 1)
    judged = examine_message(wide, Rules())
    assert judged.outcome is Outcome.BLOCK and len(judged.errors) == 1
    assert twins_of(wide).unreadable == 1


@pytest.mark.parametrize("encoding", [*WIDE, "utf-8"])
def test_another_text_in_any_encoding_is_no_document(encoding: str) -> None:
    assert departing(loose(("a.xml", "<?xml version='1.0'?><a>ClinicalDoc</a>".encode(encoding)))).hidden == 0
    assert examine_message(loose(("a.txt", "Bonjour ClinicalDocument".encode(encoding))), Rules()).documents == 0


def test_a_mark_of_utf8_hides_nothing() -> None:
    marked = loose(("a.xml", b"\xef\xbb\xbf" + cda()))
    assert departing(marked).matricules == frozenset({INS}) and examine_message(marked, Rules()).documents == 1
    assert len(twins_of(marked).twins) == 1


def test_preflight_lets_nothing_pass_unread() -> None:
    assert [one.rule for one in examine_message(p7m(by_hand(b"x")[:30]), Rules()).errors] == ["MAIL-P7M"]
    many = examine_message(loose(*[("a.zip", plain_zip())] * 21), Rules())
    assert [one.rule for one in many.errors] == ["MAIL-FICHIERS"]
    assert examine_message(loose(("a.xml", b"<?xml version='1.0'?><a/>")), Rules()).documents == 0


INVISIBLE = cda().replace(b'<confidentialityCode code="N"', b'<confidentialityCode code="INVISIBLE_PATIENT"')
BARE = INVISIBLE[INVISIBLE.index(b"<ClinicalDocument"):]


def part(content: bytes, media: str, encoding: str = "base64", name: str = "") -> bytes:
    body = base64.encodebytes(content).replace(b"\n", b"\r\n") if encoding == "base64" else content
    named = f'; name="{name}"' if name else ""
    return f"Content-Type: {media}{named}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def packed(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files:
            target.writestr(name, content)
    return out.getvalue()


READ_FORMS = {
    "comment": b"<!-- logiciel X -->\n" + BARE, "instruction": b"<?mso x?>" + BARE, "blanks": b"\r\n" * 900 + INVISIBLE,
    "long comment": b"<!--" + b"x" * 5000 + b"-->" + BARE, "mark and blanks": b"\xef\xbb\xbf \n" + INVISIBLE,
    "prefix": BARE.replace(b"<ClinicalDocument", b"<cda:ClinicalDocument xmlns:cda='urn:hl7-org:v3'").replace(
        b"</ClinicalDocument", b"</cda:ClinicalDocument"),
    "plain zip": packed(("cr.xml", INVISIBLE)), "zip in zip": packed(("x/tout.zip", packed(("cr.xml", INVISIBLE)))),
    "archive in zip": packed(("IHE_XDM.ZIP", archive(INVISIBLE))), "beside": packed(("a/METADATA.XML", b"<a/>"), ("cr.txt", INVISIBLE)),
}
CLOSED_FORMS = {
    "type": b"<!DOCTYPE ClinicalDocument>" + BARE, "page type": b"<!DOCTYPE html>" + BARE,
    "utf-16 blanks": (" " * 700).encode("utf-16") + BARE.decode().encode("utf-16-le"),
    **{name: BARE.decode().encode(name) for name in ("utf-16", "utf-32", "utf-32-be", "cp037")},
    "soap": b"<soap:Envelope>" + BARE + b"</soap:Envelope>", "deep": packed(("a.zip", packed(("b.zip", packed(("IHE_XDM.ZIP", b"x")))))),
    "tar": b"cr.xml".ljust(257, b"\0") + b"ustar".ljust(255, b"\0") + BARE, "winmail": b"\x78\x9f\x3e\x22" + archive(INVISIBLE),
    "broken": b"<!-- x -->" + BARE[:-30],
}
if "cp037" in CLOSED_FORMS:
    CLOSED_FORMS["cp037"] = ("<?xml version='1.0' encoding='IBM037'?>" + BARE.decode()).encode("cp037")
MEDIA = [("application/octet-stream", ""), ("application/pdf", "cr.pdf"), ("text/plain", "cr.txt"), ("text/plain", ""), ("text/html", ""),
         ("image/jpeg", "cr.jpg"), ("text/xml", ""), ("application/pkcs8", "a")]


@pytest.mark.parametrize(("media", "name"), MEDIA)
@pytest.mark.parametrize("form", READ_FORMS)
def test_a_masking_is_read_in_every_form_and_under_every_name(form: str, media: str, name: str) -> None:
    found = departing(part(READ_FORMS[form], media, name=name))
    assert (found.masking, found.documents, found.hidden) == ((frozenset({"INVISIBLE_PATIENT"}),), 1, 0)
    assert found.matricules == frozenset({INS})


@pytest.mark.parametrize(("media", "name"), MEDIA)
@pytest.mark.parametrize("form", CLOSED_FORMS)
def test_what_cannot_be_read_is_told(form: str, media: str, name: str) -> None:
    if (form, media) == ("soap", "text/html"):
        return  # a page
    found = departing(part(CLOSED_FORMS[form], media, name=name))
    assert (found.masking, found.documents) == ((), 0) and found.hidden >= 1


@pytest.mark.parametrize("raw", [
    part(base64.b64encode(INVISIBLE), "application/xml", "x-base64", "a.xml"), part(b"begin 644 a.xml", "application/xml", "x-uuencode"),
    part(INVISIBLE, "text/xml", "8-bit"), b"Content-Transfer-Encoding: base64\r\n" + part(INVISIBLE, "text/xml"),
    b"Content-Transfer-Encoding: 7bit\r\n" + part(INVISIBLE, "text/plain"),
    part(b"--y\r\n\r\nx", "multipart/mixed", "7bit"),
    part(base64.b64encode(loose(("a.xml", INVISIBLE))), "application/x-pkcs7-mime", "7bit", "smime.p7m")])
def test_what_nobody_can_place_is_told(raw: bytes) -> None:
    found = departing(raw)
    assert found.hidden == 1 or found.masking


@pytest.mark.parametrize(("media", "name", "encoding"), [
    ("message/rfc822", "", "7bit"), ("message/rfc822", "", "base64"), ("application/octet-stream", "lettre.eml", "base64"),
    ("text/plain", "Lettre.EML", "7bit")])
def test_a_masking_is_read_in_an_attached_message(media: str, name: str, encoding: str) -> None:
    found = departing(part(loose(("a.xml", INVISIBLE)), media, encoding, name))
    assert found.masking == (frozenset({"INVISIBLE_PATIENT"}),) and found.hidden == 0


def test_messages_inside_one_another_end() -> None:
    raw = loose(("a.xml", INVISIBLE))
    for _ in range(4):
        raw = part(raw, "message/rfc822")
    assert departing(raw).hidden >= 1 and departing(raw).masking == ()


def test_codes_of_a_document_count_though_its_metadata_say_another_type() -> None:
    plain, told = archive(), archive(INVISIBLE)
    for made in (told, altered(plain, b'code="N"', b'code="INVISIBLE_PATIENT"')):
        assert frozenset({"INVISIBLE_PATIENT"}) in departing(loose(("x.zip", made))).masking
    with zipfile.ZipFile(io.BytesIO(told)) as source:
        other = packed(*[(name, source.read(name).replace(b'mimeType="text/xml"', b'mimeType="text/plain"').replace(
            b"INVISIBLE_PATIENT", b"N") if "METADATA" in name else source.read(name)) for name in source.namelist()])
    assert frozenset({"INVISIBLE_PATIENT"}) in departing(loose(("x.zip", other))).masking


@pytest.mark.parametrize("raw", [
    loose(("notes.txt", b"La racine est <ClinicalDocument>.")), part(b"<p>La racine est <ClinicalDocument>.", "text/html", "7bit"),
    loose(("CDA.xsl", b"<xsl:stylesheet><xsl:template match='/ClinicalDocument'/></xsl:stylesheet>")), part(b"", "text/xml"),
    loose(("photos.zip", packed(("a.xml", b"<a/>"), ("b.zip", packed(("c.zip", b"x")))))), loose(("a.tar", b"x".ljust(257, b"\0") + b"ustar")),
    part(b"  \r\n", "multipart/mixed", "7bit"), part("Été".encode(), "text/plain", "8-bit"), loose(("a.docx", packed(("[Content_Types].xml", b"x"))))])
def test_what_is_no_document_is_no_matter(raw: bytes) -> None:
    found = departing(raw)
    assert (found.masking, found.documents, found.hidden) == ((), 0, 0)
