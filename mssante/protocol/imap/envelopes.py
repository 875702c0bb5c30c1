"""Reads back an ENVELOPE that `mime/imapview.py` encoded: its ten fields, their texts, their addresses.

- The common envelope (no literal in it) is cut by one regular expression; another one is walked token by token.
- Any octets are read without fault: what does not look like an envelope has empty fields.
- Pure. Called by `services/imap/headcolumns.py` for SEARCH, SORT and THREAD.
"""

from __future__ import annotations

import re

_QUOTED = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRING = rb"(?:NIL|" + _QUOTED + rb")"
_LIST = rb"(?:NIL|\((?:\(" + rb" ".join([_STRING] * 4) + rb"\))++\))"
_FIELDS = re.compile(rb"\(" + rb" ".join([rb"(%b)" % part for part in [_STRING] * 2 + [_LIST] * 6 + [_STRING] * 2]) + rb"\)",
                     re.DOTALL)
_FIRST_TWO = re.compile(rb"\((" + _STRING + rb") (" + _STRING + rb") ", re.DOTALL)
_TOKEN = re.compile(rb"\(|\)|(" + _QUOTED + rb")|\{([0-9]{1,19})\}\r\n|NIL", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_NIL = b"NIL"

Address = tuple[bytes, bytes, bytes, bytes]  # display name, route, local part or group name, domain; empty when NIL

DATE, SUBJECT, FROM, SENDER, REPLY_TO, TO, CC, BCC, IN_REPLY_TO, MESSAGE_ID = range(10)


def fields(envelope: bytes) -> tuple[bytes, ...]:
    """Give the ten fields of RFC 9051 §7.5.2 as they are encoded."""
    found = _FIELDS.fullmatch(envelope)
    return found.groups() if found is not None else _walked(envelope)


def subject(envelope: bytes) -> bytes:
    """Give the second field alone, as it is encoded."""
    found = _FIRST_TWO.match(envelope)
    return found[2] if found is not None else _walked(envelope)[SUBJECT]


def _walked(envelope: bytes) -> tuple[bytes, ...]:
    """The same, token by token: literals may hold anything."""
    out: list[bytes] = []
    depth = at = start = 0
    while len(out) < 10 and (found := _TOKEN.search(envelope, at)) is not None:
        begin, at = found.span()
        if found[2] is not None:
            at = min(at + int(found[2]), len(envelope))
        if found[0] == b"(":
            depth += 1
            start = begin if depth == 2 else start
        elif found[0] == b")":
            depth -= 1
            if depth == 1:
                out.append(envelope[start:at])
            if depth <= 0:
                break
        elif depth == 1:
            out.append(envelope[begin:at])
    return (*out, *[_NIL] * (10 - len(out)))


def text(field: bytes) -> bytes:
    """Give the octets of an encoded string; empty for NIL and for anything else."""
    if field.startswith(b'"'):
        raw = field[1:-1]
        return _ESCAPED.sub(rb"\1", raw) if b"\\" in raw else raw
    if field.startswith(b"{"):
        return field.partition(b"}\r\n")[2]
    return b""


def addresses(field: bytes) -> list[Address]:
    """Give the entries of an encoded address list; group marks included (RFC 9051 §7.5.2)."""
    out: list[Address] = []
    entry: list[bytes] = []
    depth = at = 0
    while (found := _TOKEN.search(field, at)) is not None:
        begin, at = found.span()
        if found[2] is not None:
            at = min(at + int(found[2]), len(field))
        if found[0] == b"(":
            depth += 1
            entry = []
        elif found[0] == b")":
            if depth == 2:
                name, route, local, domain = [*entry[:4], *[b""] * (4 - len(entry))]
                out.append((name, route, local, domain))
            depth -= 1
        else:
            entry.append(text(field[begin:at]))
    return out
