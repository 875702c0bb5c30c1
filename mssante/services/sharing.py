"""Sharing of folders, one path for IMAP (SETACL, DELETEACL) and for the command line: who may do what, whose `\\Seen` it is.

- Owners keep all rights, delegates all but `a` while their delegation runs (`lr` when they only read).
- Positive rights go to logins that exist and to `anyone`.
- Every change writes its journal event in the same transaction: identifiers and numbers of folders, never a name of a folder.
- A running server takes up a change of the command line within seconds (rights) or at the next opening of the folder (`\\Seen`).
Called by `services/imap/acl.py` and `cli/sharing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Folder, Mailbox
from mssante.protocol.imap import rights as letters
from mssante.storage.interfaces import Holder, Stores, Tx


@dataclass(frozen=True, slots=True)
class RightChange:
    """One change of rights. identifier: lower-case login or `anyone`, maybe behind `-`; mode: `+`, `-` or empty to replace."""

    folder_id: int
    mailbox_id: int
    identifier: str
    mode: str
    rights: str


@dataclass(frozen=True, slots=True)
class Share:
    """Who may do what in one folder."""

    folder: str
    identifier: str
    rights: str


def lasting_rights(holders: Sequence[Holder], identifier: str) -> str:
    """Give the rights that an identifier has whatever the rows say."""
    for holder in holders:
        if holder.login == identifier:
            return holder.rights
    return ""


def change_tx(tx: Tx, stores: Stores, change: RightChange, *, by: str, now: datetime) -> bool:
    """Apply a change; give False when nothing changed. by: who asked, for the journal.

    Raises ValueError (ASCII text) when it may not be, LookupError when the folder is gone.
    """
    holders = stores.rights.holders(tx, change.mailbox_id, now)
    held = dict(stores.rights.of_folder(tx, change.folder_id)).get(change.identifier, "")
    bare = change.identifier.removeprefix("-")
    lasting = lasting_rights(holders, bare)
    if lasting and change.identifier != bare:
        wanted = letters.changed(held, change.mode, change.rights)
        if wanted:
            raise ValueError("the rights of those who open the mailbox cannot be denied")
    elif lasting:
        wanted = letters.changed(letters.ordered(lasting + held), change.mode, change.rights)
        if not set(wanted).issuperset(lasting):
            raise ValueError("those who open the mailbox keep their rights")
        wanted = letters.ordered(set(wanted) - set(lasting))
    else:
        wanted = letters.changed(held, change.mode, change.rights)
    if wanted == held:
        return False
    if wanted and not held and bare != letters.ANYONE and stores.accounts.account_by_login(tx, bare) is None:
        raise ValueError("there is no such login")
    stores.rights.put(tx, change.folder_id, change.identifier, wanted)
    stores.journal.append(tx, [JournalEvent(JournalKind.FOLDER_SHARED, now, subject=by, payload={
        "folder_id": change.folder_id, "mailbox_id": change.mailbox_id, "identifier": change.identifier, "rights": wanted})])
    return True


class SharingDesk:
    """What the command line asks, over open stores."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    def _folder_tx(self, tx: Tx, address: str, name: str) -> Folder:
        found = [folder for folder in self._stores.folders.of_mailbox(tx, self._mailbox_tx(tx, address).id)
                 if folder.name == (name.upper() if name.upper() == "INBOX" else name)]
        if not found:
            raise InputFault(say(f"dossier inconnu dans {address}", f"unknown folder in {address}"), rule="BAL-DOSSIER",
                             remedy=say("INBOX, Sent, Archive… : vérifiez le nom", "INBOX, Sent, Archive…: check the name"))
        return found[0]

    def _mailbox_tx(self, tx: Tx, address: str) -> Mailbox:
        found = self._stores.accounts.mailboxes_by_address(tx, [address])
        if not found:
            raise InputFault(say(f"boîte inconnue : {address}", f"unknown mailbox: {address}"), rule="BAL-INCONNUE",
                             remedy="mssante mailbox list")
        return found[0]

    async def share(self, address: str, name: str, identifier: str, rights: str) -> str:
        """Give `rights` (letters, maybe behind `+` or `-`) in a folder to a login; give what it has then.

        Raises InputFault `BAL-INCONNUE`, `BAL-DOSSIER`, `BAL-DROITS`.
        """
        mode = rights[:1] if rights[:1] in ("+", "-") else ""
        wrong = letters.unknown(rights[len(mode):])
        if wrong:
            raise InputFault(say(f"droits inconnus : {wrong}", f"unknown rights: {wrong}"), rule="BAL-DROITS",
                             remedy=f"{letters.ALL} (RFC 4314)")
        now, stores = self._clock.now(), self._stores

        def unit(tx: Tx) -> str:
            folder = self._folder_tx(tx, address, name)
            change = RightChange(folder.id, folder.mailbox_id, identifier.lower(), mode, letters.ordered(rights[len(mode):]))
            change_tx(tx, stores, change, by=address.lower(), now=now)
            return dict(stores.rights.of_folder(tx, folder.id)).get(change.identifier, "")

        try:
            return await stores.database.write(unit)
        except ValueError as fault:
            raise InputFault(say(f"droits refusés pour {identifier}", f"rights refused for {identifier}"), detail=str(fault),
                             rule="BAL-DROITS", remedy="mssante account list") from fault

    async def shares(self, address: str) -> list[Share]:
        """Give all rights in the folders of a mailbox. Raises InputFault `BAL-INCONNUE`."""
        def unit(tx: Tx) -> list[Share]:
            box = self._mailbox_tx(tx, address)
            return [Share(*row) for row in self._stores.rights.of_mailbox(tx, box.id)]

        return await self._stores.database.read(unit)

    async def private_seen(self, address: str) -> list[str]:
        """Give the folders of a mailbox whose `\\Seen` is kept for each reader. Raises InputFault `BAL-INCONNUE`."""
        def unit(tx: Tx) -> list[str]:
            box = self._mailbox_tx(tx, address)
            return [folder.name for folder in self._stores.folders.of_mailbox(tx, box.id) if folder.seen_private]

        return await self._stores.database.read(unit)

    async def set_seen(self, address: str, name: str, *, private: bool) -> bool:
        """Make `\\Seen` of a folder private to each reader or shared; give False when it was so already.

        Raises InputFault `BAL-INCONNUE`, `BAL-DOSSIER`.
        """
        now, stores = self._clock.now(), self._stores

        def unit(tx: Tx) -> bool:
            folder = self._folder_tx(tx, address, name)
            if folder.seen_private is private:
                return False
            stores.rights.set_seen_private(tx, folder.id, private)
            stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", address.lower(), {
                "action": "seen_private" if private else "seen_shared", "folder_id": folder.id})])
            return True

        return await stores.database.write(unit)
