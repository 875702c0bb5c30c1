"""The calendar's levels and its agenda: pure functions of dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mssante.trust.expiry import Expiry, Level, What, calendar_text, seconds_left, sort_expiries, urgent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(**left: float) -> Expiry:
    return Expiry(What.OPERATOR, "mta.a.fr", NOW + timedelta(**left))


@pytest.mark.parametrize(("one", "level"), [
    (at(days=90, seconds=1), Level.LATER), (at(days=90), Level.DAYS_90), (at(days=60), Level.DAYS_60), (at(days=30), Level.DAYS_30),
    (at(days=7), Level.DAYS_7), (at(seconds=1), Level.DAYS_7), (at(), Level.ENDED), (at(days=-1), Level.ENDED)])
def test_levels_of_what_a_human_renews(one: Expiry, level: Level) -> None:
    assert one.level(NOW) is level


@pytest.mark.parametrize(("age", "left", "level"), [(75, 25, Level.LATER), (76, 24, Level.DAYS_7), (90, 0, Level.ENDED), (0, 100, Level.LATER)])
def test_levels_of_what_renews_itself(age: int, left: int, level: Level) -> None:
    one = Expiry(What.CRL, "crl", NOW + timedelta(hours=left), "", NOW - timedelta(hours=age), renewing=True)
    assert one.level(NOW) is level


def test_order_and_sums() -> None:
    fresh = Expiry(What.CRL, "crl", NOW + timedelta(hours=9), "", NOW, renewing=True)
    late = Expiry(What.LIST, "list", NOW + timedelta(hours=1), "", NOW - timedelta(days=9), renewing=True)
    far, near = at(days=400), Expiry(What.PEER, "b.fr", NOW + timedelta(days=6))
    assert sort_expiries([fresh, far, near, late], NOW) == [late, near, far, fresh]
    assert urgent([fresh, far, near, late], NOW) == [near, late]
    assert seconds_left([far, at(days=2), fresh], NOW) == {"operator": 2 * 86400, "crl": 9 * 3600}


def test_agenda_lines_are_folded_and_escaped() -> None:
    hostile = Expiry(What.PEER, "a;b,c\\d\r\nBEGIN:VALARM\x1b é" + "é" * 80, NOW + timedelta(days=5))
    text = calendar_text([hostile, Expiry(What.CRL, "x", NOW, renewing=True)], NOW, 0)
    lines = text.split("\r\n")
    assert all(len(line.encode()) <= 75 for line in lines) and "\x1b" not in text
    whole = text.replace("\r\n ", "").split("\r\n")
    assert sum(line == "BEGIN:VALARM" for line in whole) == 3 and sum(line == "BEGIN:VEVENT" for line in whole) == 1
    assert next(line for line in whole if line.startswith("SUMMARY")).startswith(
        "SUMMARY:opérateur correspondant a\\;b\\,c\\\\d\\nBEGIN:VALARM?")
    assert calendar_text([hostile], NOW, 0) == calendar_text([hostile], NOW, 0), "the same date keeps its UID"
