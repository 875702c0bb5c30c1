"""Port of the versions of documents that a mailbox received: the chain is kept, nothing is removed.

Used through `storage/interfaces.py`.

Documents and sets are named by hashes (documents/versions.py); a mailbox knows only what came to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

CURRENT, REPLACED, DELETED = "current", "replaced", "deleted"


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """One document in one mailbox. status: `current`, `replaced` or `deleted`; replaced_by: the document that did it, or empty;
    message_id, trace_id: what brought it last."""

    mailbox_id: int
    document: str
    set_id: str
    version: str
    status: str
    replaced_by: str
    message_id: int
    trace_id: str
    at: datetime


class VersionStore(Protocol):
    """Versions by mailbox. Every method is a bounded number of statements."""

    def of(self, tx: Any, mailbox_id: int, documents: Sequence[str]) -> dict[str, DocumentVersion]:
        """Give those of these documents that are known."""
        ...

    def of_set(self, tx: Any, mailbox_id: int, set_id: str) -> list[DocumentVersion]:
        """Give the documents of a set, oldest first."""
        ...

    def of_messages(self, tx: Any, mailbox_id: int, message_ids: Sequence[int]) -> list[DocumentVersion]:
        """Give the documents that these messages brought last."""
        ...

    def put(self, tx: Any, one: DocumentVersion) -> None:
        """Write a document, new or again."""
        ...

    def mark(self, tx: Any, mailbox_id: int, documents: Sequence[str], status: str, *, by: str = "") -> int:
        """Set the status of documents that are current; give how many changed."""
        ...
