"""Port of the readable twins: what arrived that may need one, and what was made of it. Used through `storage/interfaces.py`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

MADE, FAILED = "made", "failed"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message in a folder of a mailbox (the first of its folders)."""

    mailbox_id: int
    message_id: int
    folder_id: int


@dataclass(frozen=True, slots=True)
class TwinRecord:
    """What became of one. state: `made` or `failed`; twin_id: the message made of it, 0 without; detail: rule of a failure."""

    mailbox_id: int
    message_id: int
    twin_id: int
    state: str
    detail: str
    at: datetime


class TwinStore(Protocol):
    """Twins by message."""

    def arrived(self, tx: Any, traces: Sequence[str]) -> list[Arrived]:
        """Give the live messages that these traces brought into mailboxes, those with a file that may be a document; nothing of
        Sent, Drafts, Junk and Trash."""
        ...

    def documents(self, tx: Any, mailbox_id: int, limit: int = 200) -> list[Arrived]:
        """Give the latest messages of a mailbox that may hold documents, the latest first."""
        ...

    def known(self, tx: Any, mailbox_id: int, message_ids: Collection[int]) -> dict[int, TwinRecord]:
        """Give those that were dealt with."""
        ...

    def record(self, tx: Any, one: TwinRecord) -> None:
        """Write what became of a message; once for each (mailbox, message)."""
        ...

    def forget(self, tx: Any, before: datetime, limit: int = 1000) -> int:
        """Remove at most `limit` records older than that; give how many."""
        ...
