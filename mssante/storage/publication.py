"""Port of what the national directory was told of our mailboxes. Used through `storage/interfaces.py`.

Rows outlive their mailbox until its withdrawal is accepted; every method is a bounded number of statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class PublicationState(StrEnum):
    """due: to be sent; sent: handed over, no answer yet; accepted: the directory has what we want; held: waits for a human;
    withdrawn: the directory has nothing, and we want nothing."""

    DUE = "due"
    SENT = "sent"
    ACCEPTED = "accepted"
    HELD = "held"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """One address. wanted, sent: stored forms (`PublishedBox.text`), empty for none; version: of the carrier, as answered."""

    address: str
    wanted: str
    sent: str
    state: PublicationState
    wanted_at: datetime
    next_attempt_at: datetime
    attempts: int = 0
    sent_at: datetime | None = None
    accepted_at: datetime | None = None
    visible_at: datetime | None = None
    version: str = ""
    last_error: str = ""


class PublicationStore(Protocol):
    """Rows by address (lower-case)."""

    def between(self, tx: Any, after: str, last: str) -> list[PublicationRow]:
        """Give the rows whose address is above `after` and up to `last` (no end when empty), in order."""
        ...

    def page(self, tx: Any, *, after: str = "", limit: int = 1000, state: PublicationState | None = None) -> list[PublicationRow]:
        """Give rows ordered by address."""
        ...

    def due(self, tx: Any, now: datetime, limit: int) -> list[PublicationRow]:
        """Give rows to be sent whose time has come, the longest due first."""
        ...

    def put(self, tx: Any, rows: Sequence[PublicationRow]) -> None:
        """Write rows, new or not."""
        ...

    def remove(self, tx: Any, addresses: Sequence[str]) -> None:
        """Forget rows."""
        ...

    def counts(self, tx: Any) -> dict[PublicationState, int]:
        """Count rows by state."""
        ...
