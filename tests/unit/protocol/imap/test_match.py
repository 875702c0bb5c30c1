"""LIST patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.imap.match import Matcher, Pattern


@pytest.mark.parametrize(("pattern", "name", "expected"), [
    ("*", "INBOX", True),
    ("*", "a/b/c", True),
    ("*", "", True),
    ("%", "a", True),
    ("%", "a/b", False),
    ("a/%", "a/b", True),
    ("a/%", "a", False),
    ("a%", "a", True),
    ("a*c", "a/b/c", True),
    ("a%c", "a/b/c", False),
    ("%/%", "a/b", True),
    ("%%", "a", True),
    ("%*", "a/b", True),
    ("*%", "a/b", True),
    ("inbox", "INBOX", True),
    ("InB%", "INBOX", True),
    ("inbox/x", "INBOX/x", True),
    ("inbox/X", "INBOX/x", False),
    ("inboxes", "INBOXes", False),
    ("sent", "Sent", False),
    ("Sent", "Sent", True),
    ("", "a", False),
    ("", "", True),
    ("a", "ab", False),
    ("ab", "a", False),
])
def test_matches(pattern: str, name: str, expected: bool) -> None:
    assert Pattern(pattern).matches(name) is expected


def test_many_stars_do_not_explode() -> None:
    assert not Pattern("*a" * 200 + "b").matches("a" * 500)
    assert Pattern("*a" * 200).matches("a" * 500)


def test_matcher_joins_the_reference_and_tries_every_pattern() -> None:
    matcher = Matcher("Work/", ("2025", "2026/%"))
    assert matcher.matches("Work/2025")
    assert matcher.matches("Work/2026/x")
    assert not matcher.matches("2025")


@given(st.text("ab/*%", max_size=8), st.text("ab/", max_size=10))
def test_same_as_a_regular_expression(pattern: str, name: str) -> None:
    plain = "".join({"*": ".*", "%": "[^/]*"}.get(letter, re.escape(letter)) for letter in pattern)
    assert Pattern(pattern).matches(name) is bool(re.fullmatch(plain, name))
