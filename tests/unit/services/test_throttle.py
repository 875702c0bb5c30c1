"""Sliding windows and token buckets."""

from __future__ import annotations

import pytest

from mssante.services import throttle
from mssante.services.throttle import Bucket, Window


def test_a_window_slides() -> None:
    window = Window(100.0)
    for second in range(100):
        window.add("a", 1000.0 + second)
    assert window.count("a", 1099.0) == 100
    assert window.count("b", 1099.0) == 0
    assert 45 <= window.count("a", 1150.0) <= 55, "half of them are behind"
    assert window.count("a", 1200.0) == 0
    window.add("a", 5000.0)
    assert window.count("a", 5000.0) == 1, "a long silence forgets all"


def test_a_window_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_KEYS", 3)
    window = Window(100.0)
    for key in "abcde":
        window.add(key, 1.0)
    window.add("a", 1.0)
    assert [window.count(key, 1.0) for key in "abcde"] == [2, 1, 1, 0, 0]


def test_a_bucket_lets_a_burst_through_then_its_rate() -> None:
    bucket = Bucket(rate=10.0, burst=100.0, now=0.0)
    assert bucket.take(100, 0.0) == 0.0
    assert bucket.take(5, 0.0) == pytest.approx(0.5)
    assert bucket.take(0, 0.5) == 0.0
    assert bucket.take(1, 0.5) == pytest.approx(0.1)
    assert bucket.take(100, 1000.0) == 0.0, "never fuller than its burst"
    assert bucket.take(1, 1000.0) > 0
