"""Strings as IMAP writes them in ENVELOPE and BODYSTRUCTURE (RFC 9051 §4.3, §9 nstring).

- A string is quoted when it is short plain ASCII, otherwise a literal `{n}` CRLF octets, so that 8-bit octets and line
  ends of strange headers reach the client and never break the response.
- Capped at `MAX_STRING` octets. Called by mime.imapview and, for parameters, by mime.parameters.
"""

from __future__ import annotations

import re

MAX_STRING = 8_192
MAX_QUOTED = 1_000  # longer strings go as literals: some clients read lines into small buffers

# Octets that a quoted string may hold as they are (RFC 9051 §9 QUOTED-CHAR without escapes).
_PLAIN = re.compile(rb'[^\x00\r\n"\\\x80-\xff]{0,1000}\Z').match


def nstring(value: bytes | None) -> bytes:
    """Give `NIL`, a quoted string, or a literal; at most `MAX_STRING` octets of the value. NUL becomes a question
    mark.
    """
    if value is None:
        return b"NIL"
    if _PLAIN(value):
        return b'"' + value + b'"'
    value = value[:MAX_STRING]
    if len(value) <= MAX_QUOTED and value.isascii() and not (b"\r" in value or b"\n" in value or b"\x00" in value):
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%b" % (len(value), value.replace(b"\x00", b"?"))  # CHAR8: no literal holds NUL


def parameter_list(pairs: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Give `("NAME" "value" …)` or `NIL` (RFC 9051 §9 body-fld-param)."""
    if not pairs:
        return b"NIL"
    return b"(" + b" ".join([nstring(name.upper()) + b" " + nstring(value) for name, value in pairs]) + b")"
