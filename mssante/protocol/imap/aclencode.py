"""Answers about rights as bytes: ACL, LISTRIGHTS, MYRIGHTS, NAMESPACE, PERMANENTFLAGS by rights (RFC 4314 §3.6 to §3.8, §5.1.1).

Called by `services/imap/{acl,list,select}.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mssante.model.message import Flags
from mssante.protocol.imap import rights
from mssante.protocol.imap.encode import CRLF, NIL, astring, folder_name, string

_WORDS = ((Flags.ANSWERED, b"\\Answered"), (Flags.FLAGGED, b"\\Flagged"), (Flags.DELETED, b"\\Deleted"),
          (Flags.SEEN, b"\\Seen"), (Flags.DRAFT, b"\\Draft"))


def _rights(letters: str) -> bytes:
    return letters.encode("ascii") if letters else b'""'


def acl_line(name: str, entries: Iterable[tuple[str, str]], *, utf8: bool = False) -> bytes:
    """Give `* ACL name identifier rights …` (RFC 4314 §3.6)."""
    parts = [b"* ACL " + folder_name(name, utf8)]
    for identifier, letters in entries:
        parts += [astring(identifier.encode("utf-8", "replace"), utf8=utf8), _rights(rights.told(letters))]
    return b" ".join(parts) + CRLF


def listrights_line(name: str, identifier: str, granted: tuple[str, Sequence[str]], *, utf8: bool = False) -> bytes:
    """Give `* LISTRIGHTS name identifier always optional …` (RFC 4314 §3.7). granted: (rights always held, others)."""
    always, optional = granted
    parts = [b"* LISTRIGHTS", folder_name(name, utf8), astring(identifier.encode("utf-8", "replace"), utf8=utf8),
             _rights(always), *map(_rights, optional)]
    return b" ".join(parts) + CRLF


def myrights_line(name: str, letters: str, *, utf8: bool = False) -> bytes:
    """Give `* MYRIGHTS name rights` (RFC 4314 §3.8)."""
    return b"* MYRIGHTS " + folder_name(name, utf8) + b" " + _rights(rights.told(letters)) + CRLF


def namespace_line(others: str, *, utf8: bool = False) -> bytes:
    """Give `* NAMESPACE`: the personal one, that of other users (its prefix, with its `/`), none shared (RFC 2342 §5)."""
    prefix = string(others.encode("utf-8"), utf8=utf8)
    return b'* NAMESPACE (("" "/")) ((' + prefix + b' "/")) ' + NIL + CRLF


def code_permanent_flags(letters: Iterable[str], keywords: Iterable[str] = ()) -> bytes:
    """Give PERMANENTFLAGS for somebody who has these rights (RFC 4314 §5.1.1). keywords: those in use."""
    mask = rights.flag_mask(letters)
    words = [word for flag, word in _WORDS if mask & flag]
    if mask & Flags.FLAGGED:
        words += [*(word.encode("ascii", "replace") for word in keywords), b"\\*"]
    return b"PERMANENTFLAGS (" + b" ".join(words) + b")"
