"""Subjects, MSSanté headers and names of attachments."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from mssante.documents.cda import CdaHeader, read_header
from mssante.documents.codes import Code
from mssante.documents.subject import (
    StructuredSubject,
    error_subject,
    mss_headers,
    parse_subject,
    pdf_name,
    strip_prefix,
    xdm_subject,
)
from mssante.errors import InputFault

_RAW = """<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.3"/>
<code code="18748-4" codeSystem="2.16.840.1.113883.6.1" displayName="CR d’imagerie médicale"/>
<effectiveTime value="20220601101500+0200"/><recordTarget><patientRole>
<id root="1.2.250.1.213.1.4.10" extension="279035121518989"/><patient><name>
<family qualifier="BR">CORSE</family><given qualifier="BR">FIGATELLIX</given></name>
<administrativeGenderCode code="F"/><birthTime value="19790328"/></patient></patientRole></recordTarget>
<documentationOf><serviceEvent><effectiveTime><low value="20220531"/></effectiveTime></serviceEvent></documentationOf>
</ClinicalDocument>""".encode()
_HEADER = read_header(_RAW)


def _header(code: str, raw: bytes = _RAW) -> CdaHeader:
    return replace(read_header(raw), code=Code(code, "s"))


def test_subject_of_a_structured_message() -> None:
    assert xdm_subject("Lettre de liaison", "Pat-Trois", "Dominique", date(1979, 3, 28)) == (
        "XDM/1.0/DDM+Lettre de liaison PAT-TROIS Dominique 28/03/1979")
    assert xdm_subject("Lettre", "A", "B") == "XDM/1.0/DDM+Lettre A B"


def test_a_subject_is_one_bounded_line() -> None:
    text = xdm_subject("a\r\nBcc: x\u202e\u2028" + "t" * 5000, "N\n" * 300, "g", date(1979, 3, 28))
    assert len(text) <= 400 and text.isprintable() and text.endswith("g 28/03/1979")


@pytest.mark.parametrize(("text", "expected"), [
    ("XDM/1.0/DDM+Essai A B 28/03/1979", StructuredSubject(True, "Essai A B 28/03/1979")),
    ("xdm/1.0/ddm", StructuredSubject(True, "")), ("Fwd: XDM/1.0/DDM+x", StructuredSubject(True, "Fwd: x")),
    ("Hello", StructuredSubject(False, "Hello")), ("", StructuredSubject(False, "")),
    ("[KO Intégration système !][902] XDM/1.0/DDM+Essai A",
     StructuredSubject(True, "Essai A", "902", "KO Intégration système !")),
    ("[Erreur d’intégration !][902] XDM/1.0/DDM+Essai",
     StructuredSubject(True, "Essai", "902", "Erreur d’intégration !")),
    ("[FIN]", StructuredSubject(False, "[FIN]")),
])
def test_subjects_are_taken_apart(text: str, expected: StructuredSubject) -> None:
    assert parse_subject(text) == expected


def test_readers_do_not_see_the_prefix() -> None:
    assert strip_prefix("XDM/1.0/DDM+Essai A") == "Essai A" and strip_prefix("[1] Hello ") == "[1] Hello "
    assert strip_prefix("[KO x][902] XDM/1.0/DDM+Essai") == "[KO x][902] Essai"


def test_error_subject_comes_back() -> None:
    parts = parse_subject(error_subject("XDM/1.0/DDM+Essai", "904"))
    assert (parts.error_code, parts.label, parts.structured) == ("904", "Essai", True)
    with pytest.raises(InputFault):
        error_subject("x", "90")


def test_headers_of_a_message() -> None:
    assert mss_headers([]) == {}
    assert mss_headers([_header("34112-3"), _header("PRESC-BIO")]) == {
        "X-MSS-CODECDA": "34112-3,PRESC-BIO", "X-MSS-INS": "O"}


@pytest.mark.parametrize("removed", [b'<birthTime value="19790328"/>', b'<administrativeGenderCode code="F"/>',
                                     b'<given qualifier="BR">FIGATELLIX</given>', b'extension="279035121518989"'])
def test_one_document_without_a_qualified_ins_makes_it_n(removed: bytes) -> None:
    assert mss_headers([_header("A"), _header("A", _RAW.replace(removed, b""))])["X-MSS-INS"] == "N"


@pytest.mark.parametrize("code", ["a,b", "a b", "a\nX-Evil: 1", "é", "x" * 65, "-"])
def test_a_code_that_could_break_a_header_is_refused(code: str) -> None:
    with pytest.raises(InputFault) as caught:
        mss_headers([_header(code)])
    assert caught.value.rule == "CDA-CODE"


def test_name_of_the_pdf() -> None:
    assert pdf_name(_HEADER) == "20220531_CR_d_imagerie_medicale_CORSE_FIGATELLIX.pdf"
    assert pdf_name(_HEADER, record="../N 12") == "20220531_CR_d_imagerie_medicale_CORSE_FIGATELLIX_N_12.pdf"


def test_a_hostile_label_gives_a_plain_name() -> None:
    name = pdf_name(replace(_HEADER, code=Code("1", "s", "../../é\r\n\u202e;:" + "x" * 500)))
    assert name.isascii() and "/" not in name and ".." not in name and len(name) < 255
