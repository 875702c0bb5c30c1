"""What an import asks of storage: what it brought in before, and where that lies now. Re-exported by `interfaces`.

The ledger of imports is the journal itself: one `imported` event for each message, appended in the transaction that stores
the message, whose trace id is derived from what the message is in its source (docs/adr/0011-import-ledger.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Tx = Any


@dataclass(frozen=True, slots=True)
class ImportedCopy:
    """A live copy of an imported message. size: octets that a reader gets."""

    trace_id: str
    message_id: int
    folder_id: int
    uid: int
    size: int


class ImportStore(Protocol):
    """The ledger of imports."""

    def known(self, tx: Tx, trace_ids: Sequence[str]) -> dict[str, str]:
        """Give the SHA-256 (hex) of the source octets of those that were imported once, even if deleted here since."""
        ...

    def copies(self, tx: Tx, mailbox_id: int, trace_ids: Sequence[str]) -> dict[str, ImportedCopy]:
        """Give one live copy in the mailbox of each that has one, whatever its folder."""
        ...
