"""The reconciliation view: for each of our addresses what is local, sent, accepted and visible, the delays, and what differs.

- `rows` is what the command line and the console show; `retry` puts what waits for a human back under way.
- `compare` asks the directory for each accepted entry and names the differences, one closed word each; red-listed entries are not
  seen by readers, so their absence proves nothing (F4.3, api-mss-fhir §4.7).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import partial

from mssante.clock import Clock
from mssante.directory.publication import PublishedBox, read_box
from mssante.directory.values import DirectoryEntry, Finding, Presence
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.directory_port import DirectoryDesk
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.publication import PublicationRow, PublicationState

PAGE = 500


class Difference(StrEnum):
    """What the directory shows against what it accepted."""

    MISSING = "missing"
    STILL_THERE = "still_there"
    TYPE = "type"
    HOLDER = "holder"
    SERVICE = "service"
    UNKNOWN = "unknown"  # the directory could not be asked


@dataclass(frozen=True, slots=True)
class Compared:
    """One row against the directory; differences empty when they agree."""

    row: PublicationRow
    differences: tuple[Difference, ...]


def delay(row: PublicationRow) -> timedelta | None:
    """Give the time from the wish to its being visible, None while it is not."""
    return row.visible_at - row.wanted_at if row.visible_at is not None else None


def differences(row: PublicationRow, finding: Finding) -> tuple[Difference, ...]:
    """Name what differs between an accepted row and what the directory shows of its address."""
    box = read_box(row.sent)
    entries = list(finding.entries)
    if finding.presence is Presence.UNKNOWN:
        return (Difference.UNKNOWN,)
    if box is None:
        return (Difference.STILL_THERE,) if entries else ()
    if box.red_listed:
        return (Difference.STILL_THERE,) if entries else ()
    if not entries:
        return (Difference.MISSING,)
    return _entry_differences(box, entries)


def _entry_differences(box: PublishedBox, entries: list[DirectoryEntry]) -> tuple[Difference, ...]:
    found: list[Difference] = []
    if all(one.type != box.type for one in entries):
        found.append(Difference.TYPE)
    holders = {one.holder_id or one.structure_id for one in entries} | {one.structure_id for one in entries}
    if not any(holder and holder.endswith(box.key_value) for holder in holders):
        found.append(Difference.HOLDER)
    if box.service and all(one.service.casefold() != box.service.casefold() for one in entries):
        found.append(Difference.SERVICE)
    return tuple(found)


class PublicationDesk:
    """What the command line and the console call."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    async def rows(self, *, state: PublicationState | None = None, after: str = "", limit: int = PAGE) -> list[PublicationRow]:
        """Give rows ordered by address."""
        return await self._stores.database.read(partial(self._stores.publication.page, after=after, limit=limit, state=state))

    async def counts(self) -> dict[PublicationState, int]:
        """Count rows by state."""
        return await self._stores.database.read(self._stores.publication.counts)

    async def retry(self, address: str = "") -> int:
        """Make what is held or unanswered due now: one address, or all. Raises InputFault (`PUB-INCONNUE`)."""
        key, now = address.lower(), self._clock.now()

        def unit(tx: Tx) -> int:
            store = self._stores.publication
            rows = [row for state in (PublicationState.HELD, PublicationState.SENT, PublicationState.DUE)
                    for row in store.page(tx, limit=1_000_000, state=state) if not key or row.address == key]
            again = [replace(row, state=PublicationState.DUE, next_attempt_at=now, attempts=0) for row in rows
                     if row.wanted != row.sent]
            store.put(tx, again)
            self._stores.journal.append(tx, [JournalEvent(JournalKind.PUBLICATION, now, "", row.address, {
                "action": "retry", "state": row.state.value}) for row in again])
            return len(again)

        done = await self._stores.database.write(unit)
        if key and not done:
            raise InputFault(say(f"rien à renvoyer pour {address}", f"nothing to send again for {address}"), rule="PUB-INCONNUE",
                             remedy="mssante publication list")
        return done

    async def compare(self, desk: DirectoryDesk) -> AsyncIterator[Compared]:
        """Compare every accepted or withdrawn row with the directory, page by page."""
        after = ""
        while True:
            rows = await self.rows(after=after)
            for row in rows:
                if row.state in (PublicationState.ACCEPTED, PublicationState.WITHDRAWN):
                    yield Compared(row, differences(row, await desk.shown(row.address)))
            if len(rows) < PAGE:
                return
            after = rows[-1].address

    async def again(self, compared: Compared) -> None:
        """Publish anew what the directory lost or shows otherwise: its row forgets what was sent."""
        now = self._clock.now()
        missing = Difference.MISSING in compared.differences
        row = replace(compared.row, sent="" if missing else compared.row.sent, state=PublicationState.DUE, next_attempt_at=now,
                      attempts=0, visible_at=None)
        if row.wanted == row.sent:  # shown otherwise than accepted: what was sent is no more believed
            row = replace(row, sent="")
        await self._stores.database.write(lambda tx: self._stores.publication.put(tx, [row]))
