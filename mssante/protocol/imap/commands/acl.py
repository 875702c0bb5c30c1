"""SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3, §7).

Identifiers are logins, so they compare without case: they are read in lower case. What may not stand in one (control
characters, blanks, nothing) is a BAD, as an unknown right is (§3.1).
"""

from __future__ import annotations

import unicodedata

from mssante.protocol.imap import rights
from mssante.protocol.imap.aclvalues import DeleteAcl, GetAcl, ListRights, MyRights, SetAcl
from mssante.protocol.imap.tokens import Tokens


def parse_setacl(tokens: Tokens) -> SetAcl:
    """Read folder, identifier and `[+-]rights`. Raises ClientFault."""
    folder = _folder(tokens)
    identifier, _ = _identifier(tokens)
    tokens.space()
    letters = tokens.text_string()
    tokens.end()
    mode = letters[:1] if letters[:1] in ("+", "-") else ""
    letters = letters[len(mode):]
    if rights.unknown(letters):
        tokens.fault("unknown right")  # RFC 4314 §3.1: never ignored
    return SetAcl(folder, identifier, mode, rights.ordered(letters))


def parse_deleteacl(tokens: Tokens) -> DeleteAcl:
    """Read folder and identifier. Raises ClientFault."""
    folder = _folder(tokens)
    identifier, _ = _identifier(tokens)
    tokens.end()
    return DeleteAcl(folder, identifier)


def parse_getacl(tokens: Tokens) -> GetAcl:
    """Read a folder. Raises ClientFault."""
    folder = _folder(tokens)
    tokens.end()
    return GetAcl(folder)


def parse_listrights(tokens: Tokens) -> ListRights:
    """Read folder and identifier. Raises ClientFault."""
    folder = _folder(tokens)
    identifier, written = _identifier(tokens)
    tokens.end()
    return ListRights(folder, identifier, written)


def parse_myrights(tokens: Tokens) -> MyRights:
    """Read a folder. Raises ClientFault."""
    folder = _folder(tokens)
    tokens.end()
    return MyRights(folder)


def _folder(tokens: Tokens) -> str:
    tokens.space()
    return tokens.folder()


def _identifier(tokens: Tokens) -> tuple[str, str]:
    """Read an identifier: give its compared form and what was written."""
    tokens.space()
    written = tokens.text_string()
    name = unicodedata.normalize("NFKC", written)  # RFC 4314 §3: SASLprep, whose core is NFKC
    bare = name[1:] if name.startswith("-") else name
    if not bare or len(name) > rights.MAX_IDENTIFIER or not bare.isprintable() or " " in bare:
        tokens.fault("malformed identifier")
    return name.lower(), written
