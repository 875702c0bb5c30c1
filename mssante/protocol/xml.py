"""The single entry point for XML that came from outside.

- No DTD, no entities, no network, no XInclude, no huge trees; size, depth and element count are capped before trust.
- Used by trust (white list), documents (CDA, XDM) and the lab. Nothing else calls an XML parser (checked by lint).
"""

from __future__ import annotations

import re

from lxml import etree

from mssante.errors import InputFault

MAX_DEPTH = 100
MAX_ELEMENTS = 2_000_000
LIBXML_TEXT_LIMIT = 10_000_000  # libxml2 refuses longer text nodes (a PDF in a CDA) unless told; our own caps hold anyway
_ENCODINGS = (b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"iso-8859-15")
_FORBIDDEN = re.compile(rb"<!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)


class _Counter:
    """lxml parser target that only counts: depth and elements, before any tree is built."""

    def __init__(self, max_depth: int, max_elements: int) -> None:
        self.depth = 0
        self.elements = 0
        self.max_depth = max_depth
        self.max_elements = max_elements

    def start(self, tag: str, attributes: object) -> None:
        self.depth += 1
        self.elements += 1
        if self.depth > self.max_depth or self.elements > self.max_elements:
            raise InputFault("XML is too deep or too large", rule="XML-LIMIT")

    def end(self, tag: str) -> None:
        self.depth -= 1

    def close(self) -> int:
        return self.elements


def parse_xml(raw: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH, max_elements: int = MAX_ELEMENTS,
              ) -> etree._Element:
    """Give the root element of `raw` (at most `max_bytes` octets, UTF-8 or declared ISO-8859-1/15).

    Raises InputFault: `XML-SIZE`, `XML-DTD`, `XML-LIMIT`, `XML-SYNTAX`, `XML-ENCODING`.
    """
    if len(raw) > max_bytes:
        raise InputFault("XML is too large", rule="XML-SIZE", remedy=f"at most {max_bytes} octets")
    if raw[:4].find(b"\x00") >= 0 or raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputFault("XML is neither UTF-8 nor ISO-8859", rule="XML-ENCODING")
    declared = re.match(rb"\s*(?:\xef\xbb\xbf)?<\?xml[^>]*encoding=[\"']([A-Za-z0-9._\-]+)", raw[:200])
    if declared and declared.group(1).lower() not in _ENCODINGS:
        raise InputFault("XML declares an encoding that is not accepted", rule="XML-ENCODING")
    if _FORBIDDEN.search(raw):
        raise InputFault("XML carries a document type or an entity", rule="XML-DTD")
    options = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": max_bytes > LIBXML_TEXT_LIMIT,
               "dtd_validation": False, "attribute_defaults": False}
    try:
        etree.fromstring(raw, etree.XMLParser(target=_Counter(max_depth, max_elements), **options))  # type: ignore[arg-type]
        root = etree.fromstring(raw, etree.XMLParser(**options))  # type: ignore[arg-type]
    except etree.XMLSyntaxError as exc:
        raise InputFault("XML is not well formed", detail=f"line {exc.lineno}", rule="XML-SYNTAX") from exc
    docinfo = root.getroottree().docinfo
    if (getattr(docinfo, "encoding", None) or "utf-8").lower().encode() not in _ENCODINGS:
        raise InputFault("XML declares an encoding that is not accepted", rule="XML-ENCODING")
    if getattr(docinfo, "doctype", ""):
        raise InputFault("XML carries a document type", rule="XML-DTD")
    return root
