"""Small periodic duties: content that nothing refers to any more is deleted, gauges are refreshed.

Files go after the commit that forgot them. Nothing here is on the path of a message.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from cryptography import x509

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.observability.metrics import CERTIFICATE_DAYS, QUEUE_DEPTH
from mssante.services.evidence import Evidence
from mssante.storage.interfaces import Stores, Tx

log = structlog.get_logger("housekeeping")
PERIOD_SECONDS = 20.0
SWEEP_LIMIT = 500


class Housekeeping:
    """Runs the duties."""

    def __init__(self, stores: Stores, evidence: Evidence, clock: Clock, certificate: Path) -> None:
        """certificate: our operator certificate, whose end is watched."""
        self._stores = stores
        self._evidence = evidence
        self._clock = clock
        self._certificate = certificate

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
