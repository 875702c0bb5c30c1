"""Multi-status answers and errors written (RFC 4918 §13, §14, §16). Pure; every text is escaped here and nowhere else.

What XML 1.0 cannot hold is left out; a carriage return is written `&#13;`, or a reader would take it away (RFC 6352 §10.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from xml.sax.saxutils import escape, quoteattr

from mssante.protocol.webdav.requests import CARD, DAV, SERVER, Name

_PREFIXES = {DAV: "D", CARD: "C", SERVER: "S"}
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
_SPACES = f'xmlns:D="{DAV}" xmlns:C="{CARD}" xmlns:S="{SERVER}"'
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(value: str) -> str:
    """Give character data."""
    return escape(_FORBIDDEN.sub("", value), {"\r": "&#13;"})


def element(name: Name, inner: str = "", attributes: str = "") -> str:
    """Give an element. inner: XML that is written already; attributes: likewise, with a leading blank."""
    space, local = name
    prefix = _PREFIXES.get(space)
    tag = f"{prefix}:{local}" if prefix else local
    declared = "" if prefix else f" xmlns={quoteattr(_FORBIDDEN.sub('', space))}"
    return f"<{tag}{declared}{attributes}>{inner}</{tag}>" if inner else f"<{tag}{declared}{attributes}/>"


def href(path: str) -> str:
    """Give an href. path: quoted already."""
    return element((DAV, "href"), text(path))


def _status(code: int) -> str:
    return element((DAV, "status"), f"HTTP/1.1 {code} {HTTPStatus(code).phrase}")


@dataclass(frozen=True, slots=True)
class Found:
    """What is answered of one resource. properties: names and inner XML; missing: names that it has not; status: of the resource
    itself in place of properties, 0 for none; condition: the element that tells why."""

    path: str
    properties: Sequence[tuple[Name, str]] = ()
    missing: Sequence[Name] = ()
    status: int = 0
    condition: Name | None = None


def multistatus(answers: Iterable[Found], token: str = "") -> bytes:
    """Give a 207 body (RFC 4918 §13). token: of a sync-collection (RFC 6578 §6.4)."""
    blocks: dict[tuple[Name, ...], str] = {}  # cards mostly lack the same properties: written once
    parts = [_HEAD, f"<D:multistatus {_SPACES}>\n"]
    for one in answers:
        key = tuple(one.missing)
        if key and key not in blocks:
            blocks[key] = _propstat("".join(map(element, key)), 404)
        parts += ["<D:response>", href(one.path), _status(one.status) if one.status else ""]
        if not one.status:
            told = "".join(element(name, inner) for name, inner in one.properties)
            parts += [_propstat(told, 200) if told or not key else "", blocks.get(key, "")]
        if one.condition is not None:
            parts.append(element((DAV, "error"), element(one.condition)))
        parts.append("</D:response>\n")
    parts.append(element((DAV, "sync-token"), text(token)) if token else "")
    parts.append("</D:multistatus>\n")
    return "".join(parts).encode("utf-8")


def _propstat(properties: str, code: int) -> str:
    return element((DAV, "propstat"), element((DAV, "prop"), properties) + _status(code))


def error(condition: Name | None, words: str) -> bytes:
    """Give the body of a refusal (RFC 4918 §16). words: for who reads it."""
    inner = (element(condition) if condition is not None else "") + element((DAV, "responsedescription"), text(words))
    return f"{_HEAD}<D:error {_SPACES}>{inner}</D:error>\n".encode()
