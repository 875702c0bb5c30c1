"""Watches the calendar of what ends in the running server: metrics every ten minutes, one alarm a day for each near date.

- `mssante_expiry_seconds{what}`: the nearest end of each kind. An alarm is a journal event (`expiry_near`) and a log line, the
  same date at most once a day: a date that moved, or came nearer by a level, is told at once.
- Reading is done by the function given, in a thread: files, not the network. A file that cannot be read now is told in the log,
  the others are still watched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import EXPIRY
from mssante.services.evidence import Evidence
from mssante.trust.expiry import Expiry, Level, seconds_left

log = structlog.get_logger("expirywatch")
PERIOD_SECONDS = 600.0
AGAIN = timedelta(hours=24)


class ExpiryWatch:
    """The watcher of one process."""

    def __init__(self, gather: Callable[[datetime], Awaitable[Sequence[Expiry]]], evidence: Evidence, clock: Clock) -> None:
        """gather: gives the calendar as it is now."""
        self._gather = gather
        self._evidence = evidence
        self._clock = clock
        self._told: dict[tuple[str, str, datetime], tuple[Level, datetime]] = {}

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            try:
                await self.once()
            except (MssFault, OSError, ValueError) as fault:  # a file that is being replaced
                log.warning("calendar_not_read", detail=str(fault)[:300])
            await asyncio.sleep(PERIOD_SECONDS)

    async def once(self) -> list[Expiry]:
        """Look one time; give what was told."""
        now = self._clock.now()
        found = await self._gather(now)
        for what, seconds in seconds_left(found, now).items():
            EXPIRY.labels(what).set(seconds)
        told = [one for one in found if self._due(one, now)]
        for one in told:
            self._tell(one, now)
        alive = {(one.what.value, one.name, one.at) for one in found}
        self._told = {key: value for key, value in self._told.items() if key in alive}
        return told

    def _due(self, one: Expiry, now: datetime) -> bool:
        level = one.level(now)
        if level is Level.LATER:
            return False
        key = (one.what.value, one.name, one.at)
        known = self._told.get(key)
        if known is not None and level <= known[0] and known[1] <= now < known[1] + AGAIN:
            return False
        self._told[key] = (level, now)
        return True

    def _tell(self, one: Expiry, now: datetime) -> None:
        days = (one.at - now).days
        log.warning("expiry_near", what=one.what.value, name=one.name, at=one.at.isoformat(), days=days)
        self._evidence.write(self._evidence.event(JournalKind.EXPIRY_NEAR, one.name, {
            "what": one.what.value, "at": one.at.isoformat(), "days": days, "level": one.level(now).name.lower(),
            "where": one.where}))
