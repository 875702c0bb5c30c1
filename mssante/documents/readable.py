"""What a human reads beside the archive: the PDF inside an unstructured CDA, or its narrative as plain text.

- Scope: an embedded PDF is given as it is; a structured document is rendered as plain text from its narrative blocks
  (title, patient line, sections). Rendering a page (PDF/A-1 of ECO.2.1.5, HTML) belongs to the viewer, not here.
- Bounded: at most 1 MiB of text; a stylesheet named by the document is never applied, nothing is fetched.
- Called by `letter`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from lxml import etree

from mssante.documents.cda import CdaHeader, clinical_document, inner_text
from mssante.documents.hl7 import parse_date
from mssante.errors import InputFault

MAX_TEXT_BYTES = 1024 * 1024
MAX_MEDIA_BYTES = 50 * 1024 * 1024

_HL7 = "{urn:hl7-org:v3}"
_BREAK_BEFORE = frozenset({"paragraph", "table", "tr", "list", "br", "caption"})
_BREAK_AFTER = frozenset({"paragraph", "table", "list", "caption"})
_MARKER = "\n\n[…]\n"


@dataclass(frozen=True, slots=True)
class Companion:
    """The readable form. media_type: `application/pdf` or `text/plain`; extension goes with it (`pdf`, `txt`)."""

    media_type: str
    extension: str
    content: bytes


def readable(raw: bytes, header: CdaHeader) -> Companion:
    """Give the companion of a document whose header was read (ECO.2.1.5, as far as the module's scope goes).

    Raises InputFault (`XML-…`, `CDA-ROOT`, `CDA-MEDIA` when the embedded PDF is not base64 or not a PDF).
    """
    _, document = clinical_document(raw)
    text = document.find(f"{_HL7}component/{_HL7}nonXMLBody/{_HL7}text")
    if text is not None and text.get("mediaType", "").lower() == "application/pdf":
        return Companion("application/pdf", "pdf", _pdf(text))
    rendering = _Rendering()
    rendering.add(header.title or header.code.label or header.code.code)
    rendering.add(f"\n{_patient_line(header)}\n")
    if text is not None:
        _add_unstructured(rendering, text)
    else:
        _add_sections(rendering, document)
    return Companion("text/plain", "txt", rendering.encode())


@dataclass(slots=True)
class _Rendering:
    """Collects text up to the limit."""

    parts: list[str] = field(default_factory=list)
    room: int = MAX_TEXT_BYTES // 4  # characters; UTF-8 takes at most four octets each
    cut: bool = False

    def add(self, text: str) -> None:
        self.cut = self.cut or len(text) > self.room
        self.parts.append(text[:self.room])
        self.room -= min(self.room, len(text))

    def encode(self) -> bytes:
        lines = [" ".join(line.split()) for line in "".join(self.parts).split("\n")]
        kept = [line for index, line in enumerate(lines) if line or (index and lines[index - 1])]  # one empty at most
        return ("\n".join(kept).strip() + (_MARKER if self.cut else "\n")).encode("utf-8", "replace")


def _pdf(text: etree._Element) -> bytes:
    """Decode an embedded PDF and look at its magic (spec §8.6)."""
    try:
        content = base64.b64decode("".join(inner_text(text).split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InputFault("embedded PDF is not base64", rule="CDA-MEDIA", remedy="encode the body in base64") from exc
    if len(content) > MAX_MEDIA_BYTES or b"%PDF-" not in content[:1024]:  # ISO 32000-1 annex H, note 13
        raise InputFault("embedded body is not a PDF", rule="CDA-MEDIA", remedy="check mediaType of the body")
    return content


def _patient_line(header: CdaHeader) -> str:
    patient = header.patient
    family, given = patient.display_names
    born = parse_date(patient.birth_time)
    birth = f"{born:%d/%m}/{born.year:04d}" if born else ""
    return "Patient : " + " ".join(part for part in (family, given, birth, patient.sex) if part)


def _add_unstructured(rendering: _Rendering, text: etree._Element) -> None:
    """Text bodies are shown; any other medium is only named."""
    media = text.get("mediaType", "text/plain").lower()
    if media != "text/plain":
        rendering.add(f"\nCorps du document : {media}\n")
    elif text.get("representation") != "B64":
        rendering.add("\n" + inner_text(text))
    else:
        try:
            content = base64.b64decode("".join(inner_text(text).split()), validate=True)
        except (binascii.Error, ValueError) as exc:
            raise InputFault("embedded text is not base64", rule="CDA-MEDIA",
                             remedy="encode the body in base64") from exc
        rendering.add("\n" + content.decode("utf-8", "replace"))


def _add_sections(rendering: _Rendering, document: etree._Element) -> None:
    for section in document.iterfind(f"{_HL7}component/{_HL7}structuredBody//{_HL7}section"):
        if rendering.cut:
            return
        title = section.find(f"{_HL7}title")
        narrative = section.find(f"{_HL7}text")
        if title is not None:
            rendering.add("\n\n" + " ".join(inner_text(title).split()) + "\n")
        if narrative is not None:
            _add_narrative(rendering, narrative)


def _add_narrative(rendering: _Rendering, narrative: etree._Element) -> None:
    """Walk a narrative block in order (CDA R2 §4.3.5): rows and items on their own lines, cells parted by a bar.

    Line ends of the source count as spaces; text marked as deleted is left out.
    """
    hidden = 0
    for event, node in etree.iterwalk(narrative, events=("start", "end", "comment", "pi")):
        if rendering.cut:
            return
        name = node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""
        deleted = bool(name) and node.get("revised") == "delete"
        if event == "start":
            hidden += deleted
            mark, text = _lead(name, node), node.text
        else:
            hidden -= deleted
            mark, text = "\n" if name in _BREAK_AFTER else "", node.tail if node is not narrative else ""
        if not hidden:
            rendering.add(mark + _flat(text))


def _lead(name: str, node: etree._Element) -> str:
    """What stands before an element."""
    if name in ("td", "th") and node.getprevious() is not None:
        return " | "
    if name == "item":
        return "\n- "
    return "\n" if name in _BREAK_BEFORE else ""


def _flat(text: str | None) -> str:
    return (text or "").replace("\r", " ").replace("\n", " ")
