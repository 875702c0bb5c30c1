"""COPY, MOVE and their UID forms (RFC 9051 §6.4.7, §6.4.8, §6.4.9)."""

from __future__ import annotations

from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Copy, Move


def parse_copy(tokens: Tokens, *, uid: bool = False) -> Copy:
    """Read a set and a folder. Raises ClientFault."""
    numbers, folder = _arguments(tokens)
    return Copy(numbers, folder, uid)


def parse_move(tokens: Tokens, *, uid: bool = False) -> Move:
    """Read a set and a folder. Raises ClientFault."""
    numbers, folder = _arguments(tokens)
    return Move(numbers, folder, uid)


def _arguments(tokens: Tokens) -> tuple[NumSet, str]:
    """Read `SP set SP folder` to the end."""
    tokens.space()
    numbers = tokens.sequence_set()
    tokens.space()
    folder = tokens.folder()
    tokens.end()
    return numbers, folder
