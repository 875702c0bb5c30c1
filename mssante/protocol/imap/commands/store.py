"""STORE and UID STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3)."""

from __future__ import annotations

import re

from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Store, StoreMode

MAX_MODSEQ = 9_223_372_036_854_775_807  # RFC 7162 §7: 63 bits

_ITEM = re.compile(rb"([+-]?)FLAGS(\.SILENT)?(?= )", re.IGNORECASE)
_MODES = {b"": StoreMode.SET, b"+": StoreMode.ADD, b"-": StoreMode.REMOVE}


def parse_store(tokens: Tokens, *, uid: bool = False) -> Store:
    """Read a set, `(UNCHANGEDSINCE n)`, the mode and the flags. Raises ClientFault."""
    tokens.space()
    numbers = tokens.sequence_set()
    tokens.space()
    unchanged = None
    if tokens.skip(b"("):
        if tokens.word() != "UNCHANGEDSINCE":
            tokens.fault("unknown STORE modifier")
        tokens.space()
        unchanged = tokens.number(MAX_MODSEQ)
        tokens.expect(b")", "a closing parenthesis")
        tokens.space()
    item = _ITEM.match(tokens.text, tokens.at)
    if item is None:
        tokens.fault("expected FLAGS, +FLAGS or -FLAGS")
    tokens.at = item.end()
    tokens.space()
    mask, keywords = tokens.flags()
    tokens.end()
    return Store(numbers, _MODES[item[1]], mask, keywords, silent=bool(item[2]), uid=uid, unchanged_since=unchanged)
