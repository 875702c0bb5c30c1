"""Remembers the certificates that other operators show, and tells when one of them changes.

- Sightings are counted in memory (one dictionary look-up each) and written once a minute in one transaction: nothing is written
  on the path of a message. At most 2,000 sightings wait; beyond, further certificates are dropped and counted.
- Outbound: the server of a destination, admitted or not, with the rule that refused it. Inbound: the client of a session whose
  sender domain was admitted; who is nobody's operator leaves nothing here.
- A certificate not seen before, of a domain that had another one, is a change: a journal event, a log line, a call of
  `on_change`. A second server of the same domain is told once. Never refuses anything: `trust` does.
- What was not seen for 400 days is forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from cryptography import x509

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault
from mssante.model.journal import JournalKind
from mssante.services.evidence import Evidence
from mssante.storage.interfaces import PeerCertificate, Stores
from mssante.storage.peercerts import INBOUND, OUTBOUND
from mssante.trust.anchors import READ_FAULTS, read_der
from mssante.trust.names import dn_from_x509

log = structlog.get_logger("peerwatch")
FLUSH_SECONDS = 60.0
MAX_PENDING = 2000
MAX_LEAF = 16 * 1024
KEEP_DAYS = 400


@dataclass(frozen=True, slots=True)
class PeerChange:
    """A domain showed a certificate that it had not shown before. same_holder: the subject is the same, so the white list still
    binds it; former, current: fingerprints; refused: the rule that refuses the current one, or nothing."""

    domain: str
    direction: str
    former: str
    current: str
    former_not_after: datetime
    current_not_after: datetime
    same_holder: bool
    refused: str


@dataclass(slots=True)
class _Sighting:
    der: bytes
    first: datetime
    last: datetime
    uses: int
    refused: str


class PeerWatch:
    """The collector of one process. `seen` is called on the event loop; `run` writes."""

    def __init__(self, stores: Stores, evidence: Evidence, clock: Clock) -> None:
        self._stores = stores
        self._evidence = evidence
        self._clock = clock
        self._pending: dict[tuple[str, str, str], _Sighting] = {}
        self._dropped = 0
        self._forget_due = 0.0
        self.on_change: list[Callable[[PeerChange], None]] = []

    def seen(self, leaf_der: bytes, domain: str, direction: str, refused: str = "") -> None:
        """Count a certificate (DER) shown for a domain; refused: the rule, when it was not admitted. Never raises."""
        if not leaf_der or not domain or len(leaf_der) > MAX_LEAF:
            return
        now = self._clock.now()
        key = (domain.lower(), direction, hashlib.sha256(leaf_der).hexdigest())
        known = self._pending.get(key)
        if known is not None:
            known.uses += 1
            known.last, known.refused = now, refused
        elif len(self._pending) < MAX_PENDING:
            self._pending[key] = _Sighting(leaf_der, now, now, 1, refused)
        else:
            self._dropped += 1

    async def run(self) -> None:
        """Write what was seen, once a minute, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except MssFault as fault:
                log.warning("sightings_not_written", detail=str(fault)[:300])

    async def flush(self) -> list[PeerChange]:
        """Write what was seen since the last time, tell the changes and give them. Raises MssFault; nothing is lost then."""
        if self._dropped:
            log.warning("sightings_dropped", count=self._dropped)
            self._dropped = 0
        await self._forget()
        taken, self._pending = self._pending, {}
        if not taken:
            return []
        try:
            rows = await asyncio.to_thread(_rows, taken)
            former = await self._stores.database.write(lambda tx: self._stores.peer_certificates.record(tx, rows))
        except BaseException:
            self._give_back(taken)
            raise
        changes = await asyncio.to_thread(_changes, rows, former)
        for change in changes:
            self._tell(change)
        return changes

    def _give_back(self, taken: dict[tuple[str, str, str], _Sighting]) -> None:
        for key, sighting in taken.items():
            newer = self._pending.get(key)
            if newer is not None:
                newer.uses += sighting.uses
                newer.first = sighting.first
            elif len(self._pending) < MAX_PENDING:
                self._pending[key] = sighting

    async def _forget(self) -> None:
        if self._clock.monotonic() < self._forget_due:
            return
        self._forget_due = self._clock.monotonic() + 86400
        before = self._clock.now() - timedelta(days=KEEP_DAYS)
        await self._stores.database.write(lambda tx: self._stores.peer_certificates.forget(tx, before))

    def _tell(self, change: PeerChange) -> None:
        log.info("peer_certificate_changed", domain=change.domain, direction=change.direction, same_holder=change.same_holder,
                 refused=change.refused)
        self._evidence.write(self._evidence.event(JournalKind.PEER_CERTIFICATE, change.domain, {
            "direction": change.direction, "former": change.former, "certificate": change.current,
            "former_not_after": change.former_not_after.isoformat(), "not_after": change.current_not_after.isoformat(),
            "same_holder": change.same_holder, "rule": change.refused}))
        for listener in self.on_change:
            listener(change)


def _rows(taken: dict[tuple[str, str, str], _Sighting]) -> list[PeerCertificate]:
    """Read what the certificates say of themselves; what cannot be read was refused, and is not remembered."""
    rows = []
    for (domain, direction, fingerprint), one in taken.items():
        try:
            end = read_der(one.der).not_valid_after_utc
        except READ_FAULTS:
            continue
        rows.append(PeerCertificate(domain, fingerprint, direction, one.der, end, one.first, one.last, one.uses, one.refused))
    return rows


def _changes(rows: list[PeerCertificate], former: list[PeerCertificate]) -> list[PeerChange]:
    """Pair each former certificate with the newest of the batch that is not it, one change a domain and direction."""
    changes = []
    for old in {(one.domain, one.direction): one for one in former}.values():
        fresh = [row for row in rows if (row.domain, row.direction) == (old.domain, old.direction)
                 and row.fingerprint != old.fingerprint]
        if fresh:
            new = max(fresh, key=lambda row: row.last_seen)
            changes.append(PeerChange(old.domain, old.direction, old.fingerprint, new.fingerprint, old.not_after, new.not_after,
                                      _same(old.der, new.der), new.refused))
    return changes


def _same(first: bytes, second: bytes) -> bool:
    try:
        return _name(read_der(first)) == _name(read_der(second))
    except (InputFault, *READ_FAULTS):
        return False


def _name(certificate: x509.Certificate) -> object:
    return dn_from_x509(certificate.subject).pairs


__all__ = ["INBOUND", "OUTBOUND", "PeerChange", "PeerWatch"]
