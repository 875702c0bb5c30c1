"""What a server announces in its EHLO reply (RFC 5321 §4.1.1.1), as a value.

Never: keeps what was said before STARTTLS (the client core throws that value away, RFC 3207 §4.2).
Called by `protocol/smtp/client.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.protocol.smtp.replies import Reply


@dataclass(frozen=True, slots=True)
class Extensions:
    """keywords: upper-case names announced; size_limit: octets, 0 when none is stated (RFC 1870 §4)."""

    keywords: frozenset[str] = frozenset()
    size_limit: int = 0

    @property
    def starttls(self) -> bool:
        """RFC 3207."""
        return "STARTTLS" in self.keywords

    @property
    def pipelining(self) -> bool:
        """RFC 2920."""
        return "PIPELINING" in self.keywords

    @property
    def size(self) -> bool:
        """RFC 1870."""
        return "SIZE" in self.keywords

    @property
    def eight_bit(self) -> bool:
        """RFC 6152."""
        return "8BITMIME" in self.keywords

    @property
    def smtputf8(self) -> bool:
        """RFC 6531."""
        return "SMTPUTF8" in self.keywords

    @property
    def dsn(self) -> bool:
        """RFC 3461."""
        return "DSN" in self.keywords


def parse_extensions(reply: Reply) -> Extensions:
    """Give the extensions of a 250 reply to EHLO; its first line is the greeting. Odd lines are passed over."""
    keywords: set[str] = set()
    size_limit = 0
    for line in reply.lines[1:]:
        words = line.split()
        if not words:
            continue
        keyword = words[0].upper()
        keywords.add(keyword)
        # RFC 1870 §4: at most 20 digits; 0 or nothing says no fixed limit
        if keyword == "SIZE" and len(words) > 1 and words[1].isascii() and words[1].isdigit() and len(words[1]) <= 20:
            size_limit = int(words[1])
    return Extensions(frozenset(keywords), size_limit)
