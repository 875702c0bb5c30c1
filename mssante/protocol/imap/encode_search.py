"""Answers of SEARCH, SORT, THREAD and their extensions, as bytes: whole lines with CRLF.

Called by `services/imap/*`; beside `encode.py`, which has the strings they are made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mssante.protocol.imap.encode import CRLF, NIL, string
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.searchvalues import ESearchAnswer


def search_line(numbers: Iterable[int], modseq: int | None = None, *, name: bytes = b"SEARCH") -> bytes:
    """Give `* SEARCH …` (RFC 3501 §7.2.5) or `* SORT …` (RFC 5256 §4), in the order given.

    modseq: RFC 7162 §3.1.6, only with at least one number.
    """
    listed = " ".join(map(str, numbers)).encode("ascii")
    more = b" (MODSEQ %d)" % modseq if modseq is not None and listed else b""
    return b"* " + name + (b" " if listed else b"") + listed + more + CRLF


def thread_line(threads: bytes) -> bytes:
    """Give `* THREAD …` (RFC 5256 §4); threads: the lists, empty when nothing was found."""
    return b"* THREAD " + threads + CRLF if threads else b"* THREAD" + CRLF


def ordered_set(numbers: Sequence[int]) -> bytes:
    """Give numbers whose order matters (RFC 5267 §3.2): a range only where they follow one another upwards."""
    out: list[bytes] = []
    place, count = 0, len(numbers)
    while place < count:
        first = last = numbers[place]
        place += 1
        while place < count and numbers[place] == last + 1:
            last += 1
            place += 1
        out.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
    return b",".join(out)


def _set(numbers: NumSet | Sequence[int]) -> bytes:
    return numbers.encode() if isinstance(numbers, NumSet) else ordered_set(numbers)


def esearch_line(answer: ESearchAnswer) -> bytes:
    """Give `* ESEARCH (TAG "…") …` (RFC 9051 §7.3.4; MODSEQ: RFC 7162 §3.1.10; PARTIAL: RFC 9394 §4)."""
    parts = [_correlator(answer.tag, answer.mailbox)]
    if answer.uid:
        parts.append(b"UID")
    numbers = (("MIN", answer.minimum), ("MAX", answer.maximum), ("COUNT", answer.count))
    parts.extend(b"%b %d" % (name.encode("ascii"), number) for name, number in numbers if number is not None)
    if answer.all:
        parts.append(b"ALL " + _set(answer.all))
    if answer.page is not None:
        asked, found = answer.page
        parts.append(b"PARTIAL (%b %b)" % (asked.encode(), _set(found) if found else NIL))
    if answer.relevancy is not None:
        parts.append(b"RELEVANCY (" + " ".join(map(str, answer.relevancy)).encode("ascii") + b")")
    if answer.modseq is not None:
        parts.append(b"MODSEQ %d" % answer.modseq)
    return b" ".join(parts) + CRLF


def _correlator(tag: bytes, mailbox: tuple[bytes, int] | None) -> bytes:
    """Give what tells which command, and which folder (RFC 7377 §2.1), an ESEARCH line answers."""
    if mailbox is None:
        return b"* ESEARCH (TAG " + string(tag) + b")"
    return b"* ESEARCH (TAG %b MAILBOX %b UIDVALIDITY %d)" % (string(tag), *mailbox)


def update_line(tag: bytes, word: bytes, changes: Sequence[tuple[int, NumSet]], *, uid: bool) -> bytes:
    """Give the notice that results changed (RFC 5267 §4.3.3, §4.3.4). word: ADDTO or REMOVEFROM.

    changes: (place from which the numbers come in or go, 0 for mailbox order; numbers), at least one.
    """
    pairs = b" ".join([b"%d %b" % (place, numbers.encode()) for place, numbers in changes])
    return b"%b%b %b (%b)\r\n" % (_correlator(tag, None), b" UID" if uid else b"", word, pairs)


def code_noupdate(tag: bytes) -> bytes:
    """Give NOUPDATE: the results of this command are not followed (RFC 5267 §4.3.1)."""
    return b"NOUPDATE " + string(tag)
