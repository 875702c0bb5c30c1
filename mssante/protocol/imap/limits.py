"""Size limits of one IMAP connection, as one value (RELIABILITY: before login, at most 64 KiB per connection)."""

from __future__ import annotations

from dataclasses import dataclass

TAG = 100  # octets of a tag
LITERAL_MINUS = 4_096  # octets of a literal that comes unasked (RFC 7888 §5)
DEPTH = 20  # nested parentheses and NOT/OR of SEARCH


@dataclass(frozen=True, slots=True)
class Limits:
    """Octets unless said otherwise. *_before: while nobody is logged in.

    line: all lines of one command together; held: all its literals together (APPEND's message excepted);
    drop: octets of a refused command that are read and thrown away before the session is ended;
    faults: refused commands in a row before the session is ended; unasked: largest literal that may come without being asked
    for, when it is LITERAL- that is announced (RFC 7888 §5), None for LITERAL+.
    """

    line_before: int = 36_864  # an ID of 30 fields as long as they may be (RFC 2971 §3.3)
    line: int = 65_536
    held_before: int = 8_192
    held: int = 65_536
    drop_before: int = 65_536
    drop: int = 268_435_456
    read_before: int = 8_192
    read: int = 65_536
    faults_before: int = 10
    faults: int = 100
    unasked: int | None = None
