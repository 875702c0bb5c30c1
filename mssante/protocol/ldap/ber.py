"""BER as RFC 4511 §5.1 restricts it: definite lengths, one-octet tags. Every length is checked against what is there.

Never: recursion of its own, an allocation by an announced length. Anything else raises `LdapFault`. The only BER of LDAP here:
the server's side (`messages`, `filters`) and the client's (`client`, `filtertext`) stand on it.
"""

from __future__ import annotations

from mssante.errors import InputFault
from mssante.lang import say

MAX_REQUEST = 64 * 1024  # octets of one request


class LdapFault(InputFault):
    """Octets, or a filter, that cannot be read. rule: `LDAP-FORME`, `LDAP-TAILLE`, `LDAP-FILTRE`."""


def malformed(detail: str) -> LdapFault:
    """Give the fault of a message that cannot be read."""
    return LdapFault(say("message LDAP illisible", "unreadable LDAP message"), detail=detail, rule="LDAP-FORME")


def element(tag: int, *parts: bytes) -> bytes:
    """Give one element in octets."""
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def number(value: int, tag: int = 0x02) -> bytes:
    """Give an INTEGER (or ENUMERATED by its tag) in octets."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def message_size(head: bytes, limit: int = MAX_REQUEST) -> int | None:
    """Give the octets of the message that begins with `head`, None while it cannot be told. Raises LdapFault beyond `limit`."""
    if head[:1] not in (b"", b"\x30"):
        raise malformed("not a message")
    if len(head) < 2:
        return None
    size, start = head[1], 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4:
            raise malformed("length")
        if len(head) < 2 + count:
            return None
        size, start = int.from_bytes(head[2:2 + count], "big"), 2 + count
    if start + size > limit:
        raise LdapFault(say("message LDAP trop gros", "LDAP message is too large"), rule="LDAP-TAILLE",
                        detail=f"> {limit} octets")
    return start + size


class Reader:
    """Elements of a stretch of octets, one after the other."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def tag(self) -> int:
        """Tag of the next element, 0 at the end."""
        return self._octets[self._at] if self._at < len(self._octets) else 0

    def take(self, *tags: int) -> bytes:
        """Give the content of the next element, whose tag is one of these (any when none is named). Raises LdapFault."""
        octets, at = self._octets, self._at
        if at + 2 > len(octets) or (tags and octets[at] not in tags):
            raise malformed("unexpected element")
        size, start = octets[at + 1], at + 2
        if size >= 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or start + count > len(octets):
                raise malformed("length")
            size, start = int.from_bytes(octets[start:start + count], "big"), start + count
        if start + size > len(octets):
            raise malformed("length beyond the end")
        self._at = start + size
        return octets[start:start + size]

    def text(self, *tags: int) -> str:
        """Give the next element as UTF-8. Raises LdapFault."""
        try:
            return self.take(*tags or (0x04,)).decode("utf-8")
        except UnicodeDecodeError:
            raise malformed("not UTF-8") from None

    def integer(self, tag: int = 0x02) -> int:
        """Give a small integer. Raises LdapFault."""
        content = self.take(tag)
        if not 1 <= len(content) <= 5:
            raise malformed("integer")
        return int.from_bytes(content, "big", signed=True)
