"""Values and ports of the full-text index: where the texts of messages are found again without reading them.

- The index is apart from the mail: it can be lost and made again from it. Each mailbox has its own, keyed by message row id: a
  copy in another folder of the mailbox costs nothing, and a search costs what its own mailbox holds.
- Engine-neutral: normal texts go in (`protocol.imap.searchform`), message ids come out. The engine of this project is SQLite FTS5
  (`storage/sql/textindex.py`); one on PostgreSQL would keep the same texts in its own tables.
- Every method of `TextIndex` blocks and may be called from any thread: services call it from worker threads.
- Exact: `find` gives all messages of the index that hold the text, and no other. What is not in the index is told apart, so
  that the caller looks itself: nothing is ever missing because the index is behind.
Used by `services/imap/textindex.py`, `services/indexing.py`, `search_setup.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class IndexedText(NamedTuple):
    """What is kept of one message: normal texts, pieces parted by `searchform.LINE`. id: row id of the message."""

    id: int
    head: str
    body: str


@dataclass(frozen=True, slots=True)
class TextQuery:
    """One text in one mailbox. text: normal form; head: look at headers as well (TEXT), else at bodies only (BODY)."""

    mailbox_id: int
    text: str
    head: bool


@dataclass(frozen=True, slots=True)
class TextMatches:
    """found: messages of the index that hold the text; missing: those asked about that are not in the index."""

    found: Collection[int]
    missing: Collection[int]


class Arrival(NamedTuple):
    """One message in one mailbox. size: octets."""

    message_id: int
    mailbox_id: int
    size: int


class TextIndex(Protocol):
    """The index of all mailboxes."""

    def find(self, query: TextQuery, among: Sequence[int]) -> TextMatches:
        """Look for a text. among: ids of the messages asked about; `found` may hold others too. Never raises: an index that
        cannot be read has nothing of them."""
        ...

    def add(self, mailbox_id: int, texts: Sequence[IndexedText]) -> int:
        """Put texts in, one transaction; those that are in already are passed over. Gives how many were new.

        Raises OperatorFault `INDEX-WRITE`.
        """
        ...

    def remove(self, mailbox_id: int, message_ids: Sequence[int]) -> int:
        """Take messages out, with the words that stood in no other; gives how many were there. Raises OperatorFault."""
        ...

    def known(self, mailbox_id: int) -> set[int]:
        """Give the messages of a mailbox that are in the index."""
        ...

    def clear(self, mailbox_id: int) -> None:
        """Empty the index of a mailbox, whatever its state."""
        ...

    def settle(self, mailbox_id: int) -> None:
        """Put the index of a mailbox into its best shape, and off the disk what was taken out of it. Raises OperatorFault."""
        ...

    def drop_others(self, mailbox_ids: Collection[int]) -> int:
        """Delete the indexes of mailboxes that are not among these; gives how many."""
        ...

    def mark(self) -> int:
        """Give the row id up to which messages were put in as they came."""
        ...

    def set_mark(self, message_id: int) -> None:
        """Keep the mark."""
        ...

    def settled(self) -> dict[int, str]:
        """Give the signature (`FeedStore.signatures`) of each mailbox when its index was last compared with it. A mailbox without
        index is absent."""
        ...

    def set_settled(self, mailbox_id: int, signature: str) -> None:
        """Keep the signature of a mailbox."""
        ...

    def octets(self, mailbox_id: int) -> int:
        """Give what the index of a mailbox takes on disk."""
        ...

    def close(self) -> None:
        """Close all files."""
        ...


class FeedStore(Protocol):
    """What the indexer asks of the mail store. Every method is a bounded number of statements."""

    def newest(self, tx: Any) -> int:
        """Give the highest row id of a message in a folder, 0 without any."""
        ...

    def lag(self, tx: Any, mark: int, most: int) -> int:
        """Count the places in folders of messages above `mark`, up to `most`."""
        ...

    def arrivals(self, tx: Any, mark: int, limit: int) -> list[Arrival]:
        """Give messages above `mark` by row id, each with all mailboxes that hold it; `limit` or a few more."""
        ...

    def present(self, tx: Any, mailbox_id: int) -> list[Arrival]:
        """Give the messages in folders of a mailbox, by row id."""
        ...

    def signatures(self, tx: Any) -> Mapping[int, str]:
        """Give, by mailbox, a text that changes whenever messages come or go."""
        ...
