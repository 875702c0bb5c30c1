"""The readable twin of a CDA: what a person reads in it, as a closed set of values that a page and a PDF are written from.

- Nothing of the document's own presentation passes: no markup, style, script, address or file of it reaches a writer; only text,
  and elements of the fixed vocabulary below (CDA R2 §4.3.5, `StrucDoc`). What is not in it gives its text.
- The original is only read. A stylesheet that it names or carries is never run.
- Bounded: `MAX_NODES` elements, `MAX_DEPTH` levels, `MAX_CHARACTERS` of text, `MAX_PICTURES` octets of pictures; what is beyond
  is left out and the reader is told so, on the twin itself.
Writers: `twin_html`, `pdf_twin`. Called by `letter` and services.twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_NODES = 100_000
MAX_DEPTH = 40
MAX_CHARACTERS = 2_000_000
MAX_PICTURES = 10 * 1024 * 1024
MAX_COLUMNS = 60
MAX_ROWS = 2000


class Kind(StrEnum):
    """Kinds of elements, in the words of StrucDoc where it has one."""

    PARAGRAPH = "paragraph"
    LIST = "list"
    ORDERED = "ordered"
    ITEM = "item"
    TABLE = "table"
    HEAD = "thead"
    BODY = "tbody"
    ROW = "tr"
    HEADER_CELL = "th"
    CELL = "td"
    CAPTION = "caption"
    SPAN = "content"
    BREAK = "br"
    SUB = "sub"
    SUP = "sup"
    NOTE = "footnote"
    LINK = "linkHtml"
    PICTURE = "picture"
    FILE = "file"


BLOCKS = frozenset({Kind.PARAGRAPH, Kind.LIST, Kind.ORDERED, Kind.TABLE, Kind.PICTURE, Kind.FILE})


class Style(StrEnum):
    """Presentations kept, of those that CDA R2 names (`styleCode`)."""

    BOLD = "bold"
    ITALICS = "italics"
    UNDERLINE = "underline"
    EMPHASIS = "emphasis"
    ADDED = "added"  # revised="insert"


@dataclass(frozen=True, slots=True)
class Element:
    """One element. children: elements and text; columns, rows: spans of a cell; align: `left`, `center`, `right` or empty;
    picture: rank in `TwinDocument.pictures`; words: what stands for what is not shown."""

    kind: Kind
    children: tuple[Element | str, ...] = ()
    styles: frozenset[Style] = frozenset()
    columns: int = 1
    rows: int = 1
    align: str = ""
    picture: int = -1
    words: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the document. media_type: `image/png`, `image/jpeg` or `image/gif`, by its own octets."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class File:
    """A file embedded in the document, at most 50 MiB. Only PDF files are kept."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the header."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Group:
    """Lines of the header under one title."""

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the body. level: 1 for those of the document itself; title may be empty."""

    title: str
    level: int
    blocks: tuple[Element | str, ...] = ()


@dataclass(frozen=True, slots=True)
class TwinDocument:
    """All that is shown. created: instant of the document, `AAAAMMJJhhmmss` in UTC or empty; notices: what the reader is told of
    the twin itself (left out, cut); language: of the text, as the document says."""

    title: str
    created: str
    language: str
    groups: tuple[Group, ...]
    sections: tuple[Section, ...] = ()
    pictures: tuple[Picture, ...] = ()
    files: tuple[File, ...] = ()
    notices: tuple[str, ...] = ()
