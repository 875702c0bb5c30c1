"""What an LDAPv3 client sends and reads (RFC 4511, paged results of RFC 2696). Pure.

- Nesting of answers is that of the protocol (no recursion), counts and octets are bounded. Anything else raises `LdapFault`.
- References and intermediate responses are told apart and never followed.
Called by `transport.ldap_client`. The server's side is `messages`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mssante.protocol.ldap import messages
from mssante.protocol.ldap.ber import Reader, element, malformed
from mssante.protocol.ldap.ber import number as integer
from mssante.protocol.ldap.filtertext import compile_filter

MAX_ANSWER = 4 * 1024 * 1024  # octets of one message of a server
MAX_VALUES = 5000
MAX_ATTRIBUTES = 500
PAGED = messages.PAGED.encode()
STARTTLS = b"1.3.6.1.4.1.1466.20037"  # RFC 4511 §4.14


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


def bind_request(number: int, dn: str, password: str) -> bytes:
    """Simple bind (RFC 4511 §4.2)."""
    return element(0x30, integer(number), element(0x60, integer(3), element(0x04, dn.encode()), element(0x80, password.encode())))


def unbind_request(number: int) -> bytes:
    """Unbind (RFC 4511 §4.3)."""
    return element(0x30, integer(number), element(0x42))


def starttls_request(number: int) -> bytes:
    """StartTLS (RFC 4511 §4.14.1)."""
    return element(0x30, integer(number), element(0x77, element(0x80, STARTTLS)))


def abandon_request(number: int, other: int) -> bytes:
    """Abandon an operation (RFC 4511 §4.11)."""
    return element(0x30, integer(number), integer(other, 0x50))


def search_request(number: int, query: Query) -> bytes:
    """Search with the paged results control (RFC 4511 §4.5.1, RFC 2696 §3); aliases are not followed."""
    operation = element(0x63, element(0x04, query.base.encode()), integer(query.scope, 0x0A), integer(0, 0x0A),
                    integer(query.size_limit), integer(query.time_limit), element(0x01, b"\0"), compile_filter(query.filter),
                    element(0x30, *[element(0x04, name.encode()) for name in query.attributes]))
    value = element(0x30, integer(query.page), element(0x04, query.cookie))
    control = element(0x30, element(0x04, PAGED), element(0x01, b"\0"), element(0x04, value))
    return element(0x30, integer(number), operation, element(0xA0, control))


# ------------------------------------------------------------------------------------------ reading


def read_message(octets: bytes) -> LdapMessage:
    """Give one message of a server. Raises LdapFault."""
    reader = Reader(Reader(octets).take(0x30))
    number, kind = reader.integer(), reader.tag
    content = Reader(reader.take(0x61, 0x64, 0x65, 0x73, 0x78, 0x79))
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
    reader = Reader(controls)
    for _ in range(20):
        if reader.tag != 0x30:
            break
        control = Reader(reader.take(0x30))
        kind = control.take(0x04)
        if control.tag == 0x01:
            control.take(0x01)
        if kind == PAGED and control.tag == 0x04:
            value = Reader(Reader(control.take(0x04)).take(0x30))
            value.integer()
            return value.take(0x04)
    return b""


def _entry(reader: Reader) -> LdapEntry:
    dn = reader.take(0x04)[:4096].decode("utf-8", "replace")
    listed = Reader(reader.take(0x30))
    found: dict[str, tuple[bytes, ...]] = {}
    total = 0
    while listed.tag:
        attribute = Reader(listed.take(0x30))
        name = attribute.take(0x04)[:200].decode("ascii", "replace").lower().partition(";")[0]
        values, many = [], Reader(attribute.take(0x31))
        while many.tag:
            values.append(many.take(0x04))
            total += 1
            if total > MAX_VALUES:
                raise malformed("too many values")
        found[name] = (*found.get(name, ()), *values)
        if len(found) > MAX_ATTRIBUTES:
            raise malformed("too many attributes")
    return LdapEntry(dn, found)
