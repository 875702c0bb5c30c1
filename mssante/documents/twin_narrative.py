"""Reads the narrative of a CDA into the closed vocabulary of `twin` (CDA R2 §4.3.5).

- Local names only; an element that is not known gives its text. `revised="delete"` is left out, `insert` marked.
- A picture is kept when its own octets say PNG, JPEG or GIF; a PDF becomes a file beside; anything else is named in words.
- A link is shown as its text, with its address in clear when it is of the web; it is never a link that one can follow.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lxml import etree

from mssante.documents.cda import inner_text
from mssante.documents.twin import (
    MAX_CHARACTERS,
    MAX_COLUMNS,
    MAX_DEPTH,
    MAX_NODES,
    MAX_PICTURES,
    MAX_ROWS,
    Element,
    File,
    Kind,
    Picture,
    Section,
    Style,
)
from mssante.lang import say

MAX_FILE = 50 * 1024 * 1024
MAX_FILES = 20
_HL7 = "{urn:hl7-org:v3}"
_STYLES = {"bold": (Style.BOLD,), "italics": (Style.ITALICS,), "underline": (Style.UNDERLINE,), "emphasis": (Style.EMPHASIS,),
           "bolditalics": (Style.BOLD, Style.ITALICS)}
_ALIGN = frozenset({"left", "center", "right"})
_MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"),
          (b"GIF89a", "image/gif"))
_SHOWN_LINK = re.compile(r"https?://[!-~]{1,500}\Z")
_SPACES = re.compile(r"[ \t\r\n\f\v]+")
# what neither XML nor a reader has a use for: controls, and marks that change the direction of a line
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_KINDS = {"paragraph": Kind.PARAGRAPH, "item": Kind.ITEM, "caption": Kind.CAPTION, "content": Kind.SPAN, "sub": Kind.SUB,
          "sup": Kind.SUP, "footnote": Kind.NOTE}


@dataclass(slots=True)
class Narrative:
    """Collects what is shown, within the limits. media: the `observationMedia` values of the document, by ID."""

    media: Mapping[str, etree._Element]
    pictures: list[Picture] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    cut: bool = False
    nodes: int = MAX_NODES
    characters: int = MAX_CHARACTERS
    octets: int = MAX_PICTURES

    # ------------------------------------------------------------------ text and children

    def text(self, value: str | None) -> str:
        """Give a text as it is shown: blanks as one, nothing invisible, within the room that is left."""
        if not value:
            return ""
        clean = _INVISIBLE.sub("", _SPACES.sub(" ", value))
        if len(clean) > self.characters:
            self.cut = True
        clean = clean[:self.characters]
        self.characters -= len(clean)
        return clean

    def children(self, node: etree._Element, depth: int) -> tuple[Element | str, ...]:
        """Give what stands inside an element, in order."""
        found: list[Element | str] = [self.text(node.text)]
        for child in node:
            if isinstance(child.tag, str) and child.get("revised") != "delete":
                found += self.element(child, depth + 1)
            found.append(self.text(child.tail))
        return tuple([one for one in found if one != ""])

    def element(self, node: etree._Element, depth: int) -> tuple[Element | str, ...]:
        """Give what an element is shown as: mostly one element; its text alone beyond the limits."""
        self.nodes -= 1
        if self.nodes < 0 or depth > MAX_DEPTH:
            self.cut = True
            return (self.text(inner_text(node)),) if self.nodes >= 0 else ()
        name = etree.QName(node).localname
        reader = _READERS.get(name)
        if reader is not None:
            return reader(self, node, depth)
        kind = _KINDS.get(name)
        inside = self.children(node, depth)
        if kind is None:
            return inside
        return (Element(kind, inside, _styles(node)),)

    # ------------------------------------------------------------------ elements that are more than their children

    def line_break(self, node: etree._Element, depth: int) -> tuple[Element | str, ...]:
        """`br`."""
        return (Element(Kind.BREAK),)

    def link(self, node: etree._Element, depth: int) -> tuple[Element | str, ...]:
        """`linkHtml`: the text, and a web address in clear when the text does not say it."""
        inside = self.children(node, depth)
        address = node.get("href", "").strip()
        shown = address if _SHOWN_LINK.match(address) else ""
        return (Element(Kind.LINK, inside, words="" if shown and shown in inner_text(node) else shown),)

    def list_of(self, node: etree._Element, depth: int) -> tuple[Element | str, ...]:
        """`list`: items, a caption ahead of them."""
        kind = Kind.ORDERED if node.get("listType") == "ordered" else Kind.LIST
        inside = [one for one in self.children(node, depth) if isinstance(one, Element)]
        captions = tuple([one for one in inside if one.kind is Kind.CAPTION])
        items = tuple([one for one in inside if one.kind is Kind.ITEM])
        return (*[Element(Kind.PARAGRAPH, (one,)) for one in captions], Element(kind, items))

    def table(self, node: etree._Element, depth: int) -> tuple[Element | str, ...]:
        """`table`: a caption, head rows, then the others; rows and spans within the limits."""
        caption: list[Element] = []
        head: list[Element] = []
        body: list[Element] = []
        for part in _inside(node):
            name = etree.QName(part).localname
            if name == "caption":
                caption.append(Element(Kind.CAPTION, self.children(part, depth + 1)))
            elif name == "thead":
                head += self._rows(part, depth + 1)
            elif name in ("tbody", "tfoot"):
                body += self._rows(part, depth + 1)
            elif name == "tr":
                body += self._row(part, depth + 1)
        if len(head) + len(body) > MAX_ROWS:
            self.cut = True
            head, body = head[:MAX_ROWS], body[:max(0, MAX_ROWS - len(head))]
        if not head and not body:
            return tuple([Element(Kind.PARAGRAPH, (one,)) for one in caption])
        return (Element(Kind.TABLE, (*caption[:1], Element(Kind.HEAD, tuple(head)), Element(Kind.BODY, tuple(body)))),)

    def _rows(self, part: etree._Element, depth: int) -> list[Element]:
        return [row for node in _inside(part) if etree.QName(node).localname == "tr" for row in self._row(node, depth + 1)]

    def _row(self, node: etree._Element, depth: int) -> list[Element]:
        self.nodes -= 1
        if self.nodes < 0:
            self.cut = True
            return []
        cells: list[Element] = []
        room = MAX_COLUMNS
        for cell in _inside(node):
            kind = {"th": Kind.HEADER_CELL, "td": Kind.CELL}.get(etree.QName(cell).localname)
            if kind is None or room <= 0:
                self.cut = self.cut or kind is not None
                continue
            columns = _span(cell.get("colspan"), room)
            room -= columns
            align = next((one for one in (cell.get("align", ""), node.get("align", "")) if one in _ALIGN), "")
            rows = _span(cell.get("rowspan"), MAX_ROWS)
            cells.append(Element(kind, self.children(cell, depth + 1), _styles(cell), columns, rows, align))
        return [Element(Kind.ROW, tuple(cells))] if cells else []

    def picture(self, node: etree._Element, depth: int) -> tuple[Element | str, ...]:
        """`renderMultiMedia`: the media that it refers to, its caption behind."""
        found: list[Element | str] = []
        for name in node.get("referencedObject", "").split()[:MAX_FILES]:
            value = self.media.get(name)
            if value is not None:
                found.append(self.medium(value))
        for part in _inside(node):
            if etree.QName(part).localname == "caption":
                found.append(Element(Kind.PARAGRAPH, (Element(Kind.CAPTION, self.children(part, depth + 1)),)))
        return tuple(found)

    def medium(self, value: etree._Element) -> Element:
        """Give what is shown of an encapsulated medium (HL7 ED in base64)."""
        declared = value.get("mediaType", "").lower()
        content = decode_medium(value)
        if content is None:
            return Element(Kind.FILE, words=say("Pièce illisible dans le document d'origine",
                                                "A part of the original cannot be read"))
        media_type = next((kind for magic, kind in _MAGIC if content.startswith(magic)), "")
        if media_type and len(content) <= self.octets:
            self.octets -= len(content)
            self.pictures.append(Picture(media_type, content))
            words = say("Image du document", "Picture of the document")
            return Element(Kind.PICTURE, picture=len(self.pictures) - 1, words=words)
        if b"%PDF-" in content[:1024] and len(self.files) < MAX_FILES:
            self.files.append(File("application/pdf", content))
            rank = len(self.files)
            return Element(Kind.FILE, words=say(f"Document PDF joint n° {rank}", f"Attached PDF no. {rank}"))
        self.cut = self.cut or bool(media_type)
        kind = declared if re.fullmatch(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}", declared) else "?"
        return Element(Kind.FILE, words=say(f"Pièce non montrée ici, de type {kind} : voir le document d'origine",
                                            f"Part of type {kind} not shown here: see the original"))


_Reader = Callable[[Narrative, etree._Element, int], tuple[Element | str, ...]]
_READERS: dict[str, _Reader] = {
    "br": Narrative.line_break, "linkHtml": Narrative.link, "list": Narrative.list_of, "table": Narrative.table,
    "renderMultiMedia": Narrative.picture,
}


def read_sections(document: etree._Element, narrative: Narrative) -> tuple[Section, ...]:
    """Give the sections of a structured body, in order, with their depth. Never raises for what a section holds."""
    found: list[Section] = []

    def walk(section: etree._Element, level: int) -> None:
        title = section.find(f"{_HL7}title")
        text = section.find(f"{_HL7}text")
        name = narrative.text(inner_text(title)).strip() if title is not None else ""
        blocks = narrative.children(text, 0) if text is not None else ()
        if name or blocks:
            found.append(Section(name, min(level, 5), blocks))
        if level < MAX_DEPTH:
            for child in section.iterfind(f"{_HL7}component/{_HL7}section"):
                walk(child, level + 1)

    for section in document.iterfind(f"{_HL7}component/{_HL7}structuredBody/{_HL7}component/{_HL7}section"):
        walk(section, 1)
    return tuple(found)


def media_of(document: etree._Element) -> dict[str, etree._Element]:
    """Give the values of `observationMedia` and of regions of interest, by the ID that `renderMultiMedia` names."""
    found: dict[str, etree._Element] = {}
    for node in document.iter(f"{_HL7}observationMedia"):
        value, name = node.find(f"{_HL7}value"), node.get("ID", "")
        if value is not None and name and len(found) < MAX_NODES:
            found.setdefault(name, value)
    for node in document.iter(f"{_HL7}regionOfInterest"):
        inner = node.find(f".//{_HL7}observationMedia/{_HL7}value")
        if inner is not None and node.get("ID"):
            found.setdefault(node.get("ID", ""), inner)
    return found


def decode_medium(value: etree._Element) -> bytes | None:
    """Give the octets of an encapsulated value in base64, None when they cannot be read or pass 50 MiB."""
    if value.get("representation", "B64") != "B64" or value.get("compression"):
        return None
    text = "".join(inner_text(value).split())
    if len(text) > MAX_FILE * 4 // 3 + 4:
        return None
    try:
        return base64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _inside(node: etree._Element) -> list[etree._Element]:
    """Give the child elements that are not deleted text."""
    return [one for one in node if isinstance(one.tag, str) and one.get("revised") != "delete"]


def _span(text: str | None, most: int) -> int:
    return min(max(int(text), 1), most) if text and text.isascii() and text.isdigit() and len(text) < 6 else 1


def _styles(node: etree._Element) -> frozenset[Style]:
    words = node.get("styleCode", "").lower().split()[:10]
    found = {style for word in words for style in _STYLES.get(word, ())}
    return frozenset(found | {Style.ADDED}) if node.get("revised") == "insert" else frozenset(found)
