"""Counting what comes too often, in bounded memory: failures over a sliding window, commands by a token bucket.

- `Window` counts events by key over the last N seconds (two halves, the older one weighted by what is left of it).
- `Bucket` holds so many tokens, refilled at a rate: `take` gives how long to wait before the next one.
- No clock inside: the caller gives monotonic seconds. Used by `services.accounts` and `services.imap.pace`.
"""

from __future__ import annotations

MAX_KEYS = 50_000


class Window:
    """Events by key over a sliding window."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._started = 0.0
        self._now: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def _turn(self, now: float) -> None:
        if now - self._started >= self._seconds:
            recent = now - self._started < 2 * self._seconds
            self._before = self._now if recent else {}
            self._now = {}
            self._started = self._started + self._seconds if recent else now

    def add(self, key: str, now: float) -> None:
        """One more event. Past `MAX_KEYS` keys, new ones are not counted until the window turns."""
        self._turn(now)
        if key in self._now or len(self._now) < MAX_KEYS:
            self._now[key] = self._now.get(key, 0) + 1

    def count(self, key: str, now: float) -> float:
        """Give how many events the last `seconds` seconds saw, about."""
        self._turn(now)
        left = 1.0 - (now - self._started) / self._seconds
        return self._now.get(key, 0) + self._before.get(key, 0) * left


class Bucket:
    """A token bucket: `burst` at once, `rate` a second."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, count: int, now: float) -> float:
        """Take tokens, below zero if need be; give how many seconds to wait before more may be taken (0: none)."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - count
        self._at = now
        return -self._tokens / self._rate if self._tokens < 0 else 0.0
