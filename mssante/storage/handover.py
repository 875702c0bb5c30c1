"""Port of the documents that programs hand in, and of what became of them. Used through `storage/interfaces.py`.

Addresses of citizens stand here as pseudonyms (services/privacy.py); no name, no subject, no content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

STATES = ("queued", "relayed", "delivered", "read", "failed")


@dataclass(frozen=True, slots=True)
class HandedRecord:
    """An accepted request. reference: its Message-ID with brackets; facts: what the program is told again."""

    source: str
    key: str
    id: str
    fingerprint: str
    mailbox_id: int
    trace_id: str
    reference: str
    created_at: datetime
    updated_at: datetime
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HandedRecipient:
    """What became of a document for one recipient. state: one of STATES; detail: the words of the other side."""

    handed_id: str
    address: str
    state: str
    at: datetime
    detail: str = ""


class HandoverStore(Protocol):
    """Requests by (source, key)."""

    def find(self, tx: Any, source: str, key: str) -> HandedRecord | None:
        """Give what was accepted under a key (one row: may be read quickly)."""
        ...

    def by_id(self, tx: Any, handed_id: str) -> HandedRecord | None:
        """Give a request by its public identifier."""
        ...

    def by_trace(self, tx: Any, traces: Sequence[str]) -> list[HandedRecord]:
        """Give the requests of these traces, in any order; most traces have none."""
        ...

    def holds_any(self, tx: Any) -> bool:
        """Tell whether there is a request at all (one row is read)."""
        ...

    def add(self, tx: Any, record: HandedRecord, recipients: Sequence[HandedRecipient]) -> None:
        """Keep a request. Raises (engine's) when its (source, key) is there: the caller's unit is undone."""
        ...

    def recipients(self, tx: Any, handed_ids: Sequence[str]) -> list[HandedRecipient]:
        """Give what became of these requests, by request and address."""
        ...

    def set_states(self, tx: Any, states: Sequence[HandedRecipient]) -> None:
        """Write states, in order; those of unknown recipients are added. `updated_at` of their requests moves."""
        ...

    def reports(self, tx: Any, traces: Sequence[str]) -> list[int]:
        """Give the row ids of the messages of these traces whose structure is that of a report (DSN, MDN)."""
        ...

    def forget(self, tx: Any, before: datetime, limit: int = 1000) -> int:
        """Remove the oldest requests made before an instant, `limit` at most; give how many."""
        ...
