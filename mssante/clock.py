"""Injected time. Cores take `now` as an argument; services take a Clock. Fakes live in tests/support."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where services read the time."""

    def now(self) -> datetime:
        """Give the current instant, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never go back, for durations and deadlines."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Give the current instant in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Give monotonic seconds."""
        return time.monotonic()
