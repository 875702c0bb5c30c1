"""Port of the cursors of consumers: how far each has read the journal or a folder. Used through `storage/interfaces.py`.

A consumer moves its cursor in the transaction that records what it did: kill -9 loses nothing and doubles nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol


class CursorStore(Protocol):
    """One position for each (consumer, scope): a journal sequence, or a UID; scope empty when there is one only."""

    def get(self, tx: Any, consumer: str, scope: str = "") -> int | None:
        """Give the position, None for a consumer that never moved (one row: may be read quickly)."""
        ...

    def move(self, tx: Any, consumer: str, position: int, at: datetime, *, scope: str = "") -> None:
        """Set the position, whatever it was."""
        ...

    def forget(self, tx: Any, consumer: str, scope: str = "") -> bool:
        """Remove a position; False when there is none."""
        ...
