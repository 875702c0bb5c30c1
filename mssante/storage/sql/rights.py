"""Sharing of folders: rights by identifier, subscriptions to folders of others, private `\\Seen` (shape 2).

- `visible` reads all that concerns one login in three statements at most: rights by the index on identifiers, folders of the
  mailboxes that it opens by delegation, its subscriptions.
- Mailboxes that are not open (suspended, closed, purged) are shown to nobody but their owner.
- What `\\Seen` needs is in `seen.py`; the rights of a deleted folder go with it (foreign keys).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, literal, select

from mssante.model.delegation import Right
from mssante.model.mailbox import MailboxState
from mssante.protocol.imap import rights as letters
from mssante.protocol.imap.rights import identifiers
from mssante.storage.rights import Grant, Holder, Reader, SeenChange
from mssante.storage.sql.folders import FOLDER_COLUMNS, folder_of
from mssante.storage.sql.seen import mark_tx, seen_counts_tx, seen_tx, switch_tx
from mssante.storage.sql.tables import account, delegation, folder, folder_right, mailbox, shared_subscription
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import micros

_R = folder_right.c
_M = mailbox.c
_OPEN = (_M.state != MailboxState.SUSPENDED.value, _M.state != MailboxState.CLOSED.value,
         _M.state != MailboxState.PURGED.value)
_GRANTED = Statement(
    select(_R.identifier, _R.rights, _M.address, *FOLDER_COLUMNS).select_from(
        folder_right.join(folder, folder.c.id == _R.folder_id).join(mailbox, _M.id == folder.c.mailbox_id))
    .where(_R.identifier.in_(bindparam("p_identifiers", expanding=True)), _M.id != bindparam("p_own"), *_OPEN))
_DELEGATED = Statement(
    select(_M.address, *FOLDER_COLUMNS).select_from(folder.join(mailbox, _M.id == folder.c.mailbox_id))
    .where(_M.id.in_(bindparam("p_mailboxes", expanding=True)), *_OPEN))
_FOLLOWED = Statement(
    select(folder.c.id, _M.address, folder.c.name).select_from(
        shared_subscription.join(folder, folder.c.id == shared_subscription.c.folder_id)
        .join(mailbox, _M.id == folder.c.mailbox_id))
    .where(shared_subscription.c.account_id == bindparam("p_account")))
_OF_FOLDER = Statement(select(_R.identifier, _R.rights).where(_R.folder_id == bindparam("p_folder")))
_OF_MAILBOX = Statement(
    select(folder.c.name, _R.identifier, _R.rights).select_from(folder_right.join(folder, folder.c.id == _R.folder_id))
    .where(folder.c.mailbox_id == bindparam("p_mailbox")))
_EXISTS = Statement(select(folder.c.id).where(folder.c.id == bindparam("p_folder")))
_REMOVE = Statement(delete(folder_right).where(_R.folder_id == bindparam("p_folder"), _R.identifier == bindparam("p_identifier")))
_INSERT = InsertRows(folder_right, ["folder_id", "identifier", "rights"])
_INHERIT = Statement(insert(folder_right).from_select(
    [_R.folder_id, _R.identifier, _R.rights],
    select(folder.c.id, _R.identifier, _R.rights).select_from(folder_right.join(folder, literal(1) == literal(1)))
    .where(_R.folder_id == bindparam("p_parent"), folder.c.id.in_(bindparam("p_folders", expanding=True)))))
_FORGET = Statement(delete(folder_right).where(_R.identifier.in_(bindparam("p_identifiers", expanding=True))))
_HOLDERS = Statement(
    select(account.c.id, account.c.login, delegation.c.position, delegation.c.rights, delegation.c.since,
           delegation.c.until).select_from(
        delegation.join(account, account.c.id == delegation.c.account_id))
    .where(delegation.c.mailbox_id == bindparam("p_mailbox")))
_FOLLOW = InsertRows(shared_subscription, ["account_id", "folder_id"], ignore="account_id, folder_id")
_UNFOLLOW = Statement(delete(shared_subscription).where(
    shared_subscription.c.account_id == bindparam("p_account"), shared_subscription.c.folder_id == bindparam("p_folder")))


def _lasting(position: int, rights: str) -> str:
    """Give the letters that a row of delegation stands for (model.delegation)."""
    held = rights.split(",")
    if position == 0:
        return letters.ALL
    return letters.DELEGATED if Right.OPEN in held else letters.READING if Right.READ in held else ""


class SqlRightStore:
    """`mssante.storage.rights.RightStore`."""

    def visible(self, tx: Transaction, reader: Reader) -> list[Grant]:
        """Give folders of other, open mailboxes of which a right or a delegation speaks to the reader, by address and name."""
        followed = {row[0] for row in tx.rows(_FOLLOWED, p_account=reader.account_id)}
        found: dict[int, Grant] = {}

        def known(address: str, columns: Sequence[Any], delegated: bool) -> Grant:
            value = folder_of(columns)
            return found.setdefault(value.id, Grant(address, value, value.id in followed, delegated, ()))

        opened = frozenset(reader.delegated)
        if opened or reader.reading:
            for address, *columns in tx.rows_of(_DELEGATED, "p_mailboxes", [*reader.delegated, *reader.reading]):
                grant = known(address, columns, folder_of(columns).mailbox_id in opened)
                if not grant.delegated:
                    found[grant.folder.id] = replace(grant, rows=((reader.login, letters.READING),))
        for identifier, rights, address, *columns in tx.rows(
                _GRANTED, p_identifiers=list(identifiers(reader.login)), p_own=reader.own):
            grant = known(address, columns, False)
            found[grant.folder.id] = replace(grant, rows=(*grant.rows, (identifier, rights)))
        return sorted(found.values(), key=lambda grant: (grant.address, grant.folder.name != "INBOX", grant.folder.name))

    def of_folder(self, tx: Transaction, folder_id: int) -> list[tuple[str, str]]:
        """Give (identifier, rights), by identifier."""
        return sorted((row[0], row[1]) for row in tx.rows(_OF_FOLDER, p_folder=folder_id))

    def of_mailbox(self, tx: Transaction, mailbox_id: int) -> list[tuple[str, str, str]]:
        """Give (folder name, identifier, rights) of all folders of a mailbox, by name then identifier."""
        return sorted((row[0], row[1], row[2]) for row in tx.rows(_OF_MAILBOX, p_mailbox=mailbox_id))

    def put(self, tx: Transaction, folder_id: int, identifier: str, rights: str) -> None:
        """Set the rights of an identifier; empty rights remove it. Raises LookupError when the folder is gone."""
        if tx.one(_EXISTS, p_folder=folder_id) is None:
            raise LookupError("folder is gone")
        tx.change(_REMOVE, p_folder=folder_id, p_identifier=identifier)
        if rights:
            _INSERT.run(tx, [folder_id, identifier, rights])

    def inherit(self, tx: Transaction, parent_id: int, folder_ids: Sequence[int]) -> None:
        """Give new folders the rights of their parent (RFC 4314 §4 CREATE)."""
        if folder_ids:
            tx.change_of(_INHERIT, "p_folders", folder_ids, p_parent=parent_id)

    def forget(self, tx: Transaction, login: str) -> None:
        """Remove every right of a login, positive and negative."""
        tx.change(_FORGET, p_identifiers=[login, "-" + login])

    def holders(self, tx: Transaction, mailbox_id: int, now: datetime | None = None) -> list[Holder]:
        """Give the accounts that open or read a mailbox at an instant (None: whatever the dates), owners first, by login."""
        at = None if now is None else micros(now)
        found = [Holder(account_id, login, position == 0, _lasting(position, rights))
                 for account_id, login, position, rights, since, until in tx.rows(_HOLDERS, p_mailbox=mailbox_id)
                 if position == 0 or (_lasting(position, rights) and (at is None or (since <= at and not 0 < until <= at)))]
        return sorted(found, key=lambda holder: (not holder.owner, holder.login))

    def follow(self, tx: Transaction, account_id: int, folder_id: int, on: bool) -> None:
        """Set or clear the subscription of an account to a folder of another mailbox."""
        if on:
            _FOLLOW.run(tx, [account_id, folder_id])
        else:
            tx.change(_UNFOLLOW, p_account=account_id, p_folder=folder_id)

    def followed(self, tx: Transaction, account_id: int) -> list[tuple[int, str, str]]:
        """Give (folder id, address, folder name) of the subscriptions of an account, visible or not."""
        return sorted((row[0], row[1], row[2]) for row in tx.rows(_FOLLOWED, p_account=account_id))

    # ------------------------------------------------------------ private \Seen

    def set_seen_private(self, tx: Transaction, folder_id: int, private: bool) -> int:
        """Switch a folder, and carry what is read over; give its modseq, 0 when it was so already. Raises LookupError."""
        return switch_tx(tx, folder_id, private)

    def seen(self, tx: Transaction, folder_id: int, account_id: int) -> list[int]:
        """Give the UIDs that an account has seen, in order."""
        return seen_tx(tx, folder_id, account_id)

    def seen_counts(self, tx: Transaction, account_id: int, folder_ids: Sequence[int]) -> dict[int, int]:
        """Count, by folder, the live messages that an account has seen; folders without any are absent."""
        return seen_counts_tx(tx, account_id, folder_ids)

    def mark(self, tx: Transaction, folder_id: int, account_id: int, seen: Sequence[int],
             unseen: Sequence[int] = ()) -> SeenChange:
        """Set and clear `\\Seen` of live messages for one account. Raises LookupError when the folder is gone."""
        return mark_tx(tx, (folder_id, account_id), seen, unseen)
