"""The matrix of masking (spec §8.4), all 128 combinations of its flags, and what documents say of themselves."""

from __future__ import annotations

from itertools import product

import pytest
from support.handing import INS, cda
from support.smtp_stage import NOW

from mssante.documents.letter import structured_letter
from mssante.documents.masking import CODES, Departing, Reach, Sending, check_sending, departing, departing_documents, reach
from mssante.documents.metadata import SenderFacts
from mssante.errors import InputFault

FLAGS = list(product((False, True), repeat=7))


def allowed(masked: bool, invisible: bool, representatives: bool, professionals: bool, citizens: bool, secret: bool, dmp: bool) -> bool:
    """The rows of the volet, written again in another way."""
    if not (professionals or citizens):
        return False
    if (masked, invisible, representatives) == (False, False, False):
        return True
    if (masked, invisible, representatives) == (False, True, False):
        return not citizens
    return not invisible and not professionals and not secret and not dmp


@pytest.mark.parametrize("flags", FLAGS, ids=lambda one: "".join("YN"[not flag] for flag in one))
def test_every_combination(flags: tuple[bool, ...]) -> None:
    if allowed(*flags):
        check_sending(Sending(*flags))
        return
    with pytest.raises(InputFault) as caught:
        check_sending(Sending(*flags))
    assert caught.value.rule == "MASQUAGE-COMBINAISON"


@pytest.mark.parametrize(("codes", "expected"), [
    ((), Reach(True, True)), (("MASQUE_PS",), Reach(False, True)), (("INVISIBLE_PATIENT",), Reach(True, False)),
    (("INVISIBLE_REPRESENTANTS_LEGAUX",), Reach(False, True)), (("N", "autre"), Reach(True, True)),
    (("MASQUE_PS", "INVISIBLE_REPRESENTANTS_LEGAUX"), Reach(False, True))])
def test_toward_whom(codes: tuple[str, ...], expected: Reach) -> None:
    assert reach(codes) == expected


@pytest.mark.parametrize("codes", [("MASQUE_PS", "INVISIBLE_PATIENT"), tuple(CODES),
                                   ("INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX")])
def test_maskings_that_no_row_holds_together(codes: tuple[str, ...]) -> None:
    with pytest.raises(InputFault) as caught:
        reach(codes)
    assert caught.value.rule == "MASQUAGE-COMBINAISON"


def mail(*parts: tuple[str, bytes]) -> bytes:
    out = b"From: a@b.fr\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    for media, content in parts:
        out += b"--x\r\nContent-Type: %b\r\nContent-Transfer-Encoding: base64\r\n\r\n" % media.encode() + b64(content) + b"\r\n"
    return out + b"--x--\r\n"


def b64(content: bytes) -> bytes:
    import base64
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


def archive(*masking: str) -> bytes:
    made = structured_letter([cda()], SenderFacts("2.25.1", "Centre de test"), now=NOW, masking=masking)
    return made.attachments[0].content


def test_an_archive_says_its_masking_and_its_patient_whatever_its_name() -> None:
    found = departing(mail(("application/octet-stream", archive("MASQUE_PS")), ("text/plain", b"Bonjour")))
    assert found == Departing((frozenset({"MASQUE_PS"}),), frozenset({INS}), 1, 0)
    assert departing(mail(("application/zip", archive()))) == Departing((), frozenset({INS}), 1, 0)


def test_a_bare_document_says_it_too() -> None:
    raw = cda().replace(b'confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"',
                        b'confidentialityCode code="INVISIBLE_PATIENT" codeSystem="1.2.250.1.213.1.1.4.13"')
    assert raw != cda()
    assert departing(mail(("text/xml", raw))).masking == (frozenset({"INVISIBLE_PATIENT"}),)
    inside = structured_letter([raw], SenderFacts("2.25.1", "Centre de test"), now=NOW).attachments[0].content
    assert departing(mail(("application/zip", inside))).masking == (frozenset({"INVISIBLE_PATIENT"}),)


_CODE = b'<confidentialityCode code="N"'
_SHEET = b"<xsl:stylesheet xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>%b%b</xsl:stylesheet>"


def bare(code: bytes) -> bytes:
    """A CDA without its declaration, with another code."""
    raw = cda()
    return raw[raw.index(b"<ClinicalDocument"):].replace(_CODE, b'<confidentialityCode code="' + code + b'"')


@pytest.mark.parametrize("raw", [
    bare(b'N"/><confidentialityCode code="INVISIBLE_PATIENT'), bare(b" INVISIBLE_PATIENT\n"), bare(b"invisible_patient"),
    bare(b"&#73;NVISIBLE_PATIENT"), _SHEET % (bare(b"N"), bare(b"INVISIBLE_PATIENT")),
    bare(b"N").replace(b"</ClinicalDocument>", b"<section><confidentialityCode code='INVISIBLE_PATIENT'/></section></ClinicalDocument>")])
def test_every_code_of_a_document_counts_however_it_is_written(raw: bytes) -> None:
    assert departing(mail(("text/xml", raw))).masking == (frozenset({"INVISIBLE_PATIENT"}),)
    assert departing_documents([raw], ()).masking == (frozenset({"INVISIBLE_PATIENT"}),)


_ENTITY = b"<!DOCTYPE a [<!ENTITY d '%b'>]><a>&d;</a>"


@pytest.mark.parametrize(("raw", "hidden"), [
    (_ENTITY % b"&#60;ClinicalDocument/>", 1), (_ENTITY % b"&#x0003C;ClinicalDocument/>", 1), (_ENTITY % b"&#160;", 0),
    (b"<!DOCTYPE svg [<!ENTITY ns 'http://x/'>]><svg/>", 0), (b"<?xml version='1.0' encoding='UTF-7'?>+ADw-ClinicalDocument/>", 1),
    (b"<?xml version='1.0' encoding='windows-1252'?><labo/>", 0), (b"\xc3\xaf\xc2\xbb\xc2\xbf" + bare(b"N"), 1), (b"\x1a" + bare(b"N"), 1),
    ("<!--\u6c43\u6e69\u6369\u6c61\u6f44\u7563\u656d\u746e--><ClinicalDocument/>".encode("utf-16"), 1)])
def test_a_document_that_only_others_can_read_is_told(raw: bytes, hidden: int) -> None:
    assert departing(mail(("text/xml", raw))).hidden == hidden


@pytest.mark.parametrize("content", [b"PK\x03\x04 not a zip", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a/>", b"<?xml", b"PK\x05\x06"])
def test_what_cannot_be_read_is_counted_and_never_raised(content: bytes) -> None:
    found = departing(mail(("application/zip", content)))
    assert (found.documents, found.masking, found.matricules) == (0, (), frozenset()) and found.unreadable == 1


@pytest.mark.parametrize("masking", [(), ("MASQUE_PS",), ("INVISIBLE_PATIENT", "MASQUE_PS")])
def test_what_is_known_before_the_message_is_what_is_read_in_it(masking: tuple[str, ...]) -> None:
    assert departing_documents([cda()], masking) == departing(mail(("application/zip", archive(*masking))))


def test_a_message_without_documents_says_nothing() -> None:
    assert departing(b"From: a@b.fr\r\n\r\nBonjour\r\n") == departing(b"") == Departing()
