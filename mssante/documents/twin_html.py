"""Writes the twin of a document as one HTML page that does nothing but be read.

- Everything of the document is escaped text; tags and classes are ours; the one style sheet is ours, inside the page, allowed by
  its hash alone. No script, form, frame nor remote reference stands in the page, and its policy refuses them all; no link but
  those of the web account that shows it (`Frame`).
- Readable by all: language, headings in order, tables with scopes, a way past the header, large print, contrast above 7:1.
- Pictures of the document are inside the page (`data:`); its PDF files are named, the caller gives them beside.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from importlib import resources

from mssante.documents.twin import Element, Group, Kind, Section, Style, TwinDocument
from mssante.lang import say

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}\Z")
_INLINE = {Kind.SUB: "sub", Kind.SUP: "sup", Kind.ITEM: "li", Kind.CAPTION: "caption"}
_STYLED = tuple(Style)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a page in a web account. links: (words, path on our own site) above the document; large: large print."""

    links: tuple[tuple[str, str], ...] = ()
    large: bool = False


@dataclass(slots=True)
class _State:
    """Footnotes met so far, and tables."""

    notes: list[str] = field(default_factory=list)
    tables: int = 0


@lru_cache(maxsize=1)
def style_sheet() -> str:
    """Give the style sheet of the page."""
    return resources.files("mssante.documents").joinpath("data/twin.css").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def policy() -> str:
    """Give the content security policy of the page: pictures inside it and its own style sheet, nothing else (CSP level 3)."""
    digest = base64.b64encode(hashlib.sha256(style_sheet().encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def html_page(twin: TwinDocument, frame: Frame | None = None) -> bytes:
    """Give the page, UTF-8. frame: of the web account that shows it, None for a page that stands alone."""
    frame = frame or Frame()
    language = twin.language if _LANGUAGE.match(twin.language) else "fr"
    large = ' class="large"' if frame.large else ""
    parts = [
        f'<!DOCTYPE html>\n<html lang="{language}"{large}>\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy())}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n',
        f"<title>{escape(twin.title)}</title>\n<style>{style_sheet()}</style>\n</head>\n<body>\n",
        f'<a class="skip" href="#texte">{escape(say("Aller au texte", "Go to the text"))}</a>\n',
        *_links(frame), f"<header>\n<h1>{escape(twin.title)}</h1>\n",
        *[f'<p class="notice">{escape(one)}</p>\n' for one in twin.notices],
        '<div class="facts">\n', *[_group(one) for one in twin.groups], "</div>\n</header>\n",
        '<main id="texte" tabindex="-1">\n', *_sections(twin), "</main>\n</body>\n</html>\n",
    ]
    return "".join(parts).encode("utf-8", "replace")


def _links(frame: Frame) -> Iterator[str]:
    if frame.links:
        items = "".join(f'<li><a href="{escape(path)}">{escape(words)}</a></li>\n' for words, path in frame.links)
        yield f'<nav aria-label="{escape(say("Autour du document", "Around the document"))}"><ul>\n{items}</ul></nav>\n'


def _group(group: Group) -> str:
    lines = "".join(f"<dt>{escape(one.label)}</dt><dd>{escape(one.value)}</dd>\n" for one in group.facts)
    return f"<section>\n<h2>{escape(group.title)}</h2>\n<dl>\n{lines}</dl>\n</section>\n"


def _sections(twin: TwinDocument) -> Iterator[str]:
    above = 1
    state = _State()
    for section in twin.sections:
        level = min(section.level + 1, above + 1, 6)  # no heading is skipped, whatever the document does
        if section.title:
            above = level
            yield f"<h{level}>{escape(section.title)}</h{level}>\n"
        yield from _flow(section, twin, state)
    if state.notes:
        items = "".join(f"<li>{one}</li>\n" for one in state.notes)
        yield f"<h2>{escape(say('Notes', 'Notes'))}</h2>\n<ol>\n{items}</ol>\n"


def _flow(section: Section, twin: TwinDocument, state: _State) -> Iterator[str]:
    """Blocks as they are; text between them in paragraphs."""
    line: list[str] = []
    for one in section.blocks:
        if isinstance(one, Element) and one.kind in _BLOCK:
            yield from _paragraph(line)
            line = []
            yield _write(one, twin, state)
        else:
            line.append(_write(one, twin, state))
    yield from _paragraph(line)


def _paragraph(line: list[str]) -> Iterator[str]:
    text = re.sub(r"^(?:\s|<br>)+|(?:\s|<br>)+$", "", "".join(line))
    if text:
        yield (f"<div>{text}</div>\n" if "<div" in text or "<p" in text or "<ul" in text else f"<p>{text}</p>\n")


def _inside(element: Element, twin: TwinDocument, state: _State) -> str:
    return "".join(_write(one, twin, state) for one in element.children)


def _write(one: Element | str, twin: TwinDocument, state: _State) -> str:
    if isinstance(one, str):
        return escape(one)
    writer = _WRITERS.get(one.kind)
    if writer is not None:
        return writer(one, twin, state)
    inside = _inside(one, twin, state)
    tag = _INLINE.get(one.kind, "span")
    return f"<{tag}{_classes(one)}>{inside}</{tag}>" if inside or tag != "span" else ""


def _classes(element: Element, more: Iterable[str] = ()) -> str:
    names = [*[style.value for style in _STYLED if style in element.styles], *more]
    return f' class="{" ".join(names)}"' if names else ""


def _break(element: Element, twin: TwinDocument, state: _State) -> str:
    return "<br>"


def _block(element: Element, twin: TwinDocument, state: _State) -> str:
    """A paragraph: in a `div`, since a narrative may put tables and lists inside one."""
    children = [one if not (isinstance(one, Element) and one.kind is Kind.CAPTION)
                else Element(Kind.SPAN, one.children, one.styles | {Style.BOLD}) for one in element.children]
    inside = "".join(_write(one, twin, state) for one in children)
    if not inside.strip():
        return ""
    tag = "div" if any(isinstance(one, Element) and one.kind in _BLOCK for one in children) else "p"
    return f"<{tag}{_classes(element)}>{inside}</{tag}>\n"


def _list(element: Element, twin: TwinDocument, state: _State) -> str:
    tag = "ol" if element.kind is Kind.ORDERED else "ul"
    inside = _inside(element, twin, state)
    return f"<{tag}>{inside}</{tag}>\n" if inside else ""


def _table(element: Element, twin: TwinDocument, state: _State) -> str:
    parts: list[str] = []
    for part in element.children:
        if not isinstance(part, Element):
            continue
        if part.kind is Kind.CAPTION:
            parts.append(f"<caption>{_inside(part, twin, state)}</caption>\n")
        elif part.children:
            head = part.kind is Kind.HEAD
            rows = "".join(_row(row, twin, state, head) for row in part.children if isinstance(row, Element))
            parts.append(f"<{'thead' if head else 'tbody'}>\n{rows}</{'thead' if head else 'tbody'}>\n")
    state.tables += 1
    label = escape(say(f"Tableau {state.tables}", f"Table {state.tables}"))
    return f'<div class="wide" role="region" tabindex="0" aria-label="{label}">' \
           f'<table>\n{"".join(parts)}</table></div>\n'


def _row(row: Element, twin: TwinDocument, state: _State, head: bool) -> str:
    cells: list[str] = []
    for cell in row.children:
        if not isinstance(cell, Element):
            continue
        inside = _inside(cell, twin, state).strip()
        header = (head or cell.kind is Kind.HEADER_CELL) and bool(inside)  # an empty header names nothing
        scope = "" if not header else (' scope="col"' if head else ' scope="row"')
        spans = (f' colspan="{cell.columns}"' if cell.columns > 1 else "") + (f' rowspan="{cell.rows}"' if cell.rows > 1 else "")
        align = (cell.align,) if cell.align in ("center", "right") else ()
        tag = "th" if header else "td"
        cells.append(f"<{tag}{scope}{spans}{_classes(cell, align)}>{inside}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>\n"


def _note(element: Element, twin: TwinDocument, state: _State) -> str:
    state.notes.append("")
    rank = len(state.notes)
    state.notes[rank - 1] = _inside(element, twin, state)
    return f"<sup>({rank})</sup>"


def _link(element: Element, twin: TwinDocument, state: _State) -> str:
    """A link is words: nobody follows one from a page that a document wrote."""
    shown = f" ({escape(element.words)})" if element.words else ""
    return f"<span>{_inside(element, twin, state)}{shown}</span>"


def _picture(element: Element, twin: TwinDocument, state: _State) -> str:
    picture = twin.pictures[element.picture]
    content = base64.b64encode(picture.content).decode()
    return f'<p><img alt="{escape(element.words)}" src="data:{picture.media_type};base64,{content}"></p>\n'


def _file(element: Element, twin: TwinDocument, state: _State) -> str:
    return f'<p class="part">{escape(element.words)}</p>\n'


_WRITERS = {
    Kind.BREAK: _break, Kind.PARAGRAPH: _block, Kind.LIST: _list, Kind.ORDERED: _list, Kind.TABLE: _table, Kind.NOTE: _note,
    Kind.LINK: _link, Kind.PICTURE: _picture, Kind.FILE: _file,
}
_BLOCK = frozenset({Kind.PARAGRAPH, Kind.LIST, Kind.ORDERED, Kind.TABLE, Kind.PICTURE, Kind.FILE})
