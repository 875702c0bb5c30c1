"""APPEND up to its message (RFC 9051 §6.3.12): folder, flags, date. The message itself is never held here.

The receiver stops before the literal's marker; `parse_append` reads what stands before it, so that folder, quota and
size can be refused before the client sends anything.
"""

from __future__ import annotations

from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Append


def parse_append(tokens: Tokens, *, size: int, binary: bool) -> Append:
    """Read `SP folder SP [flags SP] [date-time SP]`, then the announced literal. Raises ClientFault.

    size: octets announced; binary: announced as literal8.
    """
    tokens.space()
    folder = tokens.folder()
    tokens.space()
    mask = 0
    keywords: tuple[str, ...] = ()
    if tokens.peek() == 0x28:
        mask, keywords = tokens.flag_list()
        tokens.space()
    date = None
    if tokens.peek() == 0x22:
        date = tokens.date_time()
        tokens.space()
    if not tokens.ended:
        tokens.fault("expected the message as a literal")
    return Append(folder, size, flags=mask, keywords=keywords, internal_date=date, binary=binary)


def parse_append_without_message(tokens: Tokens) -> Append:
    """Refuse an APPEND whose line has no message literal. Always raises ClientFault."""
    tokens.at = len(tokens.text)
    tokens.fault("expected the message as a literal")
