"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8, RFC 6154 §3).

- Names are checked again here (control characters, empty levels, length, depth): a name that is stored is safe to show.
- CREATE makes the missing levels above in the same unit; RENAME moves the levels below.
- RENAME INBOX moves its messages into a new folder and leaves INBOX empty (RFC 9051 §6.3.6).
- INBOX and a folder with folders below it are not deleted.
Called through `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from mssante.model.mailbox import Folder, SpecialUse
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.values import Completion, Create, Delete, Rename, Subscribe
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import Tx

MAX_NAME = 255
MAX_LEVELS = 20
_INBOX = "INBOX"
_USES = {use.value.casefold(): use.value for use in SpecialUse if use.value}


def check_name(name: str) -> None:
    """Raise CommandRefused [CANNOT] for a name that may not be created."""
    levels = name.split("/")
    if not name or "" in levels or len(name) > MAX_NAME or len(levels) > MAX_LEVELS:
        raise CommandRefused("this folder name is empty, too long or too deep", code="CANNOT")
    if not name.isprintable() or any(letter in name for letter in "*%"):
        raise CommandRefused("this folder name holds characters that are not allowed", code="CANNOT")
    if "." in levels or ".." in levels:
        raise CommandRefused("this folder name is not allowed", code="CANNOT")


async def create(session: Session, value: Create) -> Answer:
    """Create a folder and the levels above it."""
    name = value.folder
    check_name(name)
    use = _special_use(value)
    folders = await session.services.registry.read_folders(session.mailbox_id)
    if name in folders:
        raise CommandRefused("this folder exists", code="ALREADYEXISTS")
    if use and any(folder.special_use == use for folder in folders.values()):
        raise CommandRefused("a folder has this use already", code="USEATTR")  # RFC 6154 §3
    wanted = [*_missing_above(name, folders), name]
    if len(folders) + len(wanted) > session.services.settings.folders_per_mailbox:
        raise CommandRefused("too many folders", code="LIMIT")
    stores, mailbox_id = session.services.stores, session.mailbox_id

    def unit(tx: Tx) -> None:
        for level in wanted:
            stores.folders.create(tx, mailbox_id, level, use if level == name else "")

    await _change(session, unit)
    return Answer(completion=Completion(text="CREATE completed"))


def _special_use(value: Create) -> str:
    """Give the one use asked; raises CommandRefused [USEATTR] for one that we do not have (RFC 6154 §3)."""
    if not value.special_use:
        return ""
    use = _USES.get(value.special_use[0].casefold())
    if use is None or len(value.special_use) > 1:
        raise CommandRefused("this special use is not supported", code="USEATTR")
    return use


def _missing_above(name: str, folders: dict[str, Folder]) -> list[str]:
    """Give the levels above a name that do not exist, highest first."""
    parts = name.split("/")[:-1]
    levels = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return [level for level in levels if level not in folders]


async def _change(session: Session, unit: Callable[[Tx], None]) -> None:
    """Run a unit that changes the folder list. Raises CommandRefused when it lost a race."""
    try:
        await session.services.stores.database.write(unit)
    except ValueError:
        raise CommandRefused("this folder exists", code="ALREADYEXISTS") from None
    except LookupError:
        raise CommandRefused("no such folder", code="NONEXISTENT") from None
    finally:
        session.services.registry.forget_folders(session.mailbox_id)


async def delete(session: Session, value: Delete) -> Answer:
    """Delete a folder; sessions that have it open are told and closed."""
    if value.folder == _INBOX:
        raise CommandRefused("INBOX cannot be deleted", code="CANNOT")
    folders = await session.services.registry.read_folders(session.mailbox_id)
    folder = folders.get(value.folder)
    if folder is None:
        raise CommandRefused("no such folder", code="NONEXISTENT")
    if any(name.startswith(folder.name + "/") for name in folders):
        raise CommandRefused("this folder has folders below it", code="HASCHILDREN")  # RFC 9051 §6.3.5
    stores = session.services.stores

    def unit(tx: Tx) -> None:
        stores.folders.delete(tx, folder.id)

    answer = Answer(completion=Completion(text="DELETE completed"))
    await _change(session, unit)
    if session.view is not None and session.view.folder_id == folder.id:
        session.leave()
        session.wire.unselected()
        answer.data.append(b"* OK [CLOSED] the open folder was deleted\r\n")  # RFC 9051 §7.1
    session.services.registry.deleted(folder.id)
    return answer


async def rename(session: Session, value: Rename) -> Answer:
    """Rename a folder with its children, or empty INBOX into a new folder."""
    check_name(value.new_name)
    folders = await session.services.registry.read_folders(session.mailbox_id)
    folder = folders.get(value.folder)
    if folder is None:
        raise CommandRefused("no such folder", code="NONEXISTENT")
    if value.new_name in folders:
        raise CommandRefused("this folder exists", code="ALREADYEXISTS")
    if value.new_name.startswith(folder.name + "/") and folder.name != _INBOX:
        raise CommandRefused("a folder cannot move below itself", code="CANNOT")
    if folder.name == _INBOX:
        return await _rename_inbox(session, folder, value.new_name, folders)
    above = [level for level in _missing_above(value.new_name, folders) if level != folder.name]
    stores, mailbox_id = session.services.stores, session.mailbox_id

    def unit(tx: Tx) -> None:
        for level in above:
            stores.folders.create(tx, mailbox_id, level)
        stores.folders.rename(tx, folder.id, value.new_name)

    await _change(session, unit)
    return Answer(completion=Completion(text="RENAME completed"))


async def _rename_inbox(session: Session, inbox: Folder, name: str, folders: dict[str, Folder]) -> Answer:
    """Move every message of INBOX into a new folder."""
    stores, mailbox_id = session.services.stores, session.mailbox_id
    above = _missing_above(name, folders)
    modseqs: list[int] = []

    def unit(tx: Tx) -> None:
        for level in above:
            stores.folders.create(tx, mailbox_id, level)
        target = stores.folders.create(tx, mailbox_id, name)
        stores.folders.move_all(tx, inbox.id, target.id)
        after = stores.folders.get(tx, inbox.id)
        modseqs[:] = [after.highest_modseq if after is not None else 0]

    await _change(session, unit)
    held = session.services.registry.view(inbox.id)
    if held is not None:
        held.announce(modseqs[0])
        await held.refresh()
    session.services.doorbell.ring(inbox.id, modseqs[0])
    return Answer(completion=Completion(text="RENAME completed"))


async def subscribe(session: Session, value: Subscribe) -> Answer:
    """Set or clear a subscription."""
    stores, mailbox_id = session.services.stores, session.mailbox_id

    def unit(tx: Tx) -> bool:
        return stores.folders.subscribe(tx, mailbox_id, value.folder, value.on)

    if not await stores.database.write(unit) and value.on:
        raise CommandRefused("no such folder", code="NONEXISTENT")
    session.services.registry.forget_folders(mailbox_id)
    return Answer(completion=Completion(text="SUBSCRIBE completed" if value.on else "UNSUBSCRIBE completed"))
