"""Header blocks, RFC 2047, dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from mssante.protocol.mime.dates import format_date, parse_date
from mssante.protocol.mime.headers import (
    MAX_HEADER_FIELDS,
    decode_words,
    find_header_end,
    message_id,
    parse_headers,
    read_headers,
)


@pytest.mark.parametrize(("message", "end"), [
    (b"A: b\r\n\r\nbody", 8),
    (b"A: b\n\nbody\r\n\r\nx", 6),
    (b"A: b\n\r\nbody", 7),
    (b"A: b\r\n\nbody", 7),
    (b"\r\nbody\r\n\r\n", 2),
    (b"\nbody", 1),
    (b"A: b\r\n", 6),
    (b"A: b", 4),
    (b"", 0),
    (b"A: b\r\n\r\n", 8),
])
def test_header_end(message: bytes, end: int) -> None:
    assert find_header_end(message) == end


def test_header_end_inside_a_range() -> None:
    message = b"--x\r\nA: b\r\n\r\nc\r\n--x\r\n\r\nd"
    assert find_header_end(message, 5, 14) == 13
    assert find_header_end(message, 5, 11) == 11  # the empty line stands outside
    assert find_header_end(b"xx\r\nyy", 2, 3) == 3


def test_fields_are_unfolded_and_the_first_counts() -> None:
    headers = parse_headers(b"Subject: one\r\n two\r\n\tthree\r\nX-A : spaced\r\nsubject: other\r\nnonsense\r\nEmpty:\r\n\r\n")
    assert headers.get(b"subject") == b"one two\tthree"
    assert headers.all(b"subject") == [b"one two\tthree", b"other"]
    assert headers.get(b"x-a") == b"spaced"
    assert headers.get(b"empty") == b""
    assert headers.get(b"nonsense") is None
    assert headers.repeats(b"subject") and not headers.repeats(b"x-a")
    assert headers.count(b"subject") == 2 and headers.count(b"absent") == 0


def test_lone_line_feeds_are_read() -> None:
    assert read_headers(b"A: one\n two\nB: x\n\nC: body").get(b"a") == b"one two"
    assert read_headers(b"A: one\n two\nB: x\n\nC: body").get(b"c") is None


def test_limits_are_told() -> None:
    headers = parse_headers(b"".join(b"X-%d: y\r\n" % number for number in range(MAX_HEADER_FIELDS + 5)))
    assert headers.truncated and len(headers.fields) == MAX_HEADER_FIELDS
    assert not parse_headers(b"".join(b"X-%d: y\r\n" % number for number in range(MAX_HEADER_FIELDS))).truncated


@pytest.mark.parametrize(("value", "text"), [
    (b"plain", "plain"),
    (b"=?utf-8?q?d=E2=80=99un?= rendez-vous", "d’un rendez-vous"),
    (b"=?UTF-8?B?w6l0w6k=?= =?utf-8?B?IMOg?=", "été à"),  # white space between words goes (§6.2)
    (b"=?utf-8?B?w6k=?=\t=?utf-8?B?dMOp?= fin", "été fin"),
    (b"a =?utf-8?q?b_c?= d", "a b c d"),
    (b"=?iso-8859-1?Q?=E9t=E9?=", "été"),
    (b"=?iso-8859-15*fr?Q?=A4?=", "€"),
    ("é brut".encode(), "é brut"),
    (b"\xe9 latin", "é latin"),
    (b"=?zlib?B?eJxLTEoGAAJNASc=?=", None),  # a transform is no charset
    (b"=?utf-7?Q?+AOk-?=", "+AOk-"),
    (b"=?utf-8?q?two=0D=0ABcc:_x?=", "two Bcc: x"),
    (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
    (b"=?utf-8?B?####?=", ""),
])
def test_encoded_words(value: bytes, text: str | None) -> None:
    decoded = decode_words(value)
    assert decoded.isprintable()
    if text is not None:
        assert decoded == text


def test_word_cut_inside_a_character() -> None:
    assert decode_words(b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=") == "é"


def test_decoded_text_is_capped() -> None:
    assert len(decode_words(b"x" * 100_000)) == 512
    assert len(decode_words(b"=?utf-8?q?" + b"x" * 7_000 + b"?=", 1_000)) == 1_000


@pytest.mark.parametrize(("value", "identifier"), [
    (b"<a@b>", "<a@b>"), (b" text <a@b> <c@d>", "<a@b>"), (b"bare", "bare"), (None, ""), (b"", ""),
    (b"<unclosed", "<unclosed"), ("<é@b>".encode(), "<é@b>"),
])
def test_message_id(value: bytes | None, identifier: str) -> None:
    assert message_id(value) == identifier


@pytest.mark.parametrize(("value", "instant"), [
    (b"Tue, 01 Sep 2026 08:30:00 +0200", datetime(2026, 9, 1, 6, 30, tzinfo=UTC)),
    (b"1 Sep 2026 08:30 GMT", datetime(2026, 9, 1, 8, 30, tzinfo=UTC)),
    (b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)", datetime(1996, 7, 17, 9, 23, 25, tzinfo=UTC)),
    (b"Wed, 17 Jul 96 02:23:25 PDT", datetime(1996, 7, 17, 9, 23, 25, tzinfo=UTC)),
    (b"Sat, 31 Dec 2016 23:59:60 +0000", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    (b"Thu, 31 Sep 2026 08:30:00 +0200", None),
    (b"01 Xyz 2026 08:30:00 +0200", None),
    (b"Fri, 01 Jan 0001 00:00:00 +0200", None),
    (b"0" * 100_000, None), (b"", None), (None, None), (b"yesterday", None),
])
def test_dates(value: bytes | None, instant: datetime | None) -> None:
    assert parse_date(value) == instant


def test_date_round_trip() -> None:
    zone = timezone(-timedelta(hours=3, minutes=30))
    instant = datetime(2026, 2, 5, 7, 8, 9, tzinfo=zone)
    assert format_date(instant) == b"Thu, 05 Feb 2026 07:08:09 -0330"
    assert parse_date(format_date(instant)) == instant
