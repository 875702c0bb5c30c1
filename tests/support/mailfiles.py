"""Letters, Maildirs and mbox files for tests of imports; all synthetic."""

from __future__ import annotations

import os
from pathlib import Path


def small_letter(mark: str, size: int = 200) -> bytes:
    """Give a letter with LF line ends."""
    head = (f"From: <a@exemple.test>\nTo: <b@exemple.test>\nSubject: essai\nDate: Mon, 23 Nov 2026 01:00:00 +0000\n"
            f"Message-ID: <{mark}@exemple.test>\nX-Id: {mark}\n\n").encode()
    return head + (mark.encode() + b" texte\n") * max(1, (size - len(head)) // (len(mark) + 7))


def crlf(raw: bytes) -> bytes:
    """Give a letter as it is stored."""
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def make_maildir(root: Path) -> None:
    """Make the three directories."""
    for part in ("cur", "new", "tmp"):
        (root / part).mkdir(parents=True)


def put(root: Path, name: str, raw: bytes, at: int = 1_700_000_000) -> Path:
    """Write a message file (`cur/…` or `new/…`) with its time."""
    path = root / name
    path.write_bytes(raw)
    os.utime(path, (at, at))
    return path


def mbox(*letters: bytes, extra: str = "") -> bytes:
    """Give an mboxrd file of letters."""
    out = b""
    for rank, raw in enumerate(letters):
        quoted = b"".join((b">" if line.lstrip(b">").startswith(b"From ") else b"") + line for line in raw.splitlines(keepends=True))
        out += f"From a@exemple.test Mon Nov 23 01:02:{rank % 60:02d} 2026\n{extra}".encode() + quoted + b"\n"
    return out
