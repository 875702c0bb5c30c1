"""What storage only ever adds to: the journal, chained by hash, and adopted white lists. Used through `interfaces`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mssante.model.journal import JournalEvent

Tx = Any


@dataclass(frozen=True, slots=True)
class JournalRow:
    """A journal event as stored, with its place in the chain."""

    sequence: int
    at: datetime
    kind: str
    trace_id: str
    subject: str
    payload: dict[str, Any]
    hash: str


class JournalStore(Protocol):
    """Append-only, chained by hash (RELIABILITY §3.24)."""

    def append(self, tx: Tx, events: Sequence[JournalEvent]) -> None:
        """Append events in order, in this transaction."""
        ...

    def by_trace(self, tx: Tx, trace_id: str) -> list[JournalRow]:
        """Give the events of one transaction, oldest first."""
        ...

    def recent(self, tx: Tx, *, kind: str | None = None, subject: str | None = None, limit: int = 100,
               ) -> list[JournalRow]:
        """Give the latest events, newest first."""
        ...

    def by_sequence(self, tx: Tx, sequence: int) -> JournalRow | None:
        """Give the event of that place in the chain, or None."""
        ...

    def after(self, tx: Tx, sequence: int, limit: int = 500, *, until: int | None = None, kinds: Collection[str] = (),
              plain: bool = True) -> list[JournalRow]:
        """Give at most `limit` events behind that place in the chain, in order: what followers with a cursor read.

        until: the last place looked at, None for the end; kinds: those wanted, none for all; plain: whether arrivals marked plain
        are wanted too (`model.journal.PLAIN`).
        """
        ...

    def end(self, tx: Tx) -> int:
        """Give the sequence of the last event, 0 without any."""
        ...

    def verify(self, tx: Tx) -> int | None:
        """Check the chain; give the sequence of the first row that does not fit, or None when whole."""
        ...


@dataclass(frozen=True, slots=True)
class WhitelistVersion:
    """One adopted white list. file: name inside the `whitelist/` folder."""

    sha256: str
    generated_at: datetime
    adopted_at: datetime
    entries: int
    domains: int
    file: str
    forced: bool = False


class TrustStore(Protocol):
    """History of adopted lists."""

    def add_whitelist(self, tx: Tx, version: WhitelistVersion) -> None:
        """Record an adopted list."""
        ...

    def whitelists(self, tx: Tx, limit: int = 50) -> list[WhitelistVersion]:
        """Give versions, newest adoption first."""
        ...
