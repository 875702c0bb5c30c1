"""The text of an attached file, for search: PDF, CDA documents, IHE_XDM.ZIP and other archives of documents, HTML, plain text.

- Of a CDA: all text of the document (who, title, narrative), identifiers of the patient, and what its body embeds (PDF, text).
- Of an archive: the names of its files and the text of each one; an archive inside is not opened. `ziparchive` refuses bombs.
- Never raises. A `Budget` bounds characters, files and time for a whole message; what is beyond is left out.
Called by `messagetext.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lxml import etree

from mssante.documents.cda import clinical_document
from mssante.documents.pdftext import pdf_text
from mssante.documents.ziparchive import read_zip
from mssante.errors import InputFault
from mssante.protocol.mime.headers import decode_raw
from mssante.protocol.mime.htmltext import html_text

MAX_CHARACTERS = 8 * 1024 * 1024
MAX_FILES = 1000
MAX_FILE_CHARACTERS = 2 * 1024 * 1024
_HL7 = "{urn:hl7-org:v3}"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_XML = ("xml", "xslt+xml", "cda+xml")
_PAGES, _ENDINGS = ("html", "xhtml+xml"), ("htm", "html")
_TEXTS = ("txt", "csv", "md")


@dataclass(slots=True)
class Budget:
    """What is left for one message. spent: says when time is over; pdf: whether PDF files are read."""

    spent: Callable[[], bool]
    pdf: bool = True
    characters: int = MAX_CHARACTERS
    files: int = MAX_FILES

    def take(self, text: str) -> str:
        """Give what may be kept of a text."""
        kept = text[:min(self.characters, MAX_FILE_CHARACTERS)]
        self.characters -= len(kept)
        return kept


def file_texts(name: str, subtype: str, raw: bytes, budget: Budget) -> Iterator[str]:
    """Give the texts of a file; none when its kind is not known. name: of the file; subtype: of its media type, lower case."""
    if raw[:4] in _ZIP:
        yield from _archive(raw, budget)
    else:
        yield from _single(name, subtype, raw, budget)


def is_read(name: str, subtype: str, beginning: bytes) -> bool:
    """Tell by the first 1024 octets whether a file is of a kind that is read: most attachments need not be decoded."""
    ending = name.rpartition(".")[2].lower()
    return (beginning[:4] in _ZIP or b"%PDF-" in beginning or subtype in (*_XML, *_PAGES, "plain")
            or ending in ("xml", *_ENDINGS, *_TEXTS))


def _single(name: str, subtype: str, raw: bytes, budget: Budget) -> Iterator[str]:
    ending = name.rpartition(".")[2].lower()
    budget.files -= 1
    if budget.files < 0 or budget.characters <= 0 or not raw:
        return
    if b"%PDF-" in raw[:1024]:
        yield from _pdf(raw, budget)
    elif subtype in _XML or ending == "xml":
        yield from _xml(raw, budget)
    elif subtype in _PAGES or ending in _ENDINGS:
        yield budget.take(html_text(decode_raw(raw[:2 * MAX_FILE_CHARACTERS])))
    elif ending in _TEXTS or subtype == "plain":
        yield budget.take(decode_raw(raw[:2 * MAX_FILE_CHARACTERS]))


def _pdf(raw: bytes, budget: Budget) -> Iterator[str]:
    if budget.pdf:
        yield budget.take(pdf_text(raw, min(budget.characters, MAX_FILE_CHARACTERS), spent=budget.spent))


def _archive(raw: bytes, budget: Budget) -> Iterator[str]:
    """The files of an archive (ITI-32: IHE_XDM.ZIP)."""
    try:
        members = read_zip(raw)
    except InputFault:
        return
    for member in members:
        yield budget.take(member.path)
        if member.path.rpartition("/")[2].upper() != "METADATA.XML":  # codes; what it says of documents stands in them
            yield from _single(member.path, "", member.content, budget)


def _xml(raw: bytes, budget: Budget) -> Iterator[str]:
    """A CDA document; of other XML nothing is read here."""
    try:
        _, document = clinical_document(raw)
    except InputFault:
        return
    embedded = [node for node in document.iter(f"{_HL7}text", f"{_HL7}value") if node.get("representation") == "B64"]
    closed = set(embedded)
    words: list[str] = []
    for node in document.iter(etree.Element):
        if node not in closed and node.text and not node.text.isspace():
            words.append(node.text)
        if node.tail and not node.tail.isspace():
            words.append(node.tail)
    for item in document.iterfind(f"{_HL7}recordTarget/{_HL7}patientRole/{_HL7}id"):
        words.append(item.get("extension", ""))
    yield budget.take(" ".join(words))
    for node in embedded:
        yield from _embedded(node, budget)


def _embedded(node: etree._Element, budget: Budget) -> Iterator[str]:
    """What stands in base64 in a document: an unstructured body, a medium of an observation."""
    try:
        raw = base64.b64decode("".join(str(part) for part in node.itertext()))
    except (binascii.Error, ValueError):
        return
    kind = node.get("mediaType", "text/plain").lower()
    if kind != "text/xml":  # a document within a document is not followed
        yield from _single("", kind.rpartition("/")[2], raw, budget)
