"""The text of messages: parts, names, PDF, CDA, archives; limits; nothing raises."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pdffiles import pdf_of

from mssante.documents.filetext import Budget, file_texts
from mssante.documents.messagetext import message_text, never
from mssante.documents.pdftext import pdf_text
from mssante.protocol.imap.searchform import normal
from mssante.protocol.mime.htmltext import html_text

CDA = ('<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.3"/><title>Lettre de liaison</title><recordTarget><patientRole>'
       '<id root="1.2.250.1.213.1.4.10" extension="279035121518989"/><patient><name><family>PAT-TROIS</family></name></patient>'
       '</patientRole></recordTarget><component>{body}</component></ClinicalDocument>')
SECTION = ("<structuredBody><component><section><title>Synthèse</title><text>Fracture du <content>tibia</content> gauche<!-- rien -->"
           "</text></section></component></structuredBody>")


def b64(raw: bytes) -> bytes:
    return base64.encodebytes(raw).replace(b"\n", b"\r\n")


def letter(*parts: bytes) -> bytes:
    inner = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b"Subject: =?utf-8?q?R=C3=A9sultat?=\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + inner + b"--b--\r\n"


def attached(media: str, name: str, raw: bytes) -> bytes:
    return (f"Content-Type: {media}\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; {name}\r\n\r\n").encode() + b64(raw)


def body_of(*parts: bytes) -> str:
    return message_text(b"", letter(*parts)).body


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return buffer.getvalue()


def test_head_and_text_parts() -> None:
    text = message_text(b"Return-Path: <a@b.fr>\r\n", letter(
        b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nCompte rendu d'=E9t=E9=\r\n.\r\nFin",
        b"Content-Type: text/html\r\n\r\n<style>p{}</style><p>Cher confr&egrave;re,</p><p>le pa<b>tie</b>nt&nbsp;va</p>",
        b"Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?D=C3=A9dans?=\r\n\r\nInterieur"))
    assert text.head.split("\n") == ["return-path: <a@b.fr>", "subject: resultat", "mime-version: 1.0", "content-type: multipart/mixed; boundary=b"]
    assert "compte rendu d'ete. fin" in text.body
    assert "cher confrere, le patient va" in " ".join(text.body.split())
    assert "subject: dedans" in text.body and "interieur" in text.body
    assert "p{}" not in text.body


def test_names_of_attachments() -> None:
    text = body_of(attached("application/octet-stream", "filename*=utf-8''Compte%20rendu%20%C3%A9t%C3%A9.bin", b"\0\1"),
                   b'Content-Type: image/png; name="=?utf-8?q?Radio_g=C3=A9nou.png?="\r\nContent-Transfer-Encoding: base64\r\n\r\n' + b64(b"x"))
    assert "compte rendu ete.bin" in text and "radio genou.png" in text


@pytest.mark.parametrize("compressed", [True, False])
def test_pdf(compressed: bool) -> None:
    text = body_of(attached("application/pdf", "filename=cr.pdf", pdf_of(["Fracture du tibia", "Été (suite)"], compressed=compressed)))
    assert "cr.pdf" in text and "fracture du tibia" in text and "ete (suite)" in text


def test_pdf_is_found_by_its_octets_whatever_its_type() -> None:
    assert "radio du pied" in body_of(attached("application/octet-stream", "filename=x", pdf_of(["Radio du pied"])))


def test_pdf_limits() -> None:
    pages = [f"page{number}" for number in range(40)]
    assert len(pdf_text(pdf_of(pages), 20, spent=never)) <= 20
    answers = iter([False, False, True])
    assert pdf_text(pdf_of(pages), 1000, spent=lambda: next(answers, True)) == "page0\npage1"
    assert pdf_text(pdf_of(pages), 1000, spent=lambda: True) == ""
    assert "page0" not in message_text(b"", letter(attached("application/pdf", "filename=a.pdf", pdf_of(pages))), pdf=False).body


def test_time_is_looked_at_inside_a_page() -> None:
    raw = pdf_of(["x"], compressed=False)
    many = b"BT /F1 12 Tf " + b"(mot) Tj " * 5000 + b"ET"
    raw = raw.replace(b"BT /F1 12 Tf 72 720 Td (x) Tj ET", many)
    asked = 0

    def spent() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    pdf_text(raw, 100_000, spent=spent)
    assert asked <= 5


@pytest.mark.parametrize("raw", [b"", b"%PDF-", b"%PDF-1.4 rien a lire", pdf_of(["x"])[:200], pdf_of(["x"]).replace(b"/Kids", b"/Kidz"),
                                 b"%PDF-1.4\n" + b"\0" * 1000])
def test_broken_pdf_gives_nothing_and_never_raises(raw: bytes) -> None:
    assert pdf_text(raw, 1000, spent=never) in ("", "x")


def test_structured_cda() -> None:
    text = body_of(attached("text/xml", "filename=cda.xml", CDA.format(body=SECTION).encode()))
    for words in ("lettre de liaison", "pat-trois", "279035121518989", "synthese", "fracture du", "tibia", "gauche"):
        assert words in text
    assert "rien" not in text and "clinicaldocument" not in text


def test_unstructured_cda_holds_a_pdf() -> None:
    inner = base64.b64encode(pdf_of(["Scanner cérébral"])).decode()
    body = f'<nonXMLBody><text mediaType="application/pdf" representation="B64">{inner}</text></nonXMLBody>'
    text = body_of(attached("application/xml", "filename=doc.xml", CDA.format(body=body).encode()))
    assert "scanner cerebral" in text and inner[:20].lower() not in text


def test_xml_that_is_no_cda_is_read_as_text() -> None:
    assert "valeur" in body_of(b"Content-Type: text/xml\r\n\r\n<a>valeur</a>")


def test_archive_of_documents() -> None:
    raw = archive({"INDEX.HTM": b"<h1>Sommaire</h1>", "README.TXT": b"Emetteur fictif", "IHE_XDM/SUBSET01/METADATA.XML": b"<x>codes</x>",
                   "IHE_XDM/SUBSET01/DOC0001.XML": CDA.format(body=SECTION).encode(), "IHE_XDM/SUBSET01/D2.PDF": pdf_of(["Bilan sanguin"]),
                   "IHE_XDM/SUBSET01/IN.ZIP": archive({"A.TXT": b"cache"})})
    text = body_of(attached("application/zip", "filename=IHE_XDM.ZIP", raw))
    for words in ("ihe_xdm.zip", "sommaire", "emetteur fictif", "doc0001.xml", "tibia", "bilan sanguin", "in.zip"):
        assert words in text
    assert "cache" not in text and "codes" not in text


def test_bombs_are_left_out() -> None:
    bomb = archive({"A.TXT": b"0" * 5_000_000})
    assert body_of(attached("application/zip", "filename=bombe.zip", bomb)).strip() == "bombe.zip"
    deep = b"<a>" * 500 + b"</a>" * 500
    assert "deep.xml" in body_of(attached("application/xml", "filename=deep.xml", deep))


def test_budget_is_for_a_whole_message() -> None:
    budget = Budget(never, characters=10, files=2)
    assert list(file_texts("a.txt", "plain", b"0123456789abcdef", budget)) == ["0123456789"]
    assert list(file_texts("b.txt", "plain", b"more", budget)) == []
    assert list(file_texts("c.txt", "plain", b"more", Budget(never, files=0))) == []


def test_public_documents(shared_dir: Path) -> None:
    text = body_of(attached("text/xml", "filename=a.xml", (shared_dir / "data/cda/LDL-SES_2022.01.xml").read_bytes()))
    assert "synthese medicale" in text and "pat-trois" in text
    one = (shared_dir / "data/cda/IMG_CR_IMG_2024.01_CDA-R2-Niveau-1.xml").read_bytes()
    assert len(body_of(attached("application/xml", "filename=b.xml", one))) > 500
    for path in sorted((shared_dir / "data/xdm/fr").glob("*.zip")):
        assert "ihe_xdm" in body_of(attached("application/zip", "filename=x.zip", path.read_bytes())), path.name


def test_html_text_is_what_is_read() -> None:
    assert " ".join(html_text("<!-- a --><title>t</title>x<br>y<span>z</span> &lt;b&gt;<script>k</script").split()) == "x yz <b>"
    assert html_text("<" * 100_000).startswith("<")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["application/pdf", "text/html", "text/xml", "application/zip", "text/plain"]), st.binary(max_size=8))
def test_nothing_raises(raw: bytes, media: str, lead: bytes) -> None:
    starts = {"application/pdf": b"%PDF-1.7\n", "application/zip": b"PK\x03\x04"}
    text = message_text(lead, letter(attached(media, "filename=x", starts.get(media, b"") + raw)))
    assert text.head == normal(text.head.replace("\n", "\0")).replace(" ", " ") or text.head
    text.body.encode("utf-8")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 900), st.integers(0, 40), st.binary(max_size=20))
def test_no_damaged_pdf_raises(at: int, cut: int, added: bytes) -> None:
    raw = pdf_of(["Un mot", "Deux mots"])
    pdf_text(raw[:at] + added + raw[at + cut:], 10_000, spent=never)
