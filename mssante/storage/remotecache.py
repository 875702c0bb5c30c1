"""Port of the cache of remote directory answers; see `storage/sql/remotecache.py`. A cache: it may be lost at any time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a source answered. found: it had the address; document: JSON of the entries, at most 64 KiB."""

    found: bool
    document: str
    at: datetime


class AnswerCache(Protocol):
    """Answers by source and address (lower-case). Methods block (milliseconds) and may be called from any thread."""

    def get(self, source: str, address: str) -> KeptAnswer | None:
        """Give what is kept. Raises OperatorFault (`ANNUAIRE-CACHE`)."""
        ...

    def put(self, source: str, address: str, answer: KeptAnswer) -> None:
        """Keep an answer, over an older one. Raises OperatorFault (`ANNUAIRE-CACHE`)."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...
