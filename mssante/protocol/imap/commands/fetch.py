"""FETCH and UID FETCH (RFC 9051 §6.4.5, §6.4.9; RFC 3516 BINARY; RFC 7162 §3.1.4 MODSEQ; RFC 8474, RFC 8514, RFC 8970 items).

Items without section become one mask; each section becomes a `Section` with the label that its answer will carry. An
item asked twice is given once. The modifiers behind them are read by `sync.py`.
"""

from __future__ import annotations

import re

from mssante.protocol.imap.commands.sync import FetchModifiers, read_fetch_modifiers
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Fetch, FetchItem, Section, SectionKind, SectionText

MAX_SECTIONS = 100
MAX_FIELDS = 200
MAX_FIELD_NAME = 200
MAX_PARTS = 50  # levels of `1.2.3…`
_MAX_OFFSET = 9_223_372_036_854_775_807

_ITEM = re.compile(rb"[A-Za-z0-9.]+")
_LAZY = re.compile(rb" \(LAZY\)", re.IGNORECASE)  # RFC 8970 §6
_PART = re.compile(rb"[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8})*(?![0-9])")
_TEXT = re.compile(rb"[A-Za-z][A-Za-z.]*")
_FIELD_NAME = re.compile(rb"[!-9;-~]+\Z")  # RFC 5322 §2.2
_PLAIN_FIELD = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+\Z")

_SIMPLE = {
    b"UID": FetchItem.UID, b"FLAGS": FetchItem.FLAGS, b"INTERNALDATE": FetchItem.INTERNALDATE,
    b"RFC822.SIZE": FetchItem.SIZE, b"ENVELOPE": FetchItem.ENVELOPE, b"BODY": FetchItem.BODY,
    b"BODYSTRUCTURE": FetchItem.BODYSTRUCTURE, b"MODSEQ": FetchItem.MODSEQ, b"SAVEDATE": FetchItem.SAVEDATE,
    b"EMAILID": FetchItem.EMAILID, b"THREADID": FetchItem.THREADID, b"PREVIEW": FetchItem.PREVIEW,
}
_FAST = FetchItem.FLAGS | FetchItem.INTERNALDATE | FetchItem.SIZE
_MACROS = {b"FAST": _FAST, b"ALL": _FAST | FetchItem.ENVELOPE, b"FULL": _FAST | FetchItem.ENVELOPE | FetchItem.BODY}
_WHOLE = {  # RFC 3501 §6.4.5: equivalent to sections, answered under their own name
    b"RFC822": Section(b"RFC822"),
    b"RFC822.HEADER": Section(b"RFC822.HEADER", text=SectionText.HEADER, peek=True),
    b"RFC822.TEXT": Section(b"RFC822.TEXT", text=SectionText.TEXT),
}
_CUT = {
    b"BODY": (SectionKind.BODY, False), b"BODY.PEEK": (SectionKind.BODY, True),
    b"BINARY": (SectionKind.BINARY, False), b"BINARY.PEEK": (SectionKind.BINARY, True),
    b"BINARY.SIZE": (SectionKind.BINARY_SIZE, True),
}
_TEXTS = {text.value.encode("ascii"): text for text in SectionText if text is not SectionText.ALL}
_WITH_FIELDS = (SectionText.HEADER_FIELDS, SectionText.HEADER_FIELDS_NOT)


def parse_fetch(tokens: Tokens, *, uid: bool = False) -> Fetch:
    """Read a set, items or a macro, and modifiers. Raises ClientFault."""
    tokens.space()
    numbers = tokens.sequence_set()
    tokens.space()
    sections: dict[Section, None] = {}
    items = FetchItem.NONE
    if tokens.skip(b"("):
        items |= _item(tokens, sections)
        while not tokens.skip(b")"):
            tokens.space()
            items |= _item(tokens, sections)
            if len(sections) > MAX_SECTIONS:
                tokens.fault(f"more than {MAX_SECTIONS} sections")
    else:
        items |= _macro(tokens) or _item(tokens, sections)
    modifiers = FetchModifiers() if tokens.ended else read_fetch_modifiers(tokens, uid=uid)
    if modifiers.changed_since is not None:
        items |= FetchItem.MODSEQ  # RFC 7162 §3.1.4.1
    plain_uid = uid and not items & FetchItem.UID
    if uid:
        items |= FetchItem.UID  # RFC 9051 §6.4.9: UID is always in the answer
    tokens.end()
    return Fetch(numbers, items, tuple(sections), uid=uid, changed_since=modifiers.changed_since, vanished=modifiers.vanished,
                 partial=modifiers.partial, plain_uid=plain_uid)


def parse_attributes(tokens: Tokens) -> tuple[FetchItem, tuple[Section, ...]]:
    """Read `(item item …)`, no macro: what NOTIFY asks of new messages (RFC 5465 §8). Raises ClientFault."""
    sections: dict[Section, None] = {}
    tokens.expect(b"(", "a list of items")
    items = _item(tokens, sections)
    while not tokens.skip(b")"):
        tokens.space()
        items |= _item(tokens, sections)
        if len(sections) > MAX_SECTIONS:
            tokens.fault(f"more than {MAX_SECTIONS} sections")
    return items, tuple(sections)


def _macro(tokens: Tokens) -> FetchItem:
    """Read ALL, FAST or FULL, which stand alone; NONE when something else is next."""
    found = _ITEM.match(tokens.text, tokens.at)
    macro = _MACROS.get(found[0].upper(), FetchItem.NONE) if found else FetchItem.NONE
    if found and macro:
        tokens.at = found.end()
    return macro


def _item(tokens: Tokens, sections: dict[Section, None]) -> FetchItem:
    """Read one item: give its bit, or NONE and add its section."""
    start = tokens.at
    name = tokens.take(_ITEM, "an item").upper()
    cut = _CUT.get(name)
    if cut is not None and tokens.skip(b"["):
        sections[_section(tokens, name, cut)] = None
        return FetchItem.NONE
    simple = _SIMPLE.get(name)
    if simple is FetchItem.PREVIEW and (lazy := _LAZY.match(tokens.text, tokens.at)):
        tokens.at = lazy.end()
        return FetchItem.PREVIEW_LAZY
    if simple is not None:
        return simple
    whole = _WHOLE.get(name)
    if whole is None:
        tokens.at = start
        tokens.fault("unknown FETCH item")
    sections[whole] = None
    return FetchItem.NONE


def _section(tokens: Tokens, name: bytes, cut: tuple[SectionKind, bool]) -> Section:
    """Read what follows `BODY[`, and the partial range."""
    kind, peek = cut
    start = tokens.at
    part: tuple[int, ...] = ()
    text, field_label = SectionText.ALL, b""
    fields: tuple[str, ...] = ()
    found = _PART.match(tokens.text, start)
    if found:
        tokens.at = found.end()
        part = tuple(int(number) for number in found[0].split(b"."))
        if len(part) > MAX_PARTS:
            tokens.fault(f"part deeper than {MAX_PARTS} levels")
    if tokens.peek() != 0x5D:
        if found:
            tokens.expect(b".", "a dot or a closing bracket")
        if kind is not SectionKind.BODY:
            tokens.fault("BINARY takes a part number only")  # RFC 9051 §6.4.5.1
        text = _section_text(tokens, part)
    if text in _WITH_FIELDS:
        fields, field_label = _fields(tokens)
    tokens.expect(b"]", "a closing bracket")
    partial = _partial(tokens) if kind is not SectionKind.BINARY_SIZE else None
    label = b"%b[%b%b%b]%b" % (
        name.removesuffix(b".PEEK"), found[0] if found else b"",
        (b"." if found and text is not SectionText.ALL else b"") + text.value.encode("ascii"), field_label,
        b"<%d>" % partial[0] if partial else b"")
    return Section(label, kind, part, text, fields, partial, peek)


def _section_text(tokens: Tokens, part: tuple[int, ...]) -> SectionText:
    """Read HEADER, TEXT, MIME…"""
    start = tokens.at
    text = _TEXTS.get(tokens.take(_TEXT, "a section").upper())
    if text is None or (text is SectionText.MIME and not part):
        tokens.at = start
        tokens.fault("unknown section")
    return text


def _fields(tokens: Tokens) -> tuple[tuple[str, ...], bytes]:
    """Read ` (From "To" …)`: give the names, and the same list as it will stand in the label."""
    tokens.space()
    tokens.expect(b"(", "a list of header fields")
    names: list[bytes] = []
    while not names or not tokens.skip(b")"):
        if names:
            tokens.space()
        name = tokens.astring()
        if len(name) > MAX_FIELD_NAME or not _FIELD_NAME.match(name):
            tokens.fault("not a header field name")
        names.append(name)
        if len(names) > MAX_FIELDS:
            tokens.fault(f"more than {MAX_FIELDS} header fields")
    label = b" ".join(name if _PLAIN_FIELD.match(name) else _quote(name) for name in names)
    return tuple(name.decode("ascii") for name in names), b" (" + label + b")"


def _quote(name: bytes) -> bytes:
    """Write a field name that is no atom."""
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _partial(tokens: Tokens) -> tuple[int, int] | None:
    """Read `<first.length>` when it is next (RFC 9051 §9 partial)."""
    if not tokens.skip(b"<"):
        return None
    first = tokens.number(_MAX_OFFSET)
    tokens.expect(b".", "a dot")
    length = tokens.number(_MAX_OFFSET)
    if length == 0:
        tokens.fault("a partial range of no octet")
    tokens.expect(b">", "the end of a partial range")
    return first, length
