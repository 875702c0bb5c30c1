"""Port of the holds of the queue, and of what they do to it. Used through `storage/interfaces.py`; see `storage/sql/holds.py`.

Every method is a fixed number of statements, whatever the number of messages: nothing is written per message.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from mssante.model.hold import Hold


class HoldStore(Protocol):
    """Holds, at most one for each cause and domain."""

    def all(self, tx: Any) -> list[Hold]:
        """Give all holds, oldest first (a few rows: may be read quickly)."""
        ...

    def put(self, tx: Any, hold: Hold) -> bool:
        """Begin a hold; False, and nothing written, when one of that cause and domain stands."""
        ...

    def change(self, tx: Any, hold: Hold) -> bool:
        """Write `until` and `note` of a standing hold; False when it is gone."""
        ...

    def remove(self, tx: Any, hold: Hold) -> bool:
        """End a hold; False when it is gone already."""
        ...

    def waiting(self, tx: Any) -> dict[str, int]:
        """Count recipients that wait (queued or held by hand), by destination."""
        ...

    def let_go(self, tx: Any, domain: str, now: datetime, expires_at: datetime) -> int:
        """Make the recipients of a domain (all when empty) due now and their messages live until `expires_at` at least.

        Recipients under a running lease are left to their attempt. Gives how many are due.
        """
        ...

    def nudge(self, tx: Any, domains: Sequence[str], now: datetime) -> int:
        """Make one recipient of each domain due now, the oldest message first, to find out whether it is well again."""
        ...
