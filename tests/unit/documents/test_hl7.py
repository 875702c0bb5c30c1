"""Time stamps, escaping and identifier forms."""

from __future__ import annotations

import pytest

from mssante.documents.hl7 import (
    MAX_VALUE,
    STRUCTURE_OID,
    cx,
    escape,
    luhn_ok,
    parse_date,
    read_cx,
    unescape,
    utc_digits,
    xcn,
    xon,
)


@pytest.mark.parametrize(("text", "expected"), [
    ("20191203133000+0100", "20191203123000"), ("20240106113623+0400", "20240106073623"),
    ("20191231233000-0500", "20200101043000"), ("201907011649+0200", "20190701144900"),
    ("20240106113623.123+0100", "20240106103623"), ("20240106113623+100", "20240106103623"),
    ("20240106113623+1", "20240106103623"), ("20191203", "20191203"), ("2019", "2019"),
    ("20191203133000", "20191203133000"), ("", ""), ("yesterday", ""), ("20191303133000+0100", "20191303133000"),
    ("00010101000000+1400", "00010101000000"),
])
def test_stamps_become_utc_digits(text: str, expected: str) -> None:
    assert utc_digits(text) == expected


def test_day_of_a_stamp() -> None:
    day = parse_date("19790328101500+0100")
    assert day is not None and day.isoformat() == "1979-03-28"
    assert parse_date("1979") is None and parse_date("19791399") is None


def test_delimiters_are_escaped_and_come_back() -> None:
    text = "A^B&C|D~E\\F"
    assert escape(text) == "A\\S\\B\\T\\C\\F\\D\\R\\E\\E\\F"
    assert unescape(escape(text)) == text


def test_identifiers_round_trip() -> None:
    assert read_cx(cx("AZ^1", "1.2.3", "PI")) == ("AZ^1", "1.2.3")
    assert read_cx("111^^&1.2&ISO") == ("111", "1.2")
    assert read_cx("") == ("", "")


def test_long_names_are_shortened_without_losing_the_number() -> None:
    structure = xon("&" * 1000, "1990000001", STRUCTURE_OID)
    person = xcn("899700000011", "1.2.250.1.71.4.2.1", "^" * 500, "B" * 500, "IDNPS")
    assert len(structure) <= MAX_VALUE and structure.endswith("^IDNST^^^1990000001")
    assert len(person) <= MAX_VALUE and person.endswith("&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS")
    assert structure.split("^")[0].replace("\\T\\", "") == ""


def test_luhn() -> None:
    assert luhn_ok("01234567897") and not luhn_ok("01234534765")
    assert not luhn_ok("１２") and not luhn_ok("12a")
