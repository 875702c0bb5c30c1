"""What a script sees of a message: its header as scanned once, its envelope and its size. Never its body, never a MIME parse.

- Values are decoded (RFC 2047, UTF-8) only when a test asks for them, and once; at most `MAX_VALUE` characters of each,
  `MAX_FIELDS` fields of one name. Octets that are no text, NUL included, become spaces or replacement letters, never a fault.
Called by `interpreter` (reads) and `services.sieve`, `mssante sieve test` (make it).
"""

from __future__ import annotations

from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import Headers, decode_words, parse_headers

MAX_VALUE = 8_192
MAX_FIELDS = 100
MAX_ADDRESSES = 1_000


class MessageView:
    """One message. sender: envelope sender, empty for the null one; recipient: the envelope recipient that is ours."""

    __slots__ = ("_addresses", "_decoded", "headers", "recipient", "sender", "size")

    def __init__(self, headers: Headers, *, sender: str, recipient: str, size: int) -> None:
        self.headers = headers
        self.sender = sender
        self.recipient = recipient
        self.size = size
        self._decoded: dict[str, tuple[str, ...]] = {}
        self._addresses: dict[str, tuple[tuple[str, str], ...]] = {}

    @classmethod
    def of(cls, head: bytes, *, sender: str, recipient: str, size: int) -> MessageView:
        """Make a view from the octets of a header."""
        return cls(parse_headers(head), sender=sender, recipient=recipient, size=size)

    def to(self, recipient: str) -> MessageView:
        """Give the same message for another recipient; what was decoded is shared."""
        other = MessageView(self.headers, sender=self.sender, recipient=recipient, size=self.size)
        other._decoded, other._addresses = self._decoded, self._addresses
        return other

    def has(self, name: str) -> bool:
        """Tell if a field of this name (lower case) is there."""
        return self.headers.get(name.encode("ascii", "replace")) is not None

    def values(self, name: str) -> tuple[str, ...]:
        """Give the decoded values of a field (lower case name), stripped, in order (RFC 5228 §2.4.2.2)."""
        known = self._decoded.get(name)
        if known is None:
            raw = self.headers.all(name.encode("ascii", "replace"))[:MAX_FIELDS]
            known = self._decoded[name] = tuple([decode_words(value, MAX_VALUE) for value in raw])
        return known

    def addresses(self, name: str) -> tuple[tuple[str, str], ...]:
        """Give (local part, domain) of the addresses of a field; groups are left out (RFC 5228 §2.7.4)."""
        known = self._addresses.get(name)
        if known is None:
            known = self._addresses[name] = tuple(self._read(name))[:MAX_ADDRESSES]
        return known

    def _read(self, name: str) -> list[tuple[str, str]]:
        found = []
        for value in self.headers.all(name.encode("ascii", "replace"))[:MAX_FIELDS]:
            for one in parse_addresses(value):
                if one.local is not None and one.domain is not None:
                    found.append((one.local.decode("utf-8", "replace"), one.domain.decode("utf-8", "replace")))
        return found
