"""SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3).

- The owner of a mailbox has all rights and those who open it by delegation all but `a`: no command takes these away, and GETACL
  shows them before the rows. A delegate may be given `a` on top.
- Rights are given to logins that exist, and to `anyone` (every account of this operator); a login that is deleted takes its
  rights along, so that nobody inherits them with the name.
- Every change is journalled in its transaction, and acts on open sessions at their next command, on idling ones at once.
Called through `dispatch.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.model.mailbox import Folder
from mssante.protocol.imap import aclencode
from mssante.protocol.imap import rights as letters
from mssante.protocol.imap.aclvalues import DeleteAcl, GetAcl, ListRights, MyRights, SetAcl
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.values import Completion
from mssante.services.imap.rights import DELEGATE, spelled
from mssante.services.imap.session import Answer, Session
from mssante.services.sharing import RightChange, change_tx, lasting_rights
from mssante.storage.interfaces import Holder, Tx


@dataclass(frozen=True, slots=True)
class _Acl:
    """All that is known of a folder's rights: who opens its mailbox, and its rows."""

    holders: list[Holder]
    rows: list[tuple[str, str]]


async def setacl(session: Session, value: SetAcl) -> Answer:
    """Add, take away or replace the rights of an identifier."""
    await _change(session, value.folder, value.identifier, (value.mode, value.rights))
    return Answer(completion=Completion(text="SETACL completed"))


async def deleteacl(session: Session, value: DeleteAcl) -> Answer:
    """Remove an identifier; one that is not there is no fault."""
    await _change(session, value.folder, value.identifier, ("", ""))
    return Answer(completion=Completion(text="DELETEACL completed"))


async def _change(session: Session, name: str, identifier: str, given: tuple[str, str]) -> None:
    """Write one change. given: (mode, rights) of SETACL."""
    folder = await session.find(name, needs="a")
    services = session.services
    login = session.account.login if session.account is not None else ""
    change = RightChange(folder.id, folder.mailbox_id, identifier, given[0], given[1])
    now = services.clock.now()

    def unit(tx: Tx) -> bool:
        return change_tx(tx, services.stores, change, by=login, now=now)

    try:
        done = await services.stores.database.write(unit)
    except LookupError:
        raise CommandRefused("no such folder", code="NONEXISTENT") from None
    except ValueError as fault:
        raise CommandRefused(str(fault), code="CANNOT") from None
    if done:
        services.registry.rights_changed(folder.id)


async def _read(session: Session, folder: Folder) -> _Acl:
    stores, now = session.services.stores, session.services.clock.now()

    def unit(tx: Tx) -> _Acl:
        return _Acl(stores.rights.holders(tx, folder.mailbox_id, now), stores.rights.of_folder(tx, folder.id))

    return await stores.database.read(unit)


async def getacl(session: Session, value: GetAcl) -> Answer:
    """Tell who may do what."""
    folder = await session.find(value.folder, needs="a")
    acl = await _read(session, folder)
    rows = dict(acl.rows)
    entries = [(holder.login, letters.ordered(lasting_rights(acl.holders, holder.login) + rows.pop(holder.login, "")))
               for holder in acl.holders]
    line = aclencode.acl_line(folder.name, [*entries, *rows.items()], utf8=session.wire.utf8)
    return Answer([line], Completion(text="GETACL completed"))


async def listrights(session: Session, value: ListRights) -> Answer:
    """Tell what may be given to an identifier; `c` and `d` stand beside their members (RFC 4314 §2.1.1)."""
    folder = await session.find(value.folder, needs="a")
    acl = await _read(session, folder)
    always = lasting_rights(acl.holders, value.identifier)
    optional = [letter for letter in letters.ALL if letter not in always]
    if not always:
        optional += ["c", "d"]
    if lasting_rights(acl.holders, value.identifier.removeprefix("-")) and value.identifier.startswith("-"):
        optional = []  # what lasts cannot be denied
    line = aclencode.listrights_line(folder.name, value.written, (letters.told(always), optional), utf8=session.wire.utf8)
    return Answer([line], Completion(text="LISTRIGHTS completed"))


async def myrights(session: Session, value: MyRights) -> Answer:
    """Tell what the user may do in a folder."""
    folder = await session.find(value.folder)
    root = DELEGATE if session.account is not None and session.account.opened else None
    held = spelled(session.shares.known(folder) if session.shares.covers(folder.name) else root)
    return Answer([aclencode.myrights_line(folder.name, held, utf8=session.wire.utf8)], Completion(text="MYRIGHTS completed"))
