"""Requests read and answers written, one message at a time (RFC 4511 §4). Attributes of answers: name to values, in text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mssante.protocol.ldap.ber import Reader, element, malformed, number
from mssante.protocol.ldap.filters import Filter, read_filter

BIND, UNBIND, SEARCH, ABANDON, EXTENDED = 0x60, 0x42, 0x63, 0x50, 0x77
ANSWERS = {0x60: 0x61, 0x63: 0x65, 0x66: 0x67, 0x68: 0x69, 0x4A: 0x6B, 0x6C: 0x6D, 0x6E: 0x6F, 0x77: 0x78}
PAGED = "1.2.840.113556.1.4.319"  # RFC 2696
WHO_AM_I = "1.3.6.1.4.1.4203.1.11.3"  # RFC 4532
NOTICE = "1.3.6.1.4.1.1466.20036"  # RFC 4511 §4.4.1
SUCCESS, PROTOCOL_ERROR, TIME_LIMIT, SIZE_LIMIT, METHOD, ADMIN_LIMIT = 0, 2, 3, 4, 7, 11
CRITICAL, NO_SUCH_OBJECT, CREDENTIALS, ACCESS, BUSY, UNAVAILABLE, UNWILLING = 12, 32, 49, 50, 51, 52, 53
MAX_CONTROLS = 20
MAX_NAMES = 200


@dataclass(frozen=True, slots=True)
class Bind:
    """A bind. password: None for a method that is not simple."""

    version: int
    name: str
    password: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Search:
    """A search. scope: 0 base, 1 one level, 2 subtree; limits: 0 for none; names: attributes asked, lower-case."""

    base: str
    scope: int
    size_limit: int
    time_limit: int
    types_only: bool
    filter: Filter
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. kind: tag of its operation; oid: of an extended one; page, cookie: of RFC 2696; critical: a critical control
    that nobody here knows."""

    id: int
    kind: int
    bind: Bind | None = None
    search: Search | None = None
    oid: str = ""
    page: int | None = None
    cookie: bytes = b""
    critical: bool = False


def read_request(octets: bytes) -> Request:
    """Give the request in the octets of one message. Raises LdapFault."""
    reader = Reader(Reader(octets).take(0x30))
    identifier, kind = reader.integer(), reader.tag
    if not 0 < identifier < 1 << 31:
        raise malformed("message number")
    content = Reader(reader.take())
    page, cookie, critical = _controls(Reader(reader.take(0xA0))) if reader.tag == 0xA0 else (None, b"", False)
    bind = _bind(content) if kind == BIND else None
    search = _search(content) if kind == SEARCH else None
    oid = content.text(0x80) if kind == EXTENDED else ""
    return Request(identifier, kind, bind, search, oid, page, cookie, critical)


def _bind(reader: Reader) -> Bind:
    version, name = reader.integer(), reader.text()
    return Bind(version, name, reader.take(0x80) if reader.tag == 0x80 else None)


def _search(reader: Reader) -> Search:
    base, scope = reader.text(), reader.integer(0x0A)
    reader.integer(0x0A)  # aliases: there are none
    size, time, types_only = reader.integer(), reader.integer(), reader.take(0x01) != b"\0"
    if scope not in (0, 1, 2) or size < 0 or time < 0:
        raise malformed("scope or limits")
    filter_, names, listed = read_filter(reader), [], Reader(reader.take(0x30))
    while listed.tag:
        names.append(listed.text().lower())
        if len(names) > MAX_NAMES:
            raise malformed("too many attributes")
    return Search(base, scope, size, time, types_only, filter_, tuple(names))


def _controls(reader: Reader) -> tuple[int | None, bytes, bool]:
    page, cookie, critical, count = None, b"", False, 0
    while reader.tag:
        count += 1
        control = Reader(reader.take(0x30))
        oid = control.text()
        wanted = control.tag == 0x01 and control.take(0x01) != b"\0"
        if count > MAX_CONTROLS:
            raise malformed("too many controls")
        if oid == PAGED:
            value = Reader(Reader(control.take(0x04)).take(0x30))
            page, cookie = value.integer(), value.take(0x04)
        else:
            critical = critical or wanted
    return page, cookie, critical


def result(identifier: int, kind: int, code: int, text: str = "", cookie: bytes | None = None) -> bytes:
    """Give the result (RFC 4511 §4.1.9) of a request of this kind. cookie: of the paged results control, None without it."""
    parts = element(ANSWERS[kind], number(code, 0x0A), element(0x04), element(0x04, text.encode()))
    control = b""
    if cookie is not None:
        value = element(0x30, number(0), element(0x04, cookie))
        control = element(0xA0, element(0x30, element(0x04, PAGED.encode()), element(0x04, value)))
    return element(0x30, number(identifier), parts, control)


def who_am_i(identifier: int, identity: str) -> bytes:
    """Give the answer of WhoAmI (RFC 4532 §2.2). identity: `u:login`, empty for anonymous."""
    return element(0x30, number(identifier), element(0x78, number(0, 0x0A), element(0x04), element(0x04),
                                                     element(0x8B, identity.encode())))


def notice(code: int, text: str) -> bytes:
    """Give the notice of disconnection (RFC 4511 §4.4.1)."""
    return element(0x30, number(0), element(0x78, number(code, 0x0A), element(0x04), element(0x04, text.encode()),
                                            element(0x8A, NOTICE.encode())))


def entry(identifier: int, name: str, attributes: Mapping[str, Sequence[str]], *, types_only: bool = False) -> bytes:
    """Give one found entry (RFC 4511 §4.5.2)."""
    listed = [element(0x30, element(0x04, kind.encode()),
                      element(0x31, *[element(0x04, one.encode()) for one in (() if types_only else values)]))
              for kind, values in attributes.items()]
    return element(0x30, number(identifier), element(0x64, element(0x04, name.encode()), element(0x30, *listed)))
