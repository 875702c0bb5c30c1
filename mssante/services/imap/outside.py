"""Changes made by another process (an import, an administration command beside the server) reach open folders.

- The doorbell is heard inside one process; what another one commits is seen here by its modseq: once a second, one
  statement reads the highest modseq of the folders that somebody watches, and rings for those that moved.
- A change of our own process that is seen here too rings twice, which the views bear (services/imap/view.py).
- Nothing is read while no folder is watched.
Run by `app.py` beside the other services. Obsolete on PostgreSQL, where notifications feed the doorbell (ADR 0006).
"""

from __future__ import annotations

import asyncio

import structlog

from mssante.errors import MssFault
from mssante.services.doorbell import Doorbell
from mssante.storage.interfaces import Stores

log = structlog.get_logger("outside")
PERIOD_SECONDS = 1.0


class OutsideWatch:
    """Rings the doorbell for what other processes changed."""

    def __init__(self, stores: Stores, doorbell: Doorbell) -> None:
        self._stores = stores
        self._doorbell = doorbell
        self._known: dict[int, int] = {}

    async def run(self) -> None:
        """Look, again and again."""
        while True:
            try:
                await self.once()
            except MssFault as fault:
                log.warning("outside_watch_failed", detail=str(fault)[:300])
            await asyncio.sleep(PERIOD_SECONDS)

    async def once(self) -> None:
        """Look one time. A folder seen for the first time rings: it may have moved since it was opened."""
        watched = self._doorbell.watched()
        if not watched:
            self._known.clear()
            return
        found = await self._stores.database.read(lambda tx: self._stores.folders.modseqs(tx, watched))
        for folder_id in watched:
            # A folder that is gone rings above all that was known: its view looks, and finds out.
            modseq = found.get(folder_id, self._known.get(folder_id, 0) + 1)
            if self._known.get(folder_id) != modseq:
                self._doorbell.ring(folder_id, modseq)
        self._known = found
