"""From BODYSTRUCTURE to BODY (RFC 9051 §7.5.2): the same list without its extension data.

Stored messages keep BODYSTRUCTURE as encoded bytes; FETCH BODY needs the form that ends where extension data begin.
Reads only what our own MIME scanner wrote: input that does not have the shape gives itself back, never a fault.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(rb"\(|\)|\"(?:[^\"\\]|\\.)*\"|\{([0-9]+)\}\r\n|[^ ()\"{]+", re.DOTALL)
_BASIC = 7  # type subtype parameters id description encoding octets
_TEXT = 8  # … lines
_MESSAGE = 10  # … envelope body lines
MAX_DEPTH = 100

_Node = bytes | list["_Node"]


@lru_cache(maxsize=256)
def strip_extensions(encoded: bytes) -> bytes:
    """Give BODY from an encoded BODYSTRUCTURE."""
    tree = _read(encoded)
    return encoded if not isinstance(tree, list) else _write(_strip(tree))


def _read(encoded: bytes) -> _Node | None:
    """Give nested lists of encoded items; None when the shape is not that of one list, or too deep."""
    root: list[_Node] = []
    stack = [root]
    at = 0
    while at < len(encoded):
        if encoded[at] == 0x20:
            at += 1
            continue
        found = _TOKEN.match(encoded, at)
        if found is None or len(stack) > MAX_DEPTH:
            return None
        token, at = found[0], found.end()
        if token == b"(":
            inner: list[_Node] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif token == b")":
            stack.pop()
            if not stack:
                return None
        elif found[1] is not None:
            end = at + int(found[1])
            stack[-1].append(encoded[found.start():end])
            at = end
        else:
            stack[-1].append(token)
    return root[0] if len(stack) == 1 and len(root) == 1 else None


def _strip(body: list[_Node]) -> list[_Node]:
    """Cut extension data at every level."""
    if body and isinstance(body[0], list):  # multipart: parts, then the subtype
        parts: list[_Node] = []
        for item in body:
            if not isinstance(item, list):
                return [*parts, item]
            parts.append(_strip(item))
        return parts
    kind = body[0].upper() if body and isinstance(body[0], bytes) else b""
    if kind == b'"TEXT"':
        return body[:_TEXT]
    if kind == b'"MESSAGE"' and len(body) >= _MESSAGE and isinstance(body[8], list):
        return [*body[:8], _strip(body[8]), body[9]]
    return body[:_BASIC]


def _write(node: _Node) -> bytes:
    """Encode nested lists again; the parts of a multipart stand without space between them (RFC 9051 §9 body)."""
    if isinstance(node, bytes):
        return node
    out: list[bytes] = []
    for index, item in enumerate(node):
        if index and not (isinstance(item, list) and isinstance(node[index - 1], list) and isinstance(node[0], list)):
            out.append(b" ")
        out.append(_write(item))
    return b"(" + b"".join(out) + b")"
