"""Parsers of an import on any octets: nothing raised, the same result whatever the pieces, octets bounded."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.imap.answers import read_fetch, read_list, read_personal_prefix
from mssante.protocol.mime.lineends import LineEnds
from mssante.protocol.mime.maildir import folder_levels, read_keywords, read_name
from mssante.protocol.mime.mbox import FromFinder, MboxMessage, Quoting, Span

BITS = st.sampled_from([b"From a@b Mon Nov 23 01:02:03 2026\n", b"From - \n", b"From ", b"\n", b"\r\n", b"\r", b"\n\n", b"X: y\n", b">From ",
                        b"Status: RO\n", b" ", b"\0", b"\xff", b"text\n", b"X-Mozilla-Status: 0009\n", b"From MAILER\n"])
FILES = st.lists(BITS | st.binary(max_size=8), max_size=40).map(b"".join)


def cut(raw: bytes, piece: int) -> tuple[list[Span], int, list[bytes]]:
    """Spans, garbage and letters of a file fed in pieces."""
    finder = FromFinder()
    found = [span for start in range(0, len(raw), piece) for span in finder.feed(raw[start:start + piece])] + finder.close()
    letters = []
    for span in found:
        message = MboxMessage(Quoting.MBOXRD)
        out = b"".join(message.feed(raw[start:min(start + piece, span.end)]) for start in range(span.start, span.end, piece))
        letters.append(out + message.close())
    return found, finder.garbage, letters


@settings(max_examples=300, deadline=None)
@given(FILES, st.integers(1, 40))
def test_an_mbox_reads_the_same_in_any_pieces(raw: bytes, piece: int) -> None:
    whole = cut(raw, 1 << 20)
    assert cut(raw, piece) == whole
    spans, garbage, _ = whole
    assert all(one.offset < one.start <= one.end <= len(raw) for one in spans)
    assert all(left.end <= right.offset for left, right in pairwise(spans))
    assert garbage == (spans[0].offset if spans else len(raw))


@settings(max_examples=200, deadline=None)
@given(FILES, st.integers(1, 10))
def test_line_ends_do_not_depend_on_pieces(raw: bytes, piece: int) -> None:
    ends = LineEnds()
    read = b"".join(ends.feed(raw[start:start + piece]) for start in range(0, len(raw), piece)) + ends.close()
    assert read == raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


WORDS = st.sampled_from([b"1 FETCH (", b"UID 7 ", b"FLAGS (\\Seen x)", b"BODY[] {3}", b'BODY[] "a"', b"RFC822.SIZE 9 ", b")", b"() ", b'"/" ',
                         b"{4}", b'INTERNALDATE "01-Jan-2026 00:00:00 +0000"', b'((("', b"NIL"])
LINES = st.lists(st.lists(WORDS | st.binary(max_size=6), max_size=6).map(b"".join) | st.binary(max_size=6).map(bytearray), max_size=12)


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_answers_of_servers_raise_nothing(lines: list[bytes | bytearray]) -> None:
    assert all(one.uid > 0 or one.uid == 0 for one in read_fetch(lines))
    assert all(one.levels for one in read_list(lines))
    assert isinstance(read_personal_prefix(lines), str)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.binary(max_size=80))
def test_maildir_names_raise_nothing(name: str, raw: bytes) -> None:
    assert name.startswith(read_name(name).unique)
    assert all("\ufffd" not in level or "\ufffd" in name for level in folder_levels(name))
    assert all(len(letter) == 1 for letter in read_keywords(raw))
