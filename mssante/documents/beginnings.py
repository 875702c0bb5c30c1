"""What octets are by how they begin, whatever their name and media type (spec F8.1): archive, XML, container, other.

- XML is looked at as a lenient reader would: marks of byte order, blanks, comments, instructions and a document type may stand
  before the root; UTF-8, ISO-8859, UTF-16, UTF-32 (their NUL left out, ASCII remains) and EBCDIC. Our parsers refuse most of
  these (`protocol.xml`); a recipient's may not, so that what masks a document must be seen there too.
- HTML is no document: a page whose root is `html`, and what is sent as `text/html` unless its root is that of a CDA.
- An office document is a ZIP that is no archive of documents. A container (winmail.dat, RAR, 7z, tar) is known and not opened.
Pure, a few µs for a beginning. Called by `mailfiles` and by those who read files (`masking`, `preflight`, `mailtwins`).
"""

from __future__ import annotations

import re
from enum import StrEnum

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MARKED = (b"PK\x07\x08PK", b"PK00PK")  # one that was to be split and was not (APPNOTE §8.5.4, §8.5.5)
BEGINNING = 400  # octets that mostly tell what a file is
_OFFICE = (b"[Content_Types].xml", b"mimetype", b"_rels/", b"docProps/")  # how OOXML and OpenDocument begin
_ZIP_NAME = 30  # octets before the name in a local header (APPNOTE §4.3.7)
_CONTAINERS = (b"\x78\x9f\x3e\x22", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")  # [MS-OXTNEF] §2.1.3.1, RAR, 7z
_TAR = (257, b"ustar")
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xdd\x73\x66\x73")
_EBCDIC = "<?xml".encode("cp037")
_ROOT = b"ClinicalDocument"
_EBCDIC_ROOT = _ROOT.decode().encode("cp037")
_JUNK = bytes(range(33)) + b"\xef\xbb\xbf\xff\xfe\xc2\xc3\xaf"  # blanks, controls, marks of UTF-8 once and twice encoded
_SPELT_BRACKET = re.compile(rb"#(?:0{0,40}60|[xX]0{0,40}3[cC]);")
_UTF7 = re.compile(rb"<\?xml[^>]{0,200}encoding\s*=\s*[\"'][A-Za-z0-9-]{0,20}utf-?7[\"']", re.IGNORECASE)
_ELEMENT = re.compile(rb"<(?:[^\s<>/:]{1,200}:)?ClinicalDocument(?:[\s/>]|\Z)")
_DOCUMENT_ROOTS = frozenset({b"clinicaldocument", b"stylesheet", b"transform"})  # a CDA, alone or in a stylesheet that shows it
_BLANKS = re.compile(rb"\s*")
_DOCTYPE = re.compile(rb"<![A-Za-z][^\[>]*(?:\[[^\]]*\]\s*)?>")
_TAG = re.compile(rb"<(?:[^\s<>/:]{1,200}:)?([^\s<>/:]{1,200})[\s/>]")
_MAX_PROLOG = 1000  # comments, instructions and marks before a root


class Kind(StrEnum):
    """What a file is. MESSAGE: an attached message, given as a file where it is not read through; CONTAINER: files inside, which
    are not read here; CLOSED: its encoding is unknown or its place in the message unclear."""

    ARCHIVE = "archive"
    XML = "xml"
    MESSAGE = "message"
    CONTAINER = "container"
    CLOSED = "closed"
    OTHER = "other"


def kind_of(raw: bytes, *, html: bool = False, zipped: bool = False) -> Kind:
    """Give the kind of a whole file. html: it is sent as a page; zipped: it is sent as a ZIP, so that programs open it as one
    whatever stands before, and whatever its first member is."""
    kind = told(raw, html=html, zipped=zipped) or (Kind.XML if _narrow(raw) else Kind.OTHER)
    return Kind.ARCHIVE if zipped and kind is Kind.OTHER and ZIP[0] in raw else kind


def told(begin: bytes, *, html: bool = False, zipped: bool = False) -> Kind | None:
    """Give the kind that the first octets of a file tell, None when more of them are needed: all blank, or a root not reached."""
    if begin.startswith(ZIP):
        return Kind.OTHER if begin.startswith(_OFFICE, _ZIP_NAME) and not zipped else Kind.ARCHIVE
    if begin.startswith(_MARKED):
        return Kind.ARCHIVE
    if begin.startswith(_CONTAINERS) or begin.startswith(_TAR[1], _TAR[0]):
        return Kind.CONTAINER
    if begin.startswith(_EBCDIC):
        return Kind.XML
    text = _narrow(begin)
    if text and not text.startswith(b"<"):
        return Kind.OTHER
    root = _root(text)
    if root is None:
        return None
    if root in _DOCUMENT_ROOTS:
        return Kind.XML
    page = root == b"html" or (html and not text.startswith(b"<?xml"))
    return Kind.OTHER if page else Kind.XML


def trimmed(raw: bytes) -> bytes:
    """Give an XML file without what a parser would stumble over before its declaration: mark of UTF-8, blanks."""
    return raw.removeprefix(_MARKS[0]).lstrip()


def names_cda(raw: bytes) -> bool:
    """Tell if octets hold the element of a CDA, in UTF-8, ISO-8859, UTF-16, UTF-32 or EBCDIC (a stylesheet for CDA only speaks of
    it)."""
    if _ROOT in raw and _ELEMENT.search(raw):
        return True
    if b"\0" in raw and _ROOT in (text := raw.translate(None, b"\0")) and _ELEMENT.search(text):
        return True
    return _EBCDIC_ROOT in raw


def may_hide_cda(raw: bytes) -> bool:
    """Tell if octets that cannot be read hold the element of a CDA, or may spell it: in UTF-7, or in an entity with a bracket
    that is written as a number."""
    if names_cda(raw) or _UTF7.search(raw[:BEGINNING]):
        return True
    return b"<!ENTITY" in raw and _SPELT_BRACKET.search(raw) is not None


def _narrow(raw: bytes) -> bytes:
    """Give the ASCII of a text of any width, from its first letter on."""
    text = raw.translate(None, b"\0")
    for mark in _MARKS:
        text = text.removeprefix(mark)
    return text.lstrip(_JUNK)


def _root(text: bytes) -> bytes | None:
    """Give the local name of the root element in lower case, None when it is not reached."""
    at = 0
    for _ in range(_MAX_PROLOG):
        at = _end_of_blanks(text, at)
        if text.startswith(b"<?", at):
            at = _behind(text, b"?>", at + 2)
        elif text.startswith(b"<!--", at):
            at = _behind(text, b"-->", at + 4)
        elif text.startswith(b"<!", at):
            found = _DOCTYPE.match(text, at)
            at = found.end() if found else -1
        else:
            found = _TAG.match(text, at)
            return found.group(1).lower() if found else None
        if at < 0:
            return None
    return None


def _end_of_blanks(text: bytes, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _behind(text: bytes, mark: bytes, at: int) -> int:
    """Give the place behind a mark, -1 when there is none."""
    found = text.find(mark, at)
    return found + len(mark) if found >= 0 else -1
