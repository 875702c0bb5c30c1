"""The parts of a structured letter and the readable companions."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.documents.cda import read_header
from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts
from mssante.documents.pdftext import pdf_text
from mssante.documents.readable import MAX_TEXT_BYTES, readable
from mssante.documents.xdm import check, unpack
from mssante.errors import InputFault

_NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
_SENDER = SenderFacts("1.2.250.1.999.1", "CABINET FICTIF", "1990000001")


def _cda(body: str, matricule: str = "279035121518989", identifier: str = "1.2.3") -> bytes:
    return (f'<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="{identifier}"/><code code="11490-0" codeSystem="s" '
            f'displayName="Lettre"/><title>Titre</title><effectiveTime value="20260101101500+0100"/><recordTarget>'
            f'<patientRole><id root="1.2.250.1.213.1.4.10" extension="{matricule}"/><patient><name>'
            f'<family qualifier="BR">PAT</family><given qualifier="BR">DOM</given></name>'
            f'<birthTime value="19790328"/></patient></patientRole></recordTarget>'
            f'<component>{body}</component></ClinicalDocument>').encode()


def _section(text: str) -> str:
    return f"<structuredBody><component><section><title>S</title><text>{text}</text></section></component></structuredBody>"


def _text(body: str) -> str:
    raw = _cda(body)
    companion = readable(raw, read_header(raw))
    assert (companion.media_type, companion.extension) == ("text/plain", "txt")
    return companion.content.decode("utf-8")


def test_letter_of_a_structured_and_an_unstructured_document(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "cda"
    raws = [(folder / name).read_bytes()
            for name in ("LDL-SES_2022.01.xml", "IMG_CR_IMG_2024.01_CDA-R2-Niveau-1.xml")]
    letter = structured_letter(raws, _SENDER, now=_NOW)
    assert letter.subject == ("XDM/1.0/DDM+Lettre de liaison à la sortie de l'établissement de santé "
                              "PAT-TROIS DOMINIQUE 28/03/1979")
    assert dict(letter.headers) == {"X-MSS-CODECDA": "11490-0,18748-4", "X-MSS-INS": "O"}
    assert letter.citizen_address == "279035121518989@patient.mssante.fr"
    archive, text, pdf = letter.attachments
    assert (archive.name, archive.media_type) == ("IHE_XDM.ZIP", "application/zip")
    assert [document.content for document in unpack(archive.content).documents] == raws
    assert check(unpack(archive.content)) == []
    assert text.media_type == "application/pdf" and b"pdfaid:part>1<" in text.content, "a PDF/A-1 made from it (ECO.2.1.5)"
    assert "Synthèse médicale" in pdf_text(text.content, 100_000, spent=lambda: False)
    assert pdf.media_type == "application/pdf" and pdf.content.startswith(b"%PDF-")
    assert pdf.name == "20210108_CR_d_imagerie_medicale_PAT-TROIS_DOMINIQUE.pdf"


def test_every_public_document_makes_a_letter(shared_dir: Path) -> None:
    for file in sorted((shared_dir / "data" / "cda").glob("*.xml")):
        raw = file.read_bytes()
        letter = structured_letter([raw], _SENDER, now=_NOW)
        assert [item.media_type for item in letter.attachments] == ["application/zip", "application/pdf"], file.name
        assert all(item.content and item.name.isascii() for item in letter.attachments), file.name


def test_same_names_get_a_number() -> None:
    raws = [_cda(_section("a")), _cda(_section("b"), identifier="1.2.4"), _cda(_section("c"), identifier="1.2.5")]
    names = [item.name for item in structured_letter(raws, _SENDER, now=_NOW).attachments[1:]]
    assert names == ["20260101_Lettre_PAT_DOM.pdf", "20260101_Lettre_PAT_DOM_2.pdf", "20260101_Lettre_PAT_DOM_3.pdf"]


def test_remarks_reach_the_sender_without_stopping_the_letter() -> None:
    letter = structured_letter([_cda(_section("a"), "222127505611201")], _SENDER, now=_NOW)
    assert {finding.rule for finding in letter.findings} == {"INS-KEY", "XDS-FORMAT", "XDS-CLASS"}
    assert "222127505611201" not in repr(letter.findings)


@pytest.mark.parametrize(("raws", "rule"), [
    ([], "XDM-COUNT"), ([_cda(""), _cda("", "162018885045327")], "LTR-PATIENT"), ([b"<a/>"], "CDA-ROOT"),
])
def test_what_makes_no_letter(raws: list[bytes], rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        structured_letter(raws, _SENDER, now=_NOW)
    assert caught.value.rule == rule


def test_narrative_becomes_lines() -> None:
    text = _text(_section("Un\n deux<br/>trois<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2<!--x--></td></tr>"
                          "</table><list><item>x</item><item>y</item></list><content revised='delete'>gone</content>end"))
    assert text == ("Titre\nPatient : PAT DOM 28/03/1979\n\nS\nUn deux\ntrois\n\nA | B\n1 | 2\n\n- x\n- y\nend\n")


def test_the_rendering_is_bounded_and_says_so() -> None:
    text = _text(_section("é" * 2_000_000))
    assert len(text.encode()) <= MAX_TEXT_BYTES and text.endswith("[…]\n")


def test_other_bodies() -> None:
    coded = base64.b64encode("Bonjour é".encode()).decode()
    assert "Bonjour é" in _text(f'<nonXMLBody><text mediaType="text/plain" representation="B64">{coded}</text></nonXMLBody>')
    assert "Corps du document : image/tiff" in _text('<nonXMLBody><text mediaType="image/tiff">AAAA</text></nonXMLBody>')
    assert "plain words" in _text("<nonXMLBody><text>plain words</text></nonXMLBody>")
    assert _text("") == "Titre\nPatient : PAT DOM 28/03/1979\n"


@pytest.mark.parametrize("content", ["%%%", base64.b64encode(b"<html>").decode(), "A"])
def test_a_body_that_is_no_pdf_is_refused(content: str) -> None:
    raw = _cda(f'<nonXMLBody><text mediaType="application/pdf" representation="B64">{content}</text></nonXMLBody>')
    with pytest.raises(InputFault) as caught:
        readable(raw, read_header(raw))
    assert caught.value.rule == "CDA-MEDIA"
