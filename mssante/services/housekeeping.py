"""Small periodic duties: content that nothing refers to any more is deleted, gauges are refreshed.

- Files go after the commit that forgot them.
- Blobs that no message names (a letter refused after its content was read, a process killed between file and commit) are
  found once an hour among those older than an hour: what is being accepted now is never among them.
- Tombstones (what is kept of expunged messages, so that clients that come back are told) are kept up to a number a folder; the
  oldest go first, once an hour. A client older than what is kept is still told right, from what it knows (RFC 7162 §3.2.5).
- Nothing here is on the path of a message.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import structlog
from cryptography import x509

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.observability.metrics import CERTIFICATE_DAYS, QUEUE_DEPTH
from mssante.services.evidence import Evidence
from mssante.storage.interfaces import MessageStore, Stores, Tx

log = structlog.get_logger("housekeeping")
PERIOD_SECONDS = 20.0
SWEEP_LIMIT = 500
FILES_SECONDS = 3600.0
TOMBSTONES_KEPT = 50_000


class Housekeeping:
    """Runs the duties."""

    def __init__(self, stores: Stores, evidence: Evidence, clock: Clock, certificate: Path, *,
                 tombstones_kept: int = TOMBSTONES_KEPT) -> None:
        """certificate: our operator certificate, whose end is watched; tombstones_kept: in each folder."""
        self._stores = stores
        self._evidence = evidence
        self._clock = clock
        self._certificate = certificate
        self._tombstones_kept = tombstones_kept
        self._files_due = 0.0

    async def run(self) -> None:
        """Do all duties, again and again."""
        while True:
            try:
                await self.once()
            except (MssFault, OSError, ValueError) as fault:  # ValueError: a certificate file that is being replaced
                log.error("duty_failed", detail=str(fault)[:300])
            await asyncio.sleep(PERIOD_SECONDS)

    async def once(self) -> None:
        """Do all duties one time."""
        await self._sweep()
        if self._clock.monotonic() >= self._files_due:
            self._files_due = self._clock.monotonic() + FILES_SECONDS
            await self.sweep_files(FILES_SECONDS)
            await self.purge_tombstones()
        depth = await self._stores.database.read(lambda tx: self._stores.queue.depth(tx))
        for state in ("queued", "held", "failed"):
            QUEUE_DEPTH.labels(state).set(depth.get(state, 0))
        raw = await asyncio.to_thread(self._certificate.read_bytes)
        left = x509.load_pem_x509_certificate(raw).not_valid_after_utc - self._clock.now()
        CERTIFICATE_DAYS.set(left.total_seconds() / 86400)

    async def _sweep(self) -> None:
        def unit(tx: Tx) -> list[str]:
            return self._stores.messages.sweep(tx, SWEEP_LIMIT)

        keys = await self._stores.database.write(unit)
        if keys:
            await asyncio.to_thread(self._stores.blobs.delete, keys)

    async def purge_tombstones(self) -> int:
        """Delete the oldest tombstones of the folders that hold too many; give how many. One unit a folder."""
        messages, kept = self._stores.messages, self._tombstones_kept
        count = 0
        for folder_id, modseq in await self._stores.database.read(lambda tx: messages.tombstones_beyond(tx, kept)):
            count += await self._stores.database.write(partial(_purge, messages, folder_id, modseq))
        if count:
            log.info("tombstones_purged", count=count)
        return count

    async def sweep_files(self, older_than_seconds: float) -> int:
        """Delete blobs that no message names and that nobody touched for that long; give how many."""
        await asyncio.to_thread(self._stores.blobs.clear_staging)
        found = await asyncio.to_thread(lambda: list(self._stores.blobs.keys(older_than_seconds=older_than_seconds)))
        count = 0
        for start in range(0, len(found), SWEEP_LIMIT):
            part = found[start:start + SWEEP_LIMIT]
            used = await self._stores.database.read(partial(self._used, part))
            lost = [key for key in part if key not in used]
            await asyncio.to_thread(self._stores.blobs.delete, lost)
            count += len(lost)
        if count:
            log.info("orphan_blobs_deleted", count=count)
        return count

    def _used(self, keys: list[str], tx: Tx) -> set[str]:
        return self._stores.messages.blobs_in_use(tx, keys)


def _purge(messages: MessageStore, folder_id: int, modseq: int, tx: Tx) -> int:
    return messages.purge_tombstones(tx, folder_id, modseq)
