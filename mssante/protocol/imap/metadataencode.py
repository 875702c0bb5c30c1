"""The METADATA answer with values, as bytes (RFC 5464 §4.4.1). Called by `services/imap/{metadata,list}.py`."""

from __future__ import annotations

from collections.abc import Iterable

from mssante.protocol.imap.encode import CRLF, NIL, astring, folder_name, literal, string


def metadata_values_line(folder: str, values: Iterable[tuple[str, bytes | None]], *, utf8: bool) -> bytes:
    """Give `* METADATA folder (entry value …)`; None is NIL. folder: empty for the server."""
    name = folder_name(folder, utf8) if folder else b'""'
    parts = [piece for entry, value in values for piece in (astring(entry.encode("ascii", "replace")), _value(value))]
    return b"* METADATA " + name + b" (" + b" ".join(parts) + b")" + CRLF


def _value(value: bytes | None) -> bytes:
    """Give `nstring / literal8`: what holds NUL can only be the latter (RFC 5464 §5)."""
    if value is None:
        return NIL
    return literal(value, binary=True) if b"\0" in value else string(value)
