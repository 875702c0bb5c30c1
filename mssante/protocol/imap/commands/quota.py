"""GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208 §4.1, §7)."""

from __future__ import annotations

from mssante.protocol.imap.quotavalues import GetQuota, GetQuotaRoot, SetQuota
from mssante.protocol.imap.tokens import Tokens

MAX_ROOT = 512
MAX_RESOURCES = 20
_MOST = 9_223_372_036_854_775_807  # number64


def parse_getquota(tokens: Tokens) -> GetQuota:
    """Read the name of a quota root. Raises ClientFault."""
    root = _root(tokens)
    tokens.end()
    return GetQuota(root)


def parse_getquotaroot(tokens: Tokens) -> GetQuotaRoot:
    """Read a folder. Raises ClientFault."""
    tokens.space()
    folder = tokens.folder()
    tokens.end()
    return GetQuotaRoot(folder)


def parse_setquota(tokens: Tokens) -> SetQuota:
    """Read the name of a quota root and `(resource limit …)`. Raises ClientFault."""
    root = _root(tokens)
    tokens.space()
    tokens.expect(b"(", "a list of limits")
    limits: list[tuple[str, int]] = []
    while not tokens.skip(b")"):
        if limits:
            tokens.space()
        name = tokens.atom().decode("ascii").upper()
        tokens.space()
        limits.append((name, tokens.number(_MOST)))
        if len(limits) > MAX_RESOURCES:
            tokens.fault(f"more than {MAX_RESOURCES} resources")
    tokens.end()
    return SetQuota(root, tuple(limits))


def _root(tokens: Tokens) -> str:
    tokens.space()
    root = tokens.text_string()
    if len(root) > MAX_ROOT:
        tokens.fault(f"name of a quota root longer than {MAX_ROOT} characters")
    return root
