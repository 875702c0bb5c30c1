"""Port of the oppositions of patients to sending by MSSanté. Used through `storage/interfaces.py`.

A patient is a keyed hash of the INS (services/opposition.py): nothing here tells who it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Opposition:
    """One opposition. patient: hash, lower-case hex; scope: all, citizen or professionals; until None: without end; by:
    who recorded it; reason: in the words of who did, without any identity."""

    patient: str
    scope: str
    since: datetime
    until: datetime | None
    by: str
    reason: str


class OppositionStore(Protocol):
    """Oppositions by (patient, scope)."""

    def put(self, tx: Any, one: Opposition) -> None:
        """Record an opposition in place of the one of that patient and scope."""
        ...

    def of(self, tx: Any, patients: Sequence[str]) -> list[Opposition]:
        """Give the oppositions of these patients, ended ones too (a few rows: may be read quickly)."""
        ...

    def all(self, tx: Any, limit: int = 10_000) -> list[Opposition]:
        """Give oppositions, oldest first."""
        ...

    def remove(self, tx: Any, patient: str, scope: str) -> bool:
        """Remove one; False when there is none."""
        ...
