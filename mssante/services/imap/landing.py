"""Flags of what lands in a folder (APPEND, COPY, MOVE): those that the rights let through, `\\Seen` where it is kept.

- The target takes `\\Seen` with `s`, `\\Deleted` with `t`, all others with `w`; the rest is dropped without a word (RFC 4314 §4).
- Between folders whose `\\Seen` is private and others, what the user has read stays read for the user, and for nobody else.
- Nothing here, and no statement, for messages between one's own ordinary folders.
Called by `copy.py` and `append.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mssante.model.mailbox import Folder
from mssante.model.message import Flags
from mssante.protocol.imap import rights as letters
from mssante.services.imap.session import Session
from mssante.storage.interfaces import FlagChange, Stores, Tx

_SEEN = int(Flags.SEEN)
_EVERY_FLAG = 0x7FFFFFFF
_FLAG_RIGHTS = frozenset("stw")


@dataclass(frozen=True, slots=True)
class Landing:
    """How flags come into one folder for one user. rights: None for all; source_private: of the folder copied from."""

    folder: Folder
    account_id: int
    rights: frozenset[str] | None
    source_private: bool

    @classmethod
    def of(cls, session: Session, target: Folder) -> Landing:
        """Give it for a folder that `Session.find` gave."""
        account = session.account.id if session.account is not None else 0
        return cls(target, account, session.shares.known(target), session.seen is not None)

    @property
    def plain(self) -> bool:
        """True when messages are copied as they are."""
        return not (self.folder.seen_private or self.source_private
                    or (self.rights is not None and not self.rights.issuperset(_FLAG_RIGHTS)))

    def flags(self, mask: int, keywords: Sequence[str]) -> tuple[int, tuple[str, ...]]:
        """Give the flags that an appended message is stored with; a private `\\Seen` comes after, with `mark`."""
        if self.rights is not None:
            mask &= letters.flag_mask(self.rights)
            keywords = keywords if "w" in self.rights else ()
        return mask & ~_SEEN if self.folder.seen_private else mask, tuple(keywords)

    def wants_mark(self, mask: int) -> bool:
        """Tell if a message appended with these flags must be marked seen for its user."""
        return self.folder.seen_private and bool(mask & _SEEN) and (self.rights is None or "s" in self.rights)

    async def mark(self, session: Session, uids: Sequence[int]) -> None:
        """Mark appended messages as seen by their user, where `\\Seen` is private: one unit."""
        stores, folder_id, account_id = session.services.stores, self.folder.id, self.account_id

        def unit(tx: Tx) -> int:
            stores.rights.mark(tx, folder_id, account_id, uids)
            after = stores.folders.get(tx, folder_id)
            return after.highest_modseq if after is not None else 0

        modseq = await stores.database.write(unit)
        session.services.registry.seen.note(folder_id, account_id, uids)
        session.services.doorbell.ring(folder_id, modseq)
        if session.view is not None and session.view.folder_id == folder_id:
            session.view.announce(modseq)

    # ------------------------------------------------------------------------------------------ COPY and MOVE, inside their unit

    def read_tx(self, tx: Tx, stores: Stores, source_id: int, uids: Sequence[int]) -> frozenset[int]:
        """Give the UIDs of the source that the user has read; before the copy."""
        if self.source_private:
            return frozenset(stores.rights.seen(tx, source_id, self.account_id))
        if not self.folder.seen_private:
            return frozenset()
        return frozenset(row.uid for row in stores.messages.rows(tx, source_id, uids) if row.flags & _SEEN)

    def write_tx(self, tx: Tx, stores: Stores, pairs: Sequence[tuple[int, int]], read: frozenset[int]) -> list[int]:
        """Bring the flags of copies in order; give the UIDs marked seen for the user alone."""
        if not pairs:
            return []
        target, messages = self.folder.id, stores.messages
        seen = [copied for source, copied in pairs if source in read]
        kept = set(seen)
        if self.source_private and not self.folder.seen_private:
            messages.set_flags(tx, target, seen, FlagChange("add", _SEEN))
            messages.set_flags(tx, target, [copied for _, copied in pairs if copied not in kept], FlagChange("remove", _SEEN))
        if self.rights is not None and not self.rights.issuperset(_FLAG_RIGHTS):
            dropped = FlagChange("set", mask=_EVERY_FLAG & ~letters.flag_mask(self.rights), words="w" not in self.rights)
            messages.set_flags(tx, target, [copied for _, copied in pairs], dropped)
        if not self.folder.seen_private or (self.rights is not None and "s" not in self.rights):
            return []
        stores.rights.mark(tx, target, self.account_id, seen)
        return seen
