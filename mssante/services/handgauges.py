"""Gauges of what waits on the way to programs: messages for the applications of the hospital, repair list, events of webhooks.

- Read from the database four times a minute, in one transaction of three counts: what waits is there whatever process put it in,
  and a process that has just started tells the truth.
- Labels are the names of the applications in the configuration; an application that left it is shown until its rows are settled.
- Changes nothing; never raises. No identity, no address.
Called by topics.handover.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.observability.metrics import (
    HOSPITAL_OLDEST,
    HOSPITAL_REPAIRS_OPEN,
    HOSPITAL_WAITING,
    WEBHOOK_OLDEST,
    WEBHOOK_WAITING,
)
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.interfacing import Backlog
from mssante.storage.webhooks import HookBacklog

log = structlog.get_logger("handover")
PERIOD_SECONDS = 15.0
State = tuple[dict[str, Backlog], dict[str, Backlog], dict[str, HookBacklog]]


class HandGauges:
    """The duty."""

    def __init__(self, stores: Stores, clock: Clock, applications: Sequence[str]) -> None:
        """applications: names of the configuration, shown even when nothing waits."""
        self._stores = stores
        self._clock = clock
        self._names = set(applications)

    async def run(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.step()
            except MssFault as fault:
                log.error("gauges_not_read", rule=fault.rule)
            await asyncio.sleep(PERIOD_SECONDS)

    async def step(self) -> None:
        """Refresh once. Raises MssFault."""
        def read(tx: Tx) -> State:
            stores = self._stores
            return stores.interfacing.backlog(tx), stores.interfacing.repairs_open(tx), stores.webhooks.backlog(tx)

        waiting, repairs, hooks = await self._stores.database.read(read)
        now = self._clock.now()
        self._names |= waiting.keys() | repairs.keys()
        for name in self._names:
            HOSPITAL_WAITING.labels(name).set(waiting[name].count if name in waiting else 0)
            HOSPITAL_OLDEST.labels(name).set(_age(waiting[name].oldest, now) if name in waiting else 0.0)
            HOSPITAL_REPAIRS_OPEN.labels(name).set(repairs[name].count if name in repairs else 0)
        WEBHOOK_WAITING.set(sum(one.count for one in hooks.values()))
        WEBHOOK_OLDEST.set(max((_age(one.oldest, now) for one in hooks.values()), default=0.0))


def _age(instant: datetime, now: datetime) -> float:
    return max(0.0, (now - instant).total_seconds())
