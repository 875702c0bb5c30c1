"""Made-up CDA documents for the tests of twins: every element of a narrative, and narratives that attack their reader."""

from __future__ import annotations

import base64
import struct
import zlib

HEAD = """<?xml version="1.0" encoding="UTF-8"?>{instruction}
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<id root="1.2.3.4"/><code code="11490-0" codeSystem="2.16.840.1.113883.6.1" displayName="Lettre de liaison"/>
<title>{title}</title><effectiveTime value="20260102030405+0100"/><confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>
<languageCode code="fr-FR"/><versionNumber value="2"/>
<recordTarget><patientRole><id extension="285017800000156" root="1.2.250.1.213.1.4.10"/>
<patient><name><family qualifier="BR">TESTPATIENT</family><given qualifier="BR">CLAIRE</given></name>
<administrativeGenderCode code="F"/><birthTime value="19850115"/></patient></patientRole></recordTarget>
<author><time value="20260102"/><assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="899700000001"/>
<assignedPerson><name><prefix>DR</prefix><family>TESTAUTEUR</family><given>Paul</given></name></assignedPerson></assignedAuthor></author>
<informationRecipient><intendedRecipient><informationRecipient><name><family>TESTLECTEUR</family><prefix>DR</prefix></name></informationRecipient>
<receivedOrganization><name>Cabinet test</name></receivedOrganization></intendedRecipient></informationRecipient>
<relatedDocument typeCode="RPLC"><parentDocument><id root="1.2.3.3"/></parentDocument></relatedDocument>
<component>{body}</component></ClinicalDocument>
"""


def cda(body: str, *, title: str = "Lettre d'essai", instruction: str = "") -> bytes:
    """Give a document with this content of its `component`."""
    return HEAD.format(body=body, title=title, instruction=instruction).encode()


def narrative(text: str, *, more: str = "", title: str = "Section", **head: str) -> bytes:
    """Give a structured document of one section with this narrative. more: entries beside it."""
    return cda("<structuredBody><component><section>"
               f"<title>{title}</title><text>{text}</text>{more}</section></component></structuredBody>", **head)


def media(name: str, content: bytes, kind: str = "image/png") -> str:
    """Give an entry that holds a medium."""
    data = base64.b64encode(content).decode()
    return f'<entry><observationMedia ID="{name}"><value mediaType="{kind}" representation="B64">{data}</value></observationMedia></entry>'


def unstructured(content: bytes, kind: str) -> bytes:
    """Give a document of level 1."""
    return cda(f'<nonXMLBody><text mediaType="{kind}" representation="B64">{base64.b64encode(content).decode()}</text></nonXMLBody>')


def png(*, alpha: bool = False) -> bytes:
    """Give a picture of 2 by 2."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixel = b"\x10\x80\xf0" + (b"\x40" if alpha else b"")
    rows = (b"\x00" + pixel * 2) * 2
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 6 if alpha else 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


EVERYTHING = narrative(
    'Avant <content styleCode="Bold">gras</content> et <content styleCode="BoldItalics">deux</content><br/>ligne '
    'H<sub>2</sub>O x<sup>2</sup><footnote>une note</footnote>'
    '<paragraph styleCode="Underline"><caption>Titre de paragraphe</caption>Un paragraphe</paragraph>'
    '<list listType="ordered"><caption>Liste</caption><item>premier</item><item>second<list><item>dedans</item></list></item></list>'
    '<table><caption>Table</caption><col/><thead><tr><th>A</th><th/><th align="right">C</th></tr></thead>'
    '<tfoot><tr><td>pied</td></tr></tfoot>'
    '<tbody><tr><th rowspan="2">L</th><td colspan="2" align="center">M</td></tr><tr><td>N</td><td>O</td></tr></tbody></table>'
    '<content revised="delete">SECRET-EFFACE</content><content revised="insert">ajout</content>'
    '<linkHtml href="https://exemple.test/page">voir</linkHtml> <linkHtml href="javascript:alert(1)">piege</linkHtml>'
    '<renderMultiMedia referencedObject="IMG1"><caption>Une image</caption></renderMultiMedia>'
    '<renderMultiMedia referencedObject="PDF1"/><renderMultiMedia referencedObject="ABSENT"/>',
    more=media("IMG1", png(), "image/jpeg") + media("PDF1", b"%PDF-1.4\n%%EOF\n", "application/pdf"))


def attacks(canary: str) -> dict[str, bytes]:
    """Give documents that try to run something or to reach `canary` (a web address) when their twin is read."""
    script = f"<script>document.title='RAN';new Image().src='{canary}/script'</script>"
    escaped = script.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=\'RAN\'"><image href="{canary}/svg"/></svg>'.encode()
    page = f"<html><script>document.title='RAN'</script><img src='{canary}/html'></html>".encode()
    return {
        "script in text": narrative(escaped),
        "script element": narrative(f"<script>document.title='RAN';fetch('{canary}/element')</script>"),
        "script of xhtml": narrative(f"<script xmlns='http://www.w3.org/1999/xhtml'>fetch('{canary}/xhtml')</script>"),
        "image of xhtml": narrative(f"<img xmlns='http://www.w3.org/1999/xhtml' src='{canary}/img' onerror='document.title=1'/>"),
        "frame": narrative(f"<iframe src='{canary}/frame'/><object data='{canary}/object'/><embed src='{canary}/embed'/>"),
        "handlers": narrative("<paragraph onclick='document.title=1' onmouseover='document.title=1' ID='&quot;&gt;&lt;b&gt;'>x</paragraph>"),
        "style code": narrative(f"<paragraph styleCode='\"&gt;&lt;script&gt; expression(1) url({canary}/style)'>x</paragraph>"),
        "style attribute": narrative(f"<table style='background:url({canary}/css)'><tr><td style='x'>y</td></tr></table>"),
        "style element": narrative(f"<style>@import '{canary}/import';</style>"),
        "javascript link": narrative("<linkHtml href='javascript:document.title=1'>a</linkHtml><linkHtml href='JaVaScRiPt&#10;:x'>b</linkHtml>"),
        "data link": narrative("<linkHtml href='data:text/html;base64,PHNjcmlwdD4='>a</linkHtml>"),
        "quote in link": narrative(f"<linkHtml href='https://x\" onclick=\"fetch(&apos;{canary}/q&apos;)'>a</linkHtml>"),
        "svg as png": narrative("<renderMultiMedia referencedObject='M'/>", more=media("M", svg)),
        "svg as svg": narrative("<renderMultiMedia referencedObject='M'/>", more=media("M", svg, "image/svg+xml")),
        "page as png": narrative("<renderMultiMedia referencedObject='M'/>", more=media("M", page)),
        "remote medium": narrative("<renderMultiMedia referencedObject='M'/>", more=(
            f"<entry><observationMedia ID='M'><value mediaType='image/png'><reference value='{canary}/ref.png'/></value></observationMedia></entry>")),
        "stylesheet instruction": narrative("x", instruction=f"<?xml-stylesheet type='text/xsl' href='{canary}/evil.xsl'?>"),
        "title": narrative("x", title=escaped),
        "document title": narrative("x", title="t").replace(b"Lettre d'essai", b"&lt;/title&gt;" + escaped.encode()),
        "meta refresh": narrative(f"<meta http-equiv='refresh' content='0;url={canary}/meta'/><base href='{canary}/'/>"),
        "form": narrative(f"<form action='{canary}/form'><input name='a'/><button autofocus='1'>b</button></form>"),
        "html body": unstructured(page, "text/html"),
        "cdata": narrative("<!-- un commentaire --><![CDATA[<script>document.title='RAN'</script>]]>"),
        "typst": narrative("#import \"@preview/x\" #read(\"/etc/passwd\") $x$ *a* `b` @c &lt;d&gt; \\u{0}"),
        "direction marks": narrative("avant \u202egnirts\u202c apres \u200b"),
    }
