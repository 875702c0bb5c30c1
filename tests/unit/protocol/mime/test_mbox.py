"""mbox files: separators, quoting, flags, and whatever size the pieces have."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from mssante.model.message import Flags
from mssante.protocol.mime.mbox import MAX_FROM_LINE, FromFinder, MboxMessage, Quoting, Span, from_date

DATED = b"From a@b Mon Nov 23 01:02:03 2026\n"


def spans(raw: bytes, piece: int = 1 << 20) -> tuple[list[Span], int]:
    """Cut `raw`, fed in pieces."""
    finder = FromFinder()
    found = [span for start in range(0, len(raw), piece) for span in finder.feed(raw[start:start + piece])]
    return found + finder.close(), finder.garbage


def letters(raw: bytes, piece: int = 1 << 20, quoting: Quoting = Quoting.MBOXRD) -> list[bytes]:
    """Give the letters of `raw`."""
    out = []
    for span in spans(raw, piece)[0]:
        message = MboxMessage(quoting)
        read = [message.feed(raw[start:min(start + piece, span.end)]) for start in range(span.start, span.end, piece)]
        out.append(b"".join(read) + message.close())
    return out


MIXED = (DATED + b"Subject: one\nStatus: RO\n\nbody\n>From here\n>>From there\n\nFrom this day on\nit is\n\n"
         b"From - \nSubject: two\n\nof Thunderbird\n\n"
         b"From MAILER-DAEMON\nSubject: three\n\nundated\n"
         b"From c@d Tue Nov 24 01:02:03 +0100 2026\nSubject: four\n\nno empty line before\n\n")


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1000, 1 << 20])
def test_letters_are_the_same_whatever_the_pieces(piece: int) -> None:
    assert letters(MIXED, piece) == [
        b"Subject: one\r\n\r\nbody\r\nFrom here\r\n>From there\r\n\r\nFrom this day on\r\nit is\r\n",
        b"Subject: two\r\n\r\nof Thunderbird\r\n", b"Subject: three\r\n\r\nundated\r\n",
        b"Subject: four\r\n\r\nno empty line before\r\n"]
    assert [span.loose for span in spans(MIXED, piece)[0]] == [False, False, False, True]


def test_the_older_quoting_keeps_deeper_marks() -> None:
    raw = DATED + b"X: y\n\n>From a\n>>From b\n"
    assert letters(raw, quoting=Quoting.MBOXO) == [b"X: y\r\n\r\nFrom a\r\n>>From b\r\n"]
    assert letters(raw) == [b"X: y\r\n\r\nFrom a\r\n>From b\r\n"]


def test_crlf_files_read_the_same() -> None:
    assert letters(MIXED.replace(b"\n", b"\r\n")) == letters(MIXED)


def test_marks_of_the_file_become_flags_and_leave_the_letter() -> None:
    raw = (b"Subject: x\nStatus: RO\nX-Status: AFTD\nX-Keywords: $Label1  urgent\n \nX-UID: 12\nContent-Length: 3\n"
           b"X-Mozilla-Status: 1001\nX-Mozilla-Keys: urgent (bad)\nTo: y\n\nend\n")
    message = MboxMessage()
    assert message.feed(raw) + message.close() == b"Subject: x\r\nTo: y\r\n\r\nend\r\n"
    assert message.flags == Flags.SEEN | Flags.ANSWERED | Flags.FLAGGED | Flags.DRAFT | Flags.DELETED
    assert message.keywords == ("$Label1", "urgent", "$Forwarded")


def test_status_in_the_body_is_text() -> None:
    message = MboxMessage()
    assert message.feed(b"A: b\n\nStatus: RO\n") + message.close() == b"A: b\r\n\r\nStatus: RO\r\n"
    assert message.flags == 0


def test_the_note_of_a_program_is_known() -> None:
    message = MboxMessage()
    message.feed(b"Subject: DON'T DELETE\nX-IMAP: 1234 5\n\ntext\n")
    assert message.own


@pytest.mark.parametrize(("raw", "count", "garbage"), [
    (b"", 0, 0), (b"no separator\nat all\n", 0, 20), (b"From ", 0, 5), (b"From here\n\nFrom there\n", 0, 22),
    (b"junk\n\n" + DATED + b"X: y\n\nz\n", 1, 6), (DATED, 1, 0), (DATED.rstrip(), 1, 0), (DATED * 3, 1, 0),
    (b"From " + b"a" * (2 * MAX_FROM_LINE) + b" Mon Nov 23 01:02:03 2026\nX: y\n\nz\n", 0, 2039)])
def test_broken_files_raise_nothing(raw: bytes, count: int, garbage: int) -> None:
    for piece in (1, 5, 1 << 20):
        assert (len(spans(raw, piece)[0]), spans(raw, piece)[1]) == (count, garbage)


def test_spans_cover_the_file_in_order() -> None:
    found, _ = spans(MIXED, 11)
    assert [MIXED[one.offset:one.offset + 5] for one in found] == [b"From "] * 4
    assert all(one.offset < one.start <= one.end for one in found)
    assert all(left.end <= right.offset for left, right in pairwise(found))


def test_a_huge_line_goes_through_in_bounded_pieces() -> None:
    raw = b"A: b\n\n" + b">From " + b"x" * 5_000_000 + b"\n>From y\n"
    message = MboxMessage()
    read = [message.feed(raw[start:start + 100_000]) for start in range(0, len(raw), 100_000)] + [message.close()]
    assert max(len(piece) for piece in read) < 2_000_000
    assert b"".join(read) == b"A: b\r\n\r\nFrom " + b"x" * 5_000_000 + b"\r\nFrom y\r\n"


@pytest.mark.parametrize(("line", "expected"), [
    (b"From a@b Mon Nov 23 01:02:03 2026", datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)),
    (b"From a@b Mon Nov 23 01:02 2026", datetime(2026, 11, 23, 1, 2, tzinfo=UTC)),
    (b"From a@b Mon Nov 23 01:02:03 CET 2026", datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)),
    (b"From a@b Mon Nov 23 01:02:03 +0100 2026", datetime(2026, 11, 23, 0, 2, 3, tzinfo=UTC)),
    (b"From a@b Mon Nov 23 01:02:03 2026 -0200", datetime(2026, 11, 23, 3, 2, 3, tzinfo=UTC)),
    (b"From a@b Mon Feb 31 01:02:03 2026", None), (b"From a@b", None)])
def test_dates_of_separators(line: bytes, expected: datetime | None) -> None:
    assert from_date(line) == expected
