"""Commits what was accepted, wakes those who wait: the one place that turns a sealed body into durable mail.

Order, always: blob (sealed by the sink) -> one transaction -> doorbell and relay -> the caller replies 250.

- All messages waiting at the same moment go into one transaction and a constant number of statements.
- A message and the reports that it gives rise to are one group: both are committed or none (window W4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mssante.clock import Clock
from mssante.services.doorbell import Doorbell
from mssante.services.sentcopy import SentCopies
from mssante.services.sharedbooks import SharedBooks
from mssante.storage.interfaces import Acceptance, Accepted, Stores, Tx

Group = tuple[Acceptance, ...]


class RelayIntake(Protocol):
    """The relay, as the mailroom sees it."""

    def reserve(self, item: Acceptance) -> Acceptance:
        """Before the commit: lease the queue rows to this process when it will attempt at once."""
        ...

    def handed(self, item: Acceptance, result: Accepted) -> None:
        """After the commit: queue rows exist."""
        ...


class Mailroom:
    """Accepts groups of messages."""

    def __init__(self, stores: Stores, doorbell: Doorbell) -> None:
        self._stores = stores
        self._doorbell = doorbell
        self.books = SharedBooks()  # what submission and IMAP both know of shared mailboxes
        self._relay: RelayIntake | None = None

    def sent_copies(self, clock: Clock) -> SentCopies:
        """Give what decides on the copies of sent mail."""
        return SentCopies(self._stores, clock, self.books)

    def hand_to(self, relay: RelayIntake) -> None:
        """Give the relay: it hears of each committed message with queue rows."""
        self._relay = relay

    def _accept(self, tx: Tx, groups: Sequence[Group]) -> list[tuple[Accepted, ...]]:
        flat = [item for group in groups for item in group]
        results = self._stores.messages.accept(tx, flat)
        for item, result in zip(flat, results, strict=True):
            if item.also is not None:
                item.also(tx, result)
        done = iter(results)
        return [tuple(next(done) for _ in group) for group in groups]

    async def accept(self, group: Group) -> tuple[Accepted, ...]:
        """Commit a group; give what became of each. Raises StorageFull, OperatorFault."""
        if self._relay is not None:
            group = tuple([self._relay.reserve(item) if item.queue is not None else item for item in group])
        results = await self._stores.database.write_many(self._accept, group)
        self.announce(group, results)
        return results

    def announce(self, group: Group, results: Sequence[Accepted]) -> None:
        """Ring the doorbell and wake the relay for a group that was committed."""
        for item, result in zip(group, results, strict=True):
            for filed in result.filed:
                self._doorbell.ring(filed.folder_id, filed.modseq)
            if item.queue is not None and self._relay is not None:
                self._relay.handed(item, result)
