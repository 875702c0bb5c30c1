"""Reads the parenthesised data of IMAP (RFC 9051 §4.4) into nested tuples, strictly, so that tests can check its shape."""

from __future__ import annotations

Value = bytes | int | None | tuple["Value", ...]


def read(data: bytes) -> Value:
    """Give the one value that `data` holds: tuple, bytes, int, or None for NIL. Raises ValueError on anything else."""
    stack: list[list[Value]] = [[]]
    position = 0
    while position < len(data):
        mark = data[position:position + 1]
        if mark == b"(":
            stack.append([])
            position += 1
        elif mark == b")":
            done = tuple(stack.pop())
            stack[-1].append(done)
            position += 1
        elif mark == b" ":
            position += 1
        else:
            value, position = _atom(data, position, mark)
            stack[-1].append(value)
    if len(stack) != 1 or len(stack[0]) != 1:
        raise ValueError("unbalanced")
    return stack[0][0]


def _atom(data: bytes, position: int, mark: bytes) -> tuple[Value, int]:
    if mark == b'"':
        return _quoted(data, position + 1)
    if mark == b"{":
        stop = data.index(b"}\r\n", position)
        size = int(data[position + 1:stop])
        start = stop + 3
        if start + size > len(data) or b"\x00" in data[start:start + size]:
            raise ValueError("bad literal")
        return data[start:start + size], start + size
    if data[position:position + 3] == b"NIL":
        return None, position + 3
    end = position
    while data[end:end + 1].isdigit():
        end += 1
    if end == position:
        raise ValueError(f"unexpected octet at {position}")
    return int(data[position:end]), end


def _quoted(data: bytes, position: int) -> tuple[Value, int]:
    out = bytearray()
    while True:
        octet = data[position]
        if octet == 0x22:
            return bytes(out), position + 1
        if octet == 0x5C:
            position += 1
            octet = data[position]
            if octet not in b'"\\':
                raise ValueError("bad escape")
        elif octet in b"\r\n\x00" or octet > 0x7F:
            raise ValueError("octet not allowed in a quoted string")
        out.append(octet)
        position += 1


def check_body(value: Value, extended: bool = True) -> None:
    """Raise ValueError unless `value` has the shape of `body` (RFC 9051 §9), extensible or not."""
    if not isinstance(value, tuple) or not value:
        raise ValueError("body is not a list")
    if isinstance(value[0], tuple):
        _check_multipart(value, extended)
    else:
        _check_leaf(value, extended)


def _check_multipart(value: tuple[Value, ...], extended: bool) -> None:
    count = 0
    while isinstance(value[count], tuple):
        check_body(value[count], extended)
        count += 1
    if not isinstance(value[count], bytes) or len(value) != count + (5 if extended else 1):
        raise ValueError("bad multipart")


def _check_leaf(value: tuple[Value, ...], extended: bool) -> None:
    kind, subtype, parameters, identifier, description, encoding, size = value[:7]
    if not (isinstance(kind, bytes) and isinstance(subtype, bytes) and isinstance(encoding, bytes) and isinstance(size, int)):
        raise ValueError("bad basic fields")
    if parameters is not None and (not isinstance(parameters, tuple) or len(parameters) % 2):
        raise ValueError("bad parameters")
    if any(isinstance(one, (tuple, int)) for one in (identifier, description)):
        raise ValueError("bad identifier or description")
    own = 7
    if kind == b"TEXT":
        own = 8
    elif kind == b"MESSAGE" and subtype in (b"RFC822", b"GLOBAL"):
        own = 10
        check_envelope(value[7])
        check_body(value[8], extended)
    elif kind == b"MULTIPART":
        raise ValueError("a leaf cannot be a multipart")
    if len(value) != own + (4 if extended else 0):
        raise ValueError("bad number of fields")
    if own > 7 and not isinstance(value[own - 1], int):
        raise ValueError("line count is missing")


def check_envelope(value: Value) -> None:
    """Raise ValueError unless `value` has the shape of `envelope` (RFC 9051 §9)."""
    if not isinstance(value, tuple) or len(value) != 10:
        raise ValueError("bad envelope")
    for number, one in enumerate(value):
        if number not in range(2, 8):
            if not (one is None or isinstance(one, bytes)):
                raise ValueError("bad envelope string")
        elif one is not None and not (isinstance(one, tuple) and one and all(
                isinstance(entry, tuple) and len(entry) == 4 for entry in one)):
            raise ValueError("bad address list")
