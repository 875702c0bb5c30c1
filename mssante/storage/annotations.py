"""Values and port of annotations (METADATA, RFC 5464): named values of folders and of mailboxes, shared or of one account.

Used through `storage/interfaces.py`; the implementation is `storage/sql/annotations.py`. Every method is a bounded number of
statements, whatever the number of folders and annotations. Names come checked and in lower case; `/shared/…` belongs to all who
may read the folder, `/private/…` to the account that set it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SHARED = "/shared"
PRIVATE = "/private"


@dataclass(frozen=True, slots=True)
class Place:
    """What is annotated: a folder of a mailbox, or with folder_id 0 the mailbox itself."""

    mailbox_id: int
    folder_id: int = 0


@dataclass(frozen=True, slots=True)
class FolderAnnotation:
    """One annotation of a folder, as one account sees it."""

    folder_id: int
    entry: str
    value: bytes


class AnnotationStore(Protocol):
    """Annotations. account_id: who looks or sets; it sees what is shared and what is its own."""

    def sizes(self, tx: Any, place: Place, account_id: int) -> dict[str, int]:
        """Give the octets of the value of each entry."""
        ...

    def values(self, tx: Any, place: Place, account_id: int, entries: Sequence[str]) -> dict[str, bytes]:
        """Give the values of those of these entries that exist."""
        ...

    def of_folders(self, tx: Any, mailbox_ids: Sequence[int], account_id: int, entries: Sequence[str]) -> list[FolderAnnotation]:
        """Give these entries of all folders of some mailboxes, in one statement."""
        ...

    def put(self, tx: Any, place: Place, account_id: int, changes: Mapping[str, bytes | None]) -> None:
        """Set values; None removes. A folder that is gone raises LookupError."""
        ...

    def count(self, tx: Any, mailbox_id: int, account_id: int) -> int:
        """Count the annotations of a mailbox and its folders."""
        ...

    def copy(self, tx: Any, source: Place, target: Place) -> None:
        """Give a folder that has none the annotations of another one, of all accounts (RENAME INBOX, RFC 5464 §4.1)."""
        ...
