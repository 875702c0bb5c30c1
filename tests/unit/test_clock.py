"""The machine's clock, and the one of tests."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from support.clock import FakeClock

from mssante.clock import Clock, SystemClock


def test_the_machine_s_clock_is_in_utc_and_never_goes_back() -> None:
    clock: Clock = SystemClock()
    before, now, after = time.time(), clock.now(), time.time()
    assert now.tzinfo is UTC and before - 0.001 <= now.timestamp() <= after + 0.001
    one, two = clock.monotonic(), clock.monotonic()
    assert one <= two


def test_the_clock_of_tests_moves_by_hand() -> None:
    clock: Clock = FakeClock(datetime(2026, 3, 1, tzinfo=UTC))
    assert clock.now() == clock.now() and clock.monotonic() == 0.0
    assert isinstance(clock, FakeClock)
    clock.advance(timedelta(hours=1))
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now().year == 2020 and clock.monotonic() == 3600.0
