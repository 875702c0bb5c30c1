"""A clock that tests move by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """`mssante.clock.Clock` that stands still until `advance` or `set`."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self._now = now
        self._elapsed = 0.0

    def now(self) -> datetime:
        """Give the instant set."""
        return self._now

    def monotonic(self) -> float:
        """Give the seconds advanced so far."""
        return self._elapsed

    def advance(self, step: timedelta) -> None:
        """Let time pass."""
        self._now += step
        self._elapsed += step.total_seconds()

    def set(self, now: datetime) -> None:
        """Set the wall clock, back if need be; monotonic time does not move."""
        self._now = now
