"""Everything that we write to an IMAP client, as bytes (RFC 9051 §7): status lines, untagged data, names, strings.

- Functions give whole lines with CRLF, or pieces of them; nothing is written or kept here.
- Names and strings from outside are always quoted or sent as literals: no octet of them can end a line.
- What repeats (flags, names) is cached in bounded tables.

Called by `services/imap/*` and `endpoints/imap.py`. FETCH lines are made column by column in `services/imap/columns.py`,
close to the view that holds the columns; BODY comes from `protocol.imap.bodystructure`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from mssante.model.message import Flags
from mssante.protocol.imap import mutf7
from mssante.protocol.imap.faults import ascii_text
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.objectid import mailbox_id
from mssante.protocol.imap.values import Completion, Condition, ListAnswer, StatusAnswer, StatusItem

CRLF = b"\r\n"
NIL = b"NIL"
MAX_QUOTED = 1_000  # octets; longer texts go as literals

_SAFE_ATOM = re.compile(rb"[A-Za-z0-9_./\-@+]+\Z")
_QUOTABLE = re.compile(rb"[^\x00-\x1f\x7f-\xff]*\Z")
_QUOTABLE_UTF8 = re.compile(rb"[^\x00-\x1f\x7f]*\Z")
_SYSTEM = ((Flags.ANSWERED, b"\\Answered"), (Flags.FLAGGED, b"\\Flagged"), (Flags.DELETED, b"\\Deleted"),
           (Flags.SEEN, b"\\Seen"), (Flags.DRAFT, b"\\Draft"))
SYSTEM_FLAG_NAMES = b" ".join(name for _, name in _SYSTEM)


# ---------------------------------------------------------------- strings


def literal_head(size: int, *, binary: bool = False) -> bytes:
    """Give `{size}` CRLF, to stand before that many octets; binary: literal8, `~{size}` (RFC 3516 §4.2)."""
    return b"~{%d}\r\n" % size if binary else b"{%d}\r\n" % size


def literal(data: bytes, *, binary: bool = False) -> bytes:
    """Give octets as a literal."""
    return literal_head(len(data), binary=binary) + data


def string(data: bytes, *, utf8: bool = False) -> bytes:
    """Give octets as a quoted string when they fit one, else as a literal; utf8: 8-bit may be quoted (IMAP4rev2)."""
    if len(data) > MAX_QUOTED or not (_QUOTABLE_UTF8 if utf8 else _QUOTABLE).match(data):
        return literal(data)
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def nstring(data: bytes | None, *, utf8: bool = False) -> bytes:
    """Give a string, or NIL for None."""
    return NIL if data is None else string(data, utf8=utf8)


def astring(data: bytes, *, utf8: bool = False) -> bytes:
    """Give an atom when it can be one (never NIL), else a string."""
    if _SAFE_ATOM.match(data) and data.upper() != NIL:
        return data
    return string(data, utf8=utf8)


@lru_cache(maxsize=4_096)
def folder_name(name: str, utf8: bool = False) -> bytes:
    """Give a folder name for the wire: modified UTF-7, or UTF-8 once IMAP4rev2 is enabled (`session.utf8`)."""
    return astring(name.encode("utf-8", "replace") if utf8 else mutf7.encode(name), utf8=utf8)


# ---------------------------------------------------------------- status lines


def tagged(tag: bytes, completion: Completion) -> bytes:
    """Give the line that ends a command (RFC 9051 §7.1)."""
    return tag + b" " + _status(completion)


def untagged(completion: Completion) -> bytes:
    """Give an untagged status line: `* OK [UIDVALIDITY 1] …`, `* BYE …`."""
    return b"* " + _status(completion)


@lru_cache(maxsize=1024)  # SELECT tells the same again and again
def ok(text: str, code: bytes = b"") -> bytes:
    """Give `* OK [code] text`."""
    return untagged(Completion(Condition.OK, text, code))


def bye(text: str) -> bytes:
    """Give `* BYE text`."""
    return untagged(Completion(Condition.BYE, text))


def continuation(text: bytes = b"") -> bytes:
    """Give `+ text` (RFC 9051 §7.5): idling, base64 of a challenge."""
    return b"+ " + text + CRLF


def _status(completion: Completion) -> bytes:
    """Give condition, code and text with CRLF."""
    code = b"[" + completion.code + b"] " if completion.code else b""
    return completion.condition.value.encode("ascii") + b" " + code + ascii_text(completion.text) + CRLF


# ---------------------------------------------------------------- response codes (without brackets)


def code_appenduid(uidvalidity: int, uids: NumSet) -> bytes:
    """Give APPENDUID (RFC 4315 §3)."""
    return b"APPENDUID %d %b" % (uidvalidity, uids.encode())


def code_copyuid(uidvalidity: int, pairs: Iterable[tuple[int, int]]) -> bytes:
    """Give COPYUID for (source, target) pairs ordered by source; empty bytes for no pair (RFC 4315 §3).

    Both sets list UIDs in the same order; targets grow with sources, as the store gives them.
    """
    both = list(pairs)
    if not both:
        return b""
    source, target = NumSet.of(uid for uid, _ in both), NumSet.of(uid for _, uid in both)
    return b"COPYUID %d %b %b" % (uidvalidity, source.encode(), target.encode())


def code_modified(numbers: NumSet) -> bytes:
    """Give MODIFIED: numbers or UIDs refused by UNCHANGEDSINCE (RFC 7162 §3.1.3)."""
    return b"MODIFIED " + numbers.encode()


def code_number(name: str, number: int) -> bytes:
    """Give a code with a number: UIDNEXT, UIDVALIDITY, UNSEEN, HIGHESTMODSEQ."""
    return b"%b %d" % (name.encode("ascii"), number)


def code_permanent_flags(keywords: Iterable[str] = (), *, read_only: bool = False) -> bytes:
    """Give PERMANENTFLAGS: all system flags, keywords in use and new ones, or none (RFC 9051 §7.1)."""
    return b"PERMANENTFLAGS ()" if read_only else b"PERMANENTFLAGS (" + _flag_words(keywords) + b" \\*)"


# ---------------------------------------------------------------- untagged data


def exists(count: int) -> bytes:
    """Give `* n EXISTS` (RFC 9051 §7.4.1)."""
    return b"* %d EXISTS\r\n" % count


def recent(count: int) -> bytes:
    """Give `* n RECENT` (RFC 3501 §7.3.2): only for sessions without IMAP4rev2."""
    return b"* %d RECENT\r\n" % count


def expunges(numbers: Iterable[int]) -> bytes:
    """Give `* n EXPUNGE` lines (RFC 9051 §7.5.1) for sequence numbers as they were before any of them left.

    They are written highest first, so that no number moves before it is said.
    """
    return b"".join([b"* %d EXPUNGE\r\n" % number for number in sorted(numbers, reverse=True)])


def flags_line(keywords: Iterable[str] = ()) -> bytes:
    """Give `* FLAGS (…)`: system flags and keywords in use (RFC 9051 §7.3.5)."""
    return b"* FLAGS (" + _flag_words(keywords) + b")\r\n"


def _flag_words(keywords: Iterable[str]) -> bytes:
    return b" ".join([SYSTEM_FLAG_NAMES, *(word.encode("ascii", "replace") for word in keywords)])


def list_line(answer: ListAnswer, *, utf8: bool = False) -> bytes:
    """Give `* LIST (…) "/" name` or `* LSUB …`, with CHILDINFO when asked (RFC 9051 §7.3.1)."""
    more = b""
    if answer.child_info:
        words = " ".join(f'"{word}"' for word in answer.child_info)
        more = b' ("CHILDINFO" (' + words.encode("ascii") + b"))"
    return b"* %b (%b) %b %b%b\r\n" % (
        b"LSUB" if answer.lsub else b"LIST", " ".join(answer.attributes).encode("ascii"),
        string(answer.delimiter.encode("ascii")) if answer.delimiter else NIL, folder_name(answer.name, utf8), more)


def status_line(answer: StatusAnswer, *, utf8: bool = False) -> bytes:
    """Give `* STATUS name (…)` (RFC 9051 §7.3.4)."""
    items = b" ".join([item.value.encode("ascii") + b" " + (mailbox_id(value) if item is StatusItem.MAILBOXID else b"%d" % value)
                       for item, value in answer.values])
    return b"* STATUS " + folder_name(answer.name, utf8) + b" (" + items + b")\r\n"


def id_line(fields: Iterable[tuple[str, str]]) -> bytes:
    """Give `* ID (…)` (RFC 2971 §3.2), NIL without fields."""
    words = [string(part.encode("ascii", "replace")) for pair in fields for part in pair]
    return b"* ID " + (b"(" + b" ".join(words) + b")" if words else NIL) + CRLF


def enabled_line(names: Iterable[str]) -> bytes:
    """Give `* ENABLED …` (RFC 5161 §3.2): what ENABLE newly turned on, may be nothing."""
    return b" ".join([b"* ENABLED", *(name.encode("ascii") for name in names)]) + CRLF


# ---------------------------------------------------------------- flags


@lru_cache(maxsize=8_192)
def flags(mask: int, keywords: str = "") -> bytes:
    """Give `(\\Seen word)` from a mask of `model.message.Flags` and space-separated keywords. Cached."""
    names = [name for flag, name in _SYSTEM if mask & flag]
    if keywords:
        names.append(keywords.encode("ascii", "replace"))
    return b"(" + b" ".join(names) + b")"
