"""Writes the twin of a document as a tagged PDF/A-1 (ISO 19005-1, level A), by typst.

- The page is a template of ours; everything of the document is given to it as data, never as markup. No file, font or network of
  the machine is reached: fonts are those of typst, the template names no file.
- Deterministic: the same twin gives the same octets; the date inside is that of the document.
- PDF/A-1 forbids transparency: a picture of the document that has some is put on white. What still does not pass is PDF/A-2
  level A, and `PdfTwin.standard` says so.
Heavy: tens of milliseconds for a usual document, seconds for the largest. Run in a worker (services/workshop.py) for mail.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from typing import Literal

import typst
from PIL import Image

from mssante.documents.twin import Element, Kind, Picture, Section, TwinDocument
from mssante.errors import InputFault
from mssante.lang import say

MAX_PDF = 50 * 1024 * 1024
MAX_PICTURES = 3 * 1024 * 1024  # octets of all pictures in a PDF; the page and the original show the others
MAX_PIXELS = 25_000_000  # of one picture
WIDE = 7  # columns of a table above which the pages lie on their long side
_Standard = Literal["a-1a", "a-2a", "ua-1"]
STANDARDS: tuple[tuple[_Standard, ...], ...] = (("a-1a",), ("a-2a", "ua-1"), ("a-2a",))


@dataclass(frozen=True, slots=True)
class PdfTwin:
    """The PDF. standard: `PDF/A-1a` or `PDF/A-2a`."""

    content: bytes
    standard: str


@lru_cache(maxsize=1)
def _template() -> bytes:
    return resources.files("mssante.documents").joinpath("data/twin.typ").read_bytes()


def pdf_twin(twin: TwinDocument) -> PdfTwin:
    """Give the PDF. Raises InputFault `PDF-TWIN` when it cannot be made or is too large."""
    inputs = {"twin": json.dumps(_data(twin), ensure_ascii=False, separators=(",", ":"))}
    failure = ""
    for standard in STANDARDS:
        try:
            made = typst.compile(_template(), format="pdf", ignore_system_fonts=True, sys_inputs=inputs,
                                 pdf_standards=list(standard), timestamp=_stamp(twin.created))
        except typst.TypstError as fault:
            failure = type(fault).__name__
            continue
        content = made if isinstance(made, bytes) else b"".join(one or b"" for one in made or [])
        if len(content) > MAX_PDF:
            failure = "size"
            break
        return PdfTwin(content, "PDF/A-" + standard[0][2:])
    raise InputFault(say("le PDF de ce document ne peut pas être fait", "the PDF of this document cannot be made"),
                     rule="PDF-TWIN", detail=failure,
                     remedy=say("lire la page HTML, ou l'original", "read the HTML page, or the original"))


def _stamp(created: str) -> int:
    try:
        return int(datetime.strptime(created[:8], "%Y%m%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return 0


def _data(twin: TwinDocument) -> dict[str, object]:
    sections: list[dict[str, object]] = []
    above = 1
    for one in twin.sections:
        level = min(one.level + 1, above + 1, 6)
        above = level if one.title else above
        sections.append({"title": one.title, "level": level, "blocks": _blocks(one)})
    language = twin.language[:2].lower()
    return {"title": twin.title, "pictures": _pictures(twin), "lang": language if re.fullmatch("[a-z]{2}", language) else "fr",
            "notices": list(twin.notices), "sections": sections, "wide": _widest(twin) > WIDE,
            "groups": [{"title": one.title, "facts": [[fact.label, fact.value] for fact in one.facts]} for one in twin.groups]}


def _pictures(twin: TwinDocument) -> list[list[int]]:
    """Give the octets of each picture, empty for those that cannot be shown: typst takes them as numbers, and only so."""
    room, found = MAX_PICTURES, list[list[int]]()
    for one in twin.pictures:
        content = _opaque(one) if len(one.content) <= room else b""
        room -= len(content)
        found.append(list(content) if room >= 0 else [])
    return found


def _opaque(picture: Picture) -> bytes:
    """Give a picture as a PDF/A-1 can hold it: as it is, or put on white when it has transparency; empty when it cannot
    be opened."""
    try:
        with Image.open(io.BytesIO(picture.content), formats=("PNG", "JPEG", "GIF")) as image:
            if image.width * image.height > MAX_PIXELS:
                return b""
            image.load()
            if image.mode in ("1", "L", "RGB") and "transparency" not in image.info and image.format in ("PNG", "JPEG"):
                return picture.content
            seen = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    page = Image.new("RGBA", seen.size, "white")
    page.alpha_composite(seen)
    out = io.BytesIO()
    page.convert("RGB").save(out, "PNG")
    return out.getvalue()


def _widest(twin: TwinDocument) -> int:
    """Give the most columns of a table that stands in a section itself."""
    rows = [row for section in twin.sections for one in section.blocks if isinstance(one, Element) and one.kind is Kind.TABLE
            for part in one.children if isinstance(part, Element) for row in part.children if isinstance(row, Element)]
    return max((sum(cell.columns for cell in row.children if isinstance(cell, Element)) for row in rows), default=0)


def _blocks(section: Section) -> list[object]:
    return [_node(one) for one in section.blocks]


def _node(one: Element | str) -> object:
    if isinstance(one, str):
        return one
    if one.kind is Kind.TABLE:
        return _table(one)
    data: dict[str, object] = {"kind": one.kind.value, "children": [_node(child) for child in one.children],
                               "styles": sorted(style.value for style in one.styles), "words": one.words}
    if one.kind is Kind.PICTURE:
        data["picture"] = one.picture
    return data


def _table(table: Element) -> dict[str, object]:
    """A table for typst: its cells row after row, with the spans brought within the grid."""
    parts = {kind: [part for part in table.children if isinstance(part, Element) and part.kind is kind]
             for kind in (Kind.CAPTION, Kind.HEAD, Kind.BODY)}
    rows = {kind: [row for part in parts[kind] for row in part.children if isinstance(row, Element)]
            for kind in (Kind.HEAD, Kind.BODY)}
    grids = {kind: _grid(rows[kind]) for kind in rows}
    columns = max([width for width, _ in grids.values()] + [1])
    return {"kind": "table", "columns": columns, "caption": [_node(one) for part in parts[Kind.CAPTION] for one in part.children],
            "head": _filled(grids[Kind.HEAD], columns), "body": _filled(grids[Kind.BODY], columns)}


Grid = tuple[int, list[list[tuple[Element, int, int]]]]


def _grid(rows: list[Element]) -> Grid:
    """Give the width of some rows and their cells with (columns, rows) spans that no later cell is under."""
    taken: list[set[int]] = [set() for _ in rows]
    placed: list[list[tuple[Element, int, int]]] = []
    width = 0
    for index, row in enumerate(rows):
        line: list[tuple[Element, int, int]] = []
        column = 0
        for cell in row.children:
            if not isinstance(cell, Element):
                continue
            while column in taken[index]:
                column += 1
            columns = 1
            while columns < cell.columns and column + columns not in taken[index]:
                columns += 1
            down = min(cell.rows, len(rows) - index)
            for below in range(index, index + down):
                taken[below].update(range(column, column + columns))
            line.append((cell, columns, down))
            column += columns
        placed.append(line)
        width = max(width, max(taken[index], default=-1) + 1)
    return width, placed


def _filled(grid: Grid, columns: int) -> list[object]:
    """Give the cells in order, rows that are too short filled with an empty cell."""
    _, lines = grid
    cells: list[object] = []
    under = [0] * columns  # rows still covered from above, by column
    for line in lines:
        free = sum(1 for one in under if one == 0)
        used = sum(width for _, width, _ in line)
        spare = max(0, free - used)
        column = 0
        for cell, width, down in line:
            while column < columns and under[column]:
                column += 1
            for one in range(column, min(columns, column + width)):
                under[one] = down
            column += width
            styles = sorted(style.value for style in cell.styles)
            cells.append({"kind": cell.kind.value, "columns": width, "rows": down, "align": cell.align, "styles": styles,
                          "children": [_node(one) for one in cell.children]})
        if spare:
            cells += [{"kind": "td", "columns": 1, "rows": 1, "align": "", "styles": [], "children": []} for _ in range(spare)]
        under = [max(0, one - 1) for one in under]
    return cells
