"""SASLprep by the examples of RFC 4013 §3, and its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.sasl.prepare import MAX_PREPARED, saslprep


@pytest.mark.parametrize(("text", "prepared"), [
    ("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"),
    ("\u0007", None), ("\u0627\u0031", None),  # the seven examples of RFC 4013 §3
    ("a\u00a0b", "a b"), ("\u1680", " "), ("\u0627\u0628", "\u0627\u0628"), ("\u0627a\u0628", None), ("é", "é"), ("e\u0301", "é"),
    ("", None), ("\u00ad", None), ("a\u200bb", "ab"), ("\ud800", None), ("\ue000", None), ("\ufffd", None), ("\u0221", None),
    ("\ufdfa" * 300, None), ("é" * (MAX_PREPARED + 1), None), ("a" * 10_000, "a" * 10_000)])
def test_examples(text: str, prepared: str | None) -> None:
    assert saslprep(text) == prepared


@given(st.text(max_size=40))
def test_prepared_once_is_prepared(text: str) -> None:
    once = saslprep(text)
    assert once is None or (len(once) <= MAX_PREPARED and saslprep(once) in (once, None))
