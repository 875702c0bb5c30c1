"""Values and port of sharing: who may do what in folders of others, who follows them, and `\\Seen` kept for each reader.

Used through `storage/interfaces.py`; the implementation is `storage/sql/rights.py`. Every method is a bounded number of
statements, whatever the number of folders, rights and messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mssante.model.mailbox import Folder
from mssante.model.message import FolderRow


@dataclass(frozen=True, slots=True)
class Reader:
    """A login that looks at other mailboxes. own: its first mailbox; delegated: those it opens; reading: it only reads."""

    account_id: int
    login: str
    own: int
    delegated: tuple[int, ...] = ()
    reading: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """A folder of another mailbox of which something is said to a reader.

    delegated: the reader opens that mailbox; rows: (identifier, rights) that speak of the reader, negative ones included.
    """

    address: str
    folder: Folder
    subscribed: bool
    delegated: bool
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """An account that opens a mailbox. owner: it is its own; rights: letters that last as long as the delegation."""

    account_id: int
    login: str
    owner: bool
    rights: str = ""


@dataclass(frozen=True, slots=True)
class SeenChange:
    """What a change of private `\\Seen` did: rows after it, UIDs that became seen and not seen."""

    rows: tuple[FolderRow, ...]
    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()


class RightStore(Protocol):
    """Rights, subscriptions to folders of others, private `\\Seen`. Identifiers are in lower case."""

    def visible(self, tx: Any, reader: Reader) -> list[Grant]:
        """Give all folders of other, open mailboxes of which a right or a delegation speaks to the reader."""
        ...

    def of_folder(self, tx: Any, folder_id: int) -> list[tuple[str, str]]:
        """Give (identifier, rights), by identifier."""
        ...

    def of_mailbox(self, tx: Any, mailbox_id: int) -> list[tuple[str, str, str]]:
        """Give (folder name, identifier, rights) of all folders of a mailbox, by name then identifier."""
        ...

    def put(self, tx: Any, folder_id: int, identifier: str, rights: str) -> None:
        """Set the rights of an identifier; empty rights remove it. Raises LookupError when the folder is gone."""
        ...

    def inherit(self, tx: Any, parent_id: int, folder_ids: Sequence[int]) -> None:
        """Give new folders the rights of their parent (RFC 4314 §4 CREATE)."""
        ...

    def forget(self, tx: Any, login: str) -> None:
        """Remove every right of a login: who takes the name later must not find them."""
        ...

    def holders(self, tx: Any, mailbox_id: int, now: datetime | None = None) -> list[Holder]:
        """Give the accounts that open or read a mailbox at an instant (None: whatever the dates), owners first, by login."""
        ...

    def follow(self, tx: Any, account_id: int, folder_id: int, on: bool) -> None:
        """Set or clear the subscription of an account to a folder of another mailbox."""
        ...

    def followed(self, tx: Any, account_id: int) -> list[tuple[int, str, str]]:
        """Give (folder id, address, folder name) of the subscriptions of an account, visible or not."""
        ...

    def set_seen_private(self, tx: Any, folder_id: int, private: bool) -> int:
        """Switch a folder, and carry what is read over; give its new modseq, 0 when it was so already.

        To private: accounts that open the mailbox or have a right by login begin with what the shared flags say. To shared: the
        flags become those of the first owner. Raises LookupError when the folder is gone.
        """
        ...

    def seen(self, tx: Any, folder_id: int, account_id: int) -> list[int]:
        """Give the UIDs that an account has seen, in order."""
        ...

    def seen_counts(self, tx: Any, account_id: int, folder_ids: Sequence[int]) -> dict[int, int]:
        """Count, by folder, the live messages that an account has seen; folders without any are absent."""
        ...

    def mark(self, tx: Any, folder_id: int, account_id: int, seen: Sequence[int], unseen: Sequence[int] = ()) -> SeenChange:
        """Set and clear `\\Seen` of live messages for one account; what really changes gets a new modseq (rows)."""
        ...
