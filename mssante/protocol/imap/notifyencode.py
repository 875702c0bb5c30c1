"""What NOTIFY tells that no other command does, as bytes (RFC 5465 §5). Called by `services/imap/notify.py`."""

from __future__ import annotations

from collections.abc import Sequence

from mssante.protocol.imap.encode import CRLF, astring, folder_name, list_line, ok
from mssante.protocol.imap.values import ListAnswer


def renamed_line(answer: ListAnswer, old_name: str, *, utf8: bool) -> bytes:
    """Give `* LIST () "/" new ("OLDNAME" (old))` (§5.4, RFC 5258 §6)."""
    line = list_line(answer, utf8=utf8)
    return line[:-len(CRLF)] + b' ("OLDNAME" (' + folder_name(old_name, utf8) + b"))" + CRLF


def metadata_line(folder: str, entries: Sequence[str], *, utf8: bool) -> bytes:
    """Give `* METADATA folder entry…`, names only (§5.6, RFC 5464 §4.4.2); folder: empty for the server."""
    name = folder_name(folder, utf8) if folder else b'""'
    return b"* METADATA " + name + b" " + b" ".join(astring(entry.encode("utf-8"), utf8=utf8) for entry in entries) + CRLF


def overflow_line() -> bytes:
    """Give the line that says that nothing more will be told (§5.8)."""
    return ok("too much happens, ask again with NOTIFY", b"NOTIFICATIONOVERFLOW")
