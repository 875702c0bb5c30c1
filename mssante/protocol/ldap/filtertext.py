"""Filters from their text (RFC 4515 §3) to BER, for a client. Values of ours go in through `escaped`, never by pasting.

Called by `protocol.ldap.client` and by `transport.annuaire_ldap`, `transport.ldap_people`.
"""

from __future__ import annotations

import re

from mssante.lang import say
from mssante.protocol.ldap.ber import LdapFault, element

MAX_FILTER = 8192
MAX_FILTER_DEPTH = 20


def escaped(value: str) -> str:
    """Give a value that may stand in a filter (RFC 4515 §3)."""
    return "".join(f"\\{byte:02x}" if byte in b"*()\\\0" or byte >= 0x80 else chr(byte) for byte in value.encode())


_ITEM = re.compile(r"([A-Za-z0-9.;-]{1,100})(=|>=|<=|~=)([^()\0]*)")


def compile_filter(text: str) -> bytes:
    """Give the BER of a filter's string (RFC 4515 §3; no extensible match). Raises LdapFault (`LDAP-FILTRE`)."""
    if len(text) > MAX_FILTER:
        raise _bad_filter("length")
    octets, end = _filter(text, 0, 0)
    if end != len(text):
        raise _bad_filter("end")
    return octets


def _bad_filter(detail: str) -> LdapFault:
    return LdapFault(say("filtre LDAP mal formé", "malformed LDAP filter"), detail=detail, rule="LDAP-FILTRE")


def _filter(text: str, at: int, depth: int) -> tuple[bytes, int]:
    if depth > MAX_FILTER_DEPTH or text[at:at + 1] != "(":
        raise _bad_filter("parentheses")
    mark = text[at + 1:at + 2]
    if mark and mark in "&|!":
        parts, at = [], at + 2
        while text[at:at + 1] == "(":
            part, at = _filter(text, at, depth + 1)
            parts.append(part)
        if text[at:at + 1] != ")" or not parts or (mark == "!" and len(parts) != 1):
            raise _bad_filter(mark)
        return element({"&": 0xA0, "|": 0xA1, "!": 0xA2}[mark], *parts), at + 1
    end = text.find(")", at)
    found = _ITEM.fullmatch(text[at + 1:end]) if end > 0 else None
    if found is None:
        raise _bad_filter("item")
    return _item(found[1].encode(), found[2], found[3]), end + 1


def _item(name: bytes, operator: str, value: str) -> bytes:
    if operator != "=":
        return element({">=": 0xA5, "<=": 0xA6, "~=": 0xA8}[operator], element(0x04, name), element(0x04, _unescaped(value)))
    if value == "*":
        return element(0x87, name)
    if "*" not in value:
        return element(0xA3, element(0x04, name), element(0x04, _unescaped(value)))
    first, *middle, last = value.split("*")
    parts = [element(0x80, _unescaped(first))] if first else []
    parts += [element(0x81, _unescaped(one)) for one in middle if one]
    parts += [element(0x82, _unescaped(last))] if last else []
    return element(0xA4, element(0x04, name), element(0x30, *parts))


def _unescaped(value: str) -> bytes:
    if re.search(r"\\(?![0-9a-fA-F]{2})", value):
        raise _bad_filter("escape")
    return re.sub(rb"\\([0-9a-fA-F]{2})", lambda found: bytes((int(found[1], 16),)), value.encode("utf-8", "surrogatepass"))
