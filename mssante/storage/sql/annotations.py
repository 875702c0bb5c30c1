"""Annotations of folders and mailboxes (RFC 5464), in the table `annotation`.

- The key begins with the mailbox, so a call walks at most the annotations of the mailboxes named, which are limited in number.
- Setting is one DELETE and one multi-row INSERT whatever the number of entries.
- There is no foreign key toward folder and account (0 stands for none): `forget_*_tx` are called where those are deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, func, insert, select

from mssante.storage.annotations import SHARED, FolderAnnotation, Place
from mssante.storage.sql.tables import account, annotation, folder
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction, ValuesStatement

_A = annotation.c
_HERE = (_A.mailbox_id == bindparam("p_mailbox"), _A.folder_id == bindparam("p_folder"))
_SEEN_HERE = (*_HERE, _A.account_id.in_((0, bindparam("p_account"))))
_AMONG = _A.entry.in_(bindparam("p_entries", expanding=True))
_SIZES = Statement(select(_A.entry, func.length(_A.value)).where(*_SEEN_HERE))
_VALUES = Statement(select(_A.entry, _A.value).where(*_SEEN_HERE, _AMONG))
_REMOVE = Statement(delete(annotation).where(*_SEEN_HERE, _AMONG))
_INSERT = InsertRows(annotation, ["mailbox_id", "folder_id", "account_id", "entry", "value"])
_COUNT = Statement(select(func.count()).select_from(annotation).where(
    _A.mailbox_id == bindparam("p_mailbox"), _A.account_id.in_((0, bindparam("p_account")))))
_FOLDER = Statement(select(folder.c.id).where(folder.c.id == bindparam("p_folder")).with_for_update())
_COPY = Statement(insert(annotation).from_select(
    [_A.mailbox_id, _A.folder_id, _A.account_id, _A.entry, _A.value],
    select(bindparam("p_to_mailbox", type_=_A.mailbox_id.type), bindparam("p_to_folder", type_=_A.folder_id.type),
           _A.account_id, _A.entry, _A.value).where(*_HERE)))
_FORGET_FOLDER = Statement(delete(annotation).where(
    _A.mailbox_id == select(folder.c.mailbox_id).where(folder.c.id == bindparam("p_folder")).scalar_subquery(),
    _A.folder_id == bindparam("p_folder")))
_FORGET_ACCOUNT = Statement(delete(annotation).where(
    _A.account_id == select(account.c.id).where(account.c.login == bindparam("p_login")).scalar_subquery()))


def _of_folders_text() -> str:
    """Give the text that joins (mailbox, entry) pairs with the annotations of folders seen by one account."""
    names = {"table": annotation.name, "mailbox": _A.mailbox_id.name, "folder": _A.folder_id.name, "account": _A.account_id.name,
             "entry": _A.entry.name, "value": _A.value.name}
    text = ("SELECT a.%(folder)s, a.%(entry)s, a.%(value)s FROM (VALUES {rows}) AS v JOIN %(table)s AS a"
            " ON a.%(mailbox)s = v.column1 AND a.%(entry)s = v.column2"
            " WHERE a.%(folder)s > 0 AND a.%(account)s IN (0, {mark})")
    return text % names


_OF_FOLDERS = ValuesStatement(_of_folders_text(), 2)


class SqlAnnotationStore:
    """`mssante.storage.annotations.AnnotationStore`."""

    def sizes(self, tx: Transaction, place: Place, account_id: int) -> dict[str, int]:
        """Give the octets of the value of each entry."""
        return {row[0]: row[1] for row in tx.rows(
            _SIZES, p_mailbox=place.mailbox_id, p_folder=place.folder_id, p_account=account_id)}

    def values(self, tx: Transaction, place: Place, account_id: int, entries: Sequence[str]) -> dict[str, bytes]:
        """Give the values of those of these entries that exist."""
        if not entries:
            return {}
        return {row[0]: bytes(row[1]) for row in tx.rows_of(
            _VALUES, "p_entries", entries, p_mailbox=place.mailbox_id, p_folder=place.folder_id, p_account=account_id)}

    def of_folders(self, tx: Transaction, mailbox_ids: Sequence[int], account_id: int,
                   entries: Sequence[str]) -> list[FolderAnnotation]:
        """Give these entries of all folders of some mailboxes."""
        pairs = [value for mailbox_id in mailbox_ids for entry in entries for value in (mailbox_id, entry)]
        if not pairs:
            return []
        return [FolderAnnotation(row[0], row[1], bytes(row[2])) for row in _OF_FOLDERS.run(tx, pairs, after=[account_id])]

    def put(self, tx: Transaction, place: Place, account_id: int, changes: Mapping[str, bytes | None]) -> None:
        """Set values; None removes. Raises LookupError when the folder is gone."""
        if place.folder_id and tx.one(_FOLDER, p_folder=place.folder_id) is None:
            raise LookupError("folder is gone")
        if not changes:
            return
        tx.change_of(_REMOVE, "p_entries", list(changes), p_mailbox=place.mailbox_id, p_folder=place.folder_id,
                     p_account=account_id)
        flat: list[object] = []
        for entry, value in changes.items():
            if value is not None:
                flat += (place.mailbox_id, place.folder_id, 0 if entry.startswith(SHARED + "/") else account_id, entry, value)
        _INSERT.run(tx, flat)

    def count(self, tx: Transaction, mailbox_id: int, account_id: int) -> int:
        """Count the annotations of a mailbox and its folders, shared ones and those of one account."""
        return int(tx.one(_COUNT, p_mailbox=mailbox_id, p_account=account_id)[0])

    def copy(self, tx: Transaction, source: Place, target: Place) -> None:
        """Give a folder that has none the annotations of another one, of all accounts."""
        tx.change(_COPY, p_mailbox=source.mailbox_id, p_folder=source.folder_id, p_to_mailbox=target.mailbox_id,
                  p_to_folder=target.folder_id)


def forget_folder_tx(tx: Transaction, folder_id: int) -> None:
    """Remove the annotations of a folder that is about to be deleted."""
    tx.change(_FORGET_FOLDER, p_folder=folder_id)


def forget_account_tx(tx: Transaction, login: str) -> None:
    """Remove what an account that is about to be deleted had set for itself."""
    tx.change(_FORGET_ACCOUNT, p_login=login)
