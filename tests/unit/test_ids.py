"""Trace ids: one alphabet, one length, ordered by time, never twice."""

from __future__ import annotations

import pytest

from mssante import ids
from mssante.ids import new_trace_id

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def test_shape_and_uniqueness() -> None:
    made = [new_trace_id() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert all(len(one) == 26 and set(one) <= set(ALPHABET) for one in made)


def test_order_is_that_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_700_000_000.0]
    monkeypatch.setattr(ids.time, "time", lambda: now[0])
    made = []
    for step in (0.001, 1.0, 3600.0, 86_400.0, 10.0 ** 9):
        made.append(new_trace_id())
        now[0] += step
    assert made == sorted(made) and len({one[:10] for one in made}) == 5


def test_the_time_is_in_the_first_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.time, "time", lambda: 1_700_000_000.123)
    value = 0
    for letter in new_trace_id()[:10]:
        value = value * 32 + ALPHABET.index(letter)
    assert value == 1_700_000_000_123
