"""The octets of an LDAPv3 client: what it sends and what it reads (RFC 4511, BER of RFC 4511 §5.1, filters of RFC 4515). Pure.

- Definite lengths only, minimal parser: every length is checked against what is there, nesting is that of the protocol (no
  recursion on answers), counts and octets are bounded. Anything else raises `LdapFault` (`LDAP-…`).
- A filter is parsed from its string form; values of ours go in through `escaped`, never by pasting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mssante.errors import InputFault
from mssante.lang import say

MAX_MESSAGE = 4 * 1024 * 1024
MAX_VALUES = 5000
MAX_ATTRIBUTES = 500
MAX_FILTER = 8192
MAX_FILTER_DEPTH = 20
PAGED = b"1.2.840.113556.1.4.319"  # RFC 2696
STARTTLS = b"1.3.6.1.4.1.1466.20037"  # RFC 4511 §4.14


class LdapFault(InputFault):
    """Octets or a filter that cannot be read. rule: `LDAP-…`."""


def _fault(detail: str) -> LdapFault:
    return LdapFault(say("réponse LDAP illisible", "unreadable LDAP answer"), detail=detail, rule="LDAP-FORME")


@dataclass(frozen=True, slots=True)
class LdapEntry:
    """One entry. attributes: lower-case names without options, values in octets."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]

    def text(self, name: str) -> str:
        """Give the first value as text, empty when there is none; what is not UTF-8 is replaced."""
        values = self.attributes.get(name.lower(), ())
        return values[0].decode("utf-8", "replace") if values else ""


@dataclass(frozen=True, slots=True)
class LdapResult:
    """How an operation ended (RFC 4511 §4.1.9). cookie: of the next page, empty at the end."""

    code: int
    text: str = ""
    cookie: bytes = b""


@dataclass(frozen=True, slots=True)
class LdapMessage:
    """One message of a server. kind: tag of the operation; referral: a search reference, which nobody follows."""

    id: int
    kind: int
    entry: LdapEntry | None = None
    result: LdapResult | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A search. scope: 0 base, 1 one level, 2 subtree."""

    base: str
    filter: str
    attributes: Sequence[str] = ()
    scope: int = 2
    size_limit: int = 0
    time_limit: int = 30
    page: int = 500
    cookie: bytes = field(default=b"")


# ------------------------------------------------------------------------------------------ writing

def tlv(tag: int, *parts: bytes) -> bytes:
    """Give one element."""
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _integer(value: int, tag: int = 0x02) -> bytes:
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def bind_request(number: int, dn: str, password: str) -> bytes:
    """Simple bind (RFC 4511 §4.2)."""
    return tlv(0x30, _integer(number), tlv(0x60, _integer(3), tlv(0x04, dn.encode()), tlv(0x80, password.encode())))


def unbind_request(number: int) -> bytes:
    """Unbind (RFC 4511 §4.3)."""
    return tlv(0x30, _integer(number), tlv(0x42))


def starttls_request(number: int) -> bytes:
    """StartTLS (RFC 4511 §4.14.1)."""
    return tlv(0x30, _integer(number), tlv(0x77, tlv(0x80, STARTTLS)))


def abandon_request(number: int, other: int) -> bytes:
    """Abandon an operation (RFC 4511 §4.11)."""
    return tlv(0x30, _integer(number), _integer(other, 0x50))


def search_request(number: int, query: Query) -> bytes:
    """Search with the paged results control (RFC 4511 §4.5.1, RFC 2696 §3); aliases are not followed."""
    operation = tlv(0x63, tlv(0x04, query.base.encode()), _integer(query.scope, 0x0A), _integer(0, 0x0A),
                    _integer(query.size_limit), _integer(query.time_limit), tlv(0x01, b"\0"), compile_filter(query.filter),
                    tlv(0x30, *[tlv(0x04, name.encode()) for name in query.attributes]))
    value = tlv(0x30, _integer(query.page), tlv(0x04, query.cookie))
    control = tlv(0x30, tlv(0x04, PAGED), tlv(0x01, b"\0"), tlv(0x04, value))
    return tlv(0x30, _integer(number), operation, tlv(0xA0, control))


# ------------------------------------------------------------------------------------------ filters

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
        return tlv({"&": 0xA0, "|": 0xA1, "!": 0xA2}[mark], *parts), at + 1
    end = text.find(")", at)
    found = _ITEM.fullmatch(text[at + 1:end]) if end > 0 else None
    if found is None:
        raise _bad_filter("item")
    return _item(found[1].encode(), found[2], found[3]), end + 1


def _item(name: bytes, operator: str, value: str) -> bytes:
    if operator != "=":
        return tlv({">=": 0xA5, "<=": 0xA6, "~=": 0xA8}[operator], tlv(0x04, name), tlv(0x04, _unescaped(value)))
    if value == "*":
        return tlv(0x87, name)
    if "*" not in value:
        return tlv(0xA3, tlv(0x04, name), tlv(0x04, _unescaped(value)))
    first, *middle, last = value.split("*")
    parts = [tlv(0x80, _unescaped(first))] if first else []
    parts += [tlv(0x81, _unescaped(one)) for one in middle if one]
    parts += [tlv(0x82, _unescaped(last))] if last else []
    return tlv(0xA4, tlv(0x04, name), tlv(0x30, *parts))


def _unescaped(value: str) -> bytes:
    if re.search(r"\\(?![0-9a-fA-F]{2})", value):
        raise _bad_filter("escape")
    return re.sub(rb"\\([0-9a-fA-F]{2})", lambda found: bytes((int(found[1], 16),)), value.encode("utf-8", "surrogatepass"))


# ------------------------------------------------------------------------------------------ reading

def message_size(head: bytes) -> int | None:
    """Give how many octets the message that begins with `head` has, None while it cannot be told. Raises LdapFault."""
    if head[:1] not in (b"", b"\x30"):
        raise _fault("not a message")
    if len(head) < 2:
        return None
    if head[1] < 0x80:
        return 2 + head[1]
    count = head[1] & 0x7F
    if not 1 <= count <= 4:
        raise _fault("length")
    if len(head) < 2 + count:
        return None
    size = 2 + count + int.from_bytes(head[2:2 + count], "big")
    if size > MAX_MESSAGE:
        raise LdapFault(say("message LDAP trop gros", "LDAP message is too large"), detail=f"> {MAX_MESSAGE} octets",
                        rule="LDAP-TAILLE")
    return size


class _Reader:
    """Elements of a stretch of octets, one after the other."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def tag(self) -> int:
        """Tag of the next element, 0 at the end."""
        return self._octets[self._at] if self._at < len(self._octets) else 0

    def take(self, *tags: int) -> bytes:
        """Give the content of the next element, whose tag must be one of these."""
        at, octets = self._at, self._octets
        if self.tag not in tags or at + 2 > len(octets):
            raise _fault("unexpected element")
        size, start = octets[at + 1], at + 2
        if size >= 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or start + count > len(octets):
                raise _fault("length")
            size, start = int.from_bytes(octets[start:start + count], "big"), start + count
        if start + size > len(octets):
            raise _fault("length beyond the end")
        self._at = start + size
        return octets[start:start + size]

    def integer(self, tag: int = 0x02) -> int:
        """Give a small integer."""
        content = self.take(tag)
        if not 1 <= len(content) <= 5:
            raise _fault("integer")
        return int.from_bytes(content, "big", signed=True)


def read_message(octets: bytes) -> LdapMessage:
    """Give one message of a server. Raises LdapFault."""
    reader = _Reader(_Reader(octets).take(0x30))
    number, kind = reader.integer(), reader.tag
    content = _Reader(reader.take(0x61, 0x64, 0x65, 0x73, 0x78, 0x79))
    if kind == 0x64:
        return LdapMessage(number, kind, entry=_entry(content))
    if kind in (0x73, 0x79):  # a reference to another server, an intermediate response: neither is used
        return LdapMessage(number, kind)
    code = content.integer(0x0A)
    content.take(0x04)
    text = content.take(0x04)[:300].decode("utf-8", "replace")
    cookie = _cookie(reader.take(0xA0)) if reader.tag == 0xA0 else b""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return LdapMessage(number, kind, result=LdapResult(code, shown, cookie))


def _cookie(controls: bytes) -> bytes:
    reader = _Reader(controls)
    for _ in range(20):
        if reader.tag != 0x30:
            break
        control = _Reader(reader.take(0x30))
        kind = control.take(0x04)
        if control.tag == 0x01:
            control.take(0x01)
        if kind == PAGED and control.tag == 0x04:
            value = _Reader(_Reader(control.take(0x04)).take(0x30))
            value.integer()
            return value.take(0x04)
    return b""


def _entry(reader: _Reader) -> LdapEntry:
    dn = reader.take(0x04)[:4096].decode("utf-8", "replace")
    listed = _Reader(reader.take(0x30))
    found: dict[str, tuple[bytes, ...]] = {}
    total = 0
    while listed.tag:
        attribute = _Reader(listed.take(0x30))
        name = attribute.take(0x04)[:200].decode("ascii", "replace").lower().partition(";")[0]
        values, many = [], _Reader(attribute.take(0x31))
        while many.tag:
            values.append(many.take(0x04))
            total += 1
            if total > MAX_VALUES:
                raise _fault("too many values")
        found[name] = (*found.get(name, ()), *values)
        if len(found) > MAX_ATTRIBUTES:
            raise _fault("too many attributes")
    return LdapEntry(dn, found)
