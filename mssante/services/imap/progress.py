"""INPROGRESS (RFC 9585): a command that takes long says how far it is.

- The clock is asked at each step of a long loop; a line is written only when nothing was for `seconds`.
- A short command costs one reading of the clock.
- Lines go through a function that the endpoint gives; without one nothing is told.
Used by `session.py`; loops call `Session.progress`, the endpoint's timer calls it for a command that waits for one long step.
"""

from __future__ import annotations

from collections.abc import Callable

from mssante.clock import Clock
from mssante.protocol.imap.syncencode import progress_line


class Progress:
    """What one session tells of its long commands."""

    __slots__ = ("_clock", "_seconds", "_tag", "_told", "write")

    def __init__(self, clock: Clock, seconds: float) -> None:
        """seconds: between two lines, and before the first one."""
        self._clock = clock
        self._seconds = seconds
        self._tag = b""
        self._told = 0.0
        self.write: Callable[[bytes], None] | None = None

    def begin(self, tag: bytes) -> None:
        """A command begins; an empty tag: what is told now belongs to none, and is never late."""
        self._tag = tag
        self._told = self._clock.monotonic()

    def tell(self, done: int | None = None, goal: int | None = None) -> None:
        """Write a line when it is time; done None: only that we are at work."""
        now = self._clock.monotonic()
        if self.write is None or not self._tag or now - self._told < self._seconds:
            return
        self._told = now
        self.write(progress_line(self._tag, done, goal))
