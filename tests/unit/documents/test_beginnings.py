"""What octets begin as: every form of XML that some reader opens, pages, archives, containers; and that nothing else is taken for one."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest
from support.handing import cda
from support.structured_mail import archive, plain_zip

from mssante.documents.beginnings import Kind, kind_of, names_cda, told, trimmed

ROOT = "<ClinicalDocument xmlns='urn:hl7-org:v3'/>"
COMMENT, PAGE = "<!-- fait par le logiciel X, <html> & co -->", "<!DOCTYPE html>"


def office(first: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr(first, b"x")
    return out.getvalue()


def tar(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as target:
        info = tarfile.TarInfo("cr.xml")
        info.size = len(content)
        target.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("text", [
    ROOT, f"<?xml version='1.0'?>{ROOT}", COMMENT + ROOT, COMMENT * 20 + ROOT, f"<?mso-application x?>{COMMENT}\n{ROOT}", " " * 1000 + ROOT,
    "\r\n\t <cda:ClinicalDocument xmlns:cda='urn:hl7-org:v3'>", PAGE + ROOT, f"<!DOCTYPE a [<!ENTITY b 'c'>]>{ROOT}",
    "<xsl:stylesheet version='1.0'>", "<xsl:transform>", "<?xml version='1.0'?><a/>", "<a>", "<soap:Envelope>", "<!-- jamais fini", "<!DOCTYPE a [",
    "<" * 5, "<?" * 5000, "<?a?>" * 2000 + "<html>"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_xml_in_every_form(text: str, encoding: str) -> None:
    raw = text.encode(encoding)
    assert kind_of(raw) is Kind.XML
    assert names_cda(raw) is ("<ClinicalDocument" in text or "<cda:ClinicalDocument" in text)


def test_ebcdic_is_xml() -> None:
    raw = f"<?xml version='1.0' encoding='IBM037'?>{ROOT}".encode("cp037")
    assert kind_of(raw) is Kind.XML and names_cda(raw)


@pytest.mark.parametrize("text", ["<html><body>ClinicalDocument", f"{PAGE}\n{COMMENT}<HTML lang='fr'>", "<?xml version='1.0'?><html xmlns='x'>",
                                  "Bonjour, <ClinicalDocument> est la racine d'un CDA.", "", " " * 1000, "%PDF-1.7"])
@pytest.mark.parametrize("html", [True, False])
def test_pages_and_texts_are_no_documents(text: str, html: bool) -> None:
    assert kind_of(text.encode(), html=html) is Kind.OTHER


@pytest.mark.parametrize(("text", "kind"), [("<p>Bonjour", Kind.OTHER), ("<div><ClinicalDocument>", Kind.OTHER), (ROOT, Kind.XML),
                                            (COMMENT + ROOT, Kind.XML), ("<?xml version='1.0'?><a/>", Kind.XML)])
def test_what_is_sent_as_a_page_is_one_unless_its_root_is_a_document(text: str, kind: Kind) -> None:
    assert kind_of(text.encode(), html=True) is kind


@pytest.mark.parametrize("begin", [b"", b" " * 400, b"\0" * 400, b"\xff\xfe", b"<", b"<?xml version='1.0'?>", b"<!--" + b"x" * 390,
                                   b"<" + b"a" * 150])
def test_more_is_needed(begin: bytes) -> None:
    assert told(begin) is None


@pytest.mark.parametrize(("raw", "kind"), [
    (archive(), Kind.ARCHIVE), (plain_zip(), Kind.ARCHIVE), (b"PK\x05\x06" + b"\0" * 18, Kind.ARCHIVE), (office("[Content_Types].xml"), Kind.OTHER),
    (office("mimetype"), Kind.OTHER), (office("_rels/.rels"), Kind.OTHER), (office("docProps/app.xml"), Kind.OTHER),
    (office("cr.xml"), Kind.ARCHIVE), (b"\x78\x9f\x3e\x22xx", Kind.CONTAINER), (b"Rar!\x1a\x07\x01\0", Kind.CONTAINER),
    (b"7z\xbc\xaf\x27\x1c\0\4", Kind.CONTAINER), (tar(cda()), Kind.CONTAINER), (b"\0" * 128 + b"DICM<?xml", Kind.OTHER),
    (b"\x89PNG\r\n\x1a\n", Kind.OTHER), (bytes(range(256)) * 4, Kind.OTHER)])
def test_archives_and_containers(raw: bytes, kind: Kind) -> None:
    assert kind_of(raw) is kind


def test_a_stylesheet_for_documents_only_speaks_of_them() -> None:
    sheet = b"<?xml version='1.0'?><xsl:stylesheet><xsl:template match='/n1:ClinicalDocument'/></xsl:stylesheet>"
    assert kind_of(sheet) is Kind.XML and not names_cda(sheet)
    assert names_cda(sheet.replace(b"</xsl:stylesheet>", b"<cda:ClinicalDocument/>"))


def test_what_a_parser_stumbles_over_is_taken_off() -> None:
    assert trimmed(b"\xef\xbb\xbf\r\n \t<?xml?>") == b"<?xml?>" and trimmed(b" <a/> ") == b"<a/> "
