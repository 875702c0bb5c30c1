"""Names of a Maildir and its Maildir++ folders: flags in file names, keyword letters, folder names.

- A file name is `unique[,S=octets][,W=octets][:2,letters]`; the unique part names the message for good.
- Lower-case letters are keywords, listed by Dovecot in `dovecot-keywords` (26 at most).
- Folder `.A.B` is B below A; its name is modified UTF-7, or UTF-8 where a server was told so.
- Pure functions that never raise; whoever reads the folder is services/importing_files.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mssante.model.message import Flags
from mssante.protocol.imap.mutf7 import decode
from mssante.protocol.mime.mbox import is_keyword

_NAME = re.compile(r"(.*?)(?:,[SW]=[0-9]{1,20})*(?:[:;!]2,([^:;!]*))?\Z", re.DOTALL)
_FLAGS = {"S": Flags.SEEN, "R": Flags.ANSWERED, "F": Flags.FLAGGED, "T": Flags.DELETED, "D": Flags.DRAFT}
_PASSED = "P"  # given to someone else: RFC 5788 `$Forwarded`
MAX_KEYWORDS = 26


@dataclass(frozen=True, slots=True)
class MaildirName:
    """What a file name says. unique: the same whatever the flags become; letters: of its keywords."""

    unique: str
    flags: int
    forwarded: bool
    letters: str


def read_name(name: str) -> MaildirName:
    """Read the name of a message's file."""
    found = _NAME.match(name)
    unique, info = (found[1], found[2] or "") if found is not None else (name, "")
    flags = 0
    for letter, flag in _FLAGS.items():
        flags |= flag if letter in info else 0
    return MaildirName(unique, flags, _PASSED in info, "".join(one for one in info if "a" <= one <= "z"))


def read_keywords(raw: bytes) -> dict[str, str]:
    """Read `dovecot-keywords` (`number keyword` lines): letter -> keyword."""
    found: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").splitlines()[:10 * MAX_KEYWORDS]:
        number, _, word = line.partition(" ")
        if re.fullmatch(r"[0-9]{1,2}", number) and int(number) < MAX_KEYWORDS and is_keyword(word):
            found[chr(ord("a") + int(number))] = word
    return found


def folder_levels(name: str) -> tuple[str, ...]:
    """Give the levels of a Maildir++ folder from the name of its directory (`.Sent.2024`)."""
    return tuple(decoded(level) for level in name.removeprefix(".").split("."))


def decoded(name: str) -> str:
    """Give a folder name as text: modified UTF-7 when it is that, else as it stands (octets that are no text become `?`)."""
    try:
        return decode(name.encode("ascii"))
    except (ValueError, UnicodeEncodeError):
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\ufffd", "?")
