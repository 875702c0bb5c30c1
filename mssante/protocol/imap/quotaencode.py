"""The answers QUOTA and QUOTAROOT as bytes (RFC 9208 §4.2). Called by `services/imap/quota.py`."""

from __future__ import annotations

from collections.abc import Iterable

from mssante.protocol.imap.encode import CRLF, astring, folder_name


def quota_line(root: str, resources: Iterable[tuple[str, int, int]]) -> bytes:
    """Give `* QUOTA root (resource usage limit …)` (§4.2.1)."""
    words = b" ".join([b"%b %d %d" % (name.encode("ascii"), used, limit) for name, used, limit in resources])
    return b"* QUOTA " + astring(root.encode("utf-8")) + b" (" + words + b")" + CRLF


def quotaroot_line(folder: str, roots: Iterable[str], *, utf8: bool) -> bytes:
    """Give `* QUOTAROOT folder root…` (§4.2.2)."""
    return b" ".join([b"* QUOTAROOT", folder_name(folder, utf8), *(astring(root.encode("utf-8")) for root in roots)]) + CRLF
