"""Answers of the synchronisation extensions, as bytes: VANISHED, UIDBATCHES, INPROGRESS, MESSAGELIMIT.

Whole lines with CRLF, or codes without brackets; nothing is written or kept here. Called by `services/imap/*`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mssante.protocol.imap.numset import NumSet

MAX_LINE_RANGES = 350  # about 8,000 octets with the longest UIDs (RFC 7162 §4: lines of at most 8192 octets)


def vanished_lines(uids: NumSet, *, earlier: bool = False) -> list[bytes]:
    """Give `* VANISHED 1:3,7` or `* VANISHED (EARLIER) …` (RFC 7162 §3.2.10), cut into lines of bounded length."""
    lead = b"* VANISHED (EARLIER) " if earlier else b"* VANISHED "
    return [lead + part.encode() + b"\r\n" for part in _parts(uids)]


def _parts(uids: NumSet) -> Iterator[NumSet]:
    for start in range(0, len(uids.ranges), MAX_LINE_RANGES):
        yield NumSet(uids.ranges[start:start + MAX_LINE_RANGES])


def uid_batches_line(tag: bytes, batches: Sequence[tuple[int, int]]) -> bytes:
    """Give `* UIDBATCHES (TAG "a1") high:low,…` (RFC 10022 §3.2); a batch of one UID is one number."""
    texts = [b"%d:%d" % batch if batch[0] != batch[1] else b"%d" % batch[0] for batch in batches]
    more = b" " + b",".join(texts) if texts else b""
    return b'* UIDBATCHES (TAG "' + tag + b'")' + more + b"\r\n"


def progress_line(tag: bytes, done: int | None = None, goal: int | None = None) -> bytes:
    """Give `* OK [INPROGRESS ("a1" done goal)] …` (RFC 9585 §4). done None: only that we are at work.

    A tag with `]` is left out: many clients end a response code there. A goal that is passed is not told.
    """
    name = b"NIL" if not tag or b"]" in tag else b'"' + tag + b'"'
    count = b"NIL" if done is None else b"%d" % done
    end = b"%d" % goal if done is not None and goal is not None and done < goal else b"NIL"
    return b"* OK [INPROGRESS (" + name + b" " + count + b" " + end + b")] still working\r\n"


def code_message_limit(limit: int, lowest_uid: int | None = None) -> bytes:
    """Give MESSAGELIMIT: the limit, and the lowest UID that was treated (RFC 9738 §3.1); None: nothing was."""
    return b"MESSAGELIMIT %d" % limit if lowest_uid is None else b"MESSAGELIMIT %d %d" % (limit, lowest_uid)
