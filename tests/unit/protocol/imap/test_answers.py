"""What other IMAP servers answer, read as values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mssante.model.message import Flags
from mssante.protocol.imap.answers import read_fetch, read_internal_date, read_list, read_personal_prefix


def test_list_lines_of_many_servers() -> None:
    lines = [rb'(\HasNoChildren \Sent) "/" "&AMk-l&AOk-ments/2024"', rb'(\Noselect) "." INBOX.Old', b'() NIL Flat', b'() "/" {7}',
             bytearray(b'a"b\\c/d'), rb'() "\\" "a\\b"', rb'() "/" "with \"quotes\""', b"List completed.", b"garbage"]
    found = list(read_list(lines))
    assert [one.levels for one in found] == [("Éléments", "2024"), ("INBOX", "Old"), ("Flat",), ('a"b\\c', "d"), ("a", "b"),
                                             ('with "quotes"',)]
    assert found[0].attributes == {"\\hasnochildren", "\\sent"}
    assert [one.selectable for one in found] == [True, False, True, True, True, True]
    assert found[0].raw == b"&AMk-l&AOk-ments/2024" and found[3].raw == b'a"b\\c/d'


def test_prefix_of_the_personal_namespace() -> None:
    assert read_personal_prefix([b'(("INBOX." ".")) NIL NIL', b"Done."]) == "INBOX."
    assert read_personal_prefix([b'(("" "/")) (("Other/" "/")) NIL']) == ""
    assert read_personal_prefix([b"NIL NIL NIL"]) == ""


def test_fetch_lines_with_literals_strings_and_nothing() -> None:
    lines = [rb'1 FETCH (UID 7 FLAGS (\Seen \Recent $Label1 \Strange bad*word) INTERNALDATE "23-Nov-2026 01:02:03 +0100" '
             rb"RFC822.SIZE 42 BODY[] {5}", bytearray(b"A(b)\n"), b")",
             b"2 FETCH (BODY[]<0> {3}", bytearray(b"xyz"), b" UID 8)", rb'3 FETCH (UID 9 BODY[] "q\"uoted")',
             b"4 FETCH (UID 10 BODY[] NIL)", b"5 FETCH (UID 11 FLAGS ())", b"6 FETCH (FLAGS (\\Seen))", b"Fetch completed."]
    found = {one.uid: one for one in read_fetch(lines)}
    assert list(found) == [7, 8, 9, 10, 11]
    first = found[7]
    assert (first.flags, first.keywords, first.size, first.octets) == (Flags.SEEN, ("$Label1",), 42, b"A(b)\n")
    assert first.internal_date == datetime(2026, 11, 23, 0, 2, 3, tzinfo=UTC)
    assert [found[uid].octets for uid in (8, 9, 10, 11)] == [b"xyz", b'q"uoted', b"", None]


@pytest.mark.parametrize("text", [b"", b'(INTERNALDATE "31-Feb-2026 01:02:03 +0000")', b'(INTERNALDATE "01-Xyz-2026 01:02:03 +0000")',
                                  b'(INTERNALDATE " 1-Jan-0001 00:00:00 +1400")'])
def test_dates_that_do_not_exist(text: bytes) -> None:
    assert read_internal_date(text) is None


def test_hostile_answers_raise_nothing() -> None:
    assert list(read_fetch([b"1 FETCH (", bytearray(b"x"), b"1 FETCH (UID 99999999999)"])) == []
    assert list(read_list([b'() "/" {9}', b"(((", b'(\\A "/" x'])) [:1] != []
