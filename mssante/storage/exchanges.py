"""Port of what is remembered of addresses elsewhere: which were told to be closed, and with whom our mailboxes exchange.

Used through `storage/interfaces.py` (`stores.exchanges`); see `storage/sql/exchanges.py`. Addresses are lower-case. Every method
is a bounded number of statements. Citizens' addresses are never written here: the callers leave them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

BOUNCE = "bounce"
DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class ClosedAddress:
    """An address that was told not to be a mailbox any more. source: `bounce` or `directory`; reason: the reply of its operator,
    or a word of ours; closed_at: when it was first told; seen_at: last told."""

    address: str
    closed_at: datetime
    source: str
    reason: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Exchange:
    """How many messages a mailbox sent to, and received from, an address."""

    mailbox_id: int
    address: str
    sent: int
    received: int
    last_at: datetime


class ExchangeStore(Protocol):
    """Closed addresses and correspondents."""

    def closed(self, tx: Any, addresses: Sequence[str]) -> dict[str, ClosedAddress]:
        """Give those of these addresses that were told to be closed."""
        ...

    def close(self, tx: Any, rows: Sequence[ClosedAddress]) -> None:
        """Write addresses told to be closed; of one known already the first date stays."""
        ...

    def reopen(self, tx: Any, addresses: Sequence[str]) -> None:
        """Forget that these addresses were closed: their operator took a message for them."""
        ...

    def add(self, tx: Any, rows: Sequence[Exchange]) -> None:
        """Add to the counts; at most one row of a mailbox and address; those of mailboxes that are gone are left out."""
        ...

    def correspondents(self, tx: Any, mailbox_id: int, *, limit: int = 1000) -> list[Exchange]:
        """Give with whom a mailbox exchanges, the latest first."""
        ...

    def forget(self, tx: Any, before: datetime) -> None:
        """Delete what was last seen before an instant, of both kinds."""
        ...
