"""CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8, RFC 6154 §3, RFC 4314 §4).

- Names are checked again here (control characters, empty levels, length, depth): a name that is stored is safe to show.
- CREATE makes the missing levels above in the same unit, with the rights of the nearest level that exists; RENAME moves the
  levels below, and leaves rights as they are. Both stay within one mailbox.
- RENAME INBOX moves its messages into a new folder and leaves INBOX empty (RFC 9051 §6.3.6); only its owner may.
- INBOX and a folder with folders below it are not deleted.
- Subscriptions are to names (RFC 9051 §6.3.7): SUBSCRIBE takes a name without folder, DELETE leaves the subscription, CREATE
  makes none; as many names without folder as a mailbox may have folders. RENAME takes the subscriptions along.
- In the mailbox of another: `k` on the nearest level that exists to create there (its top belongs to those who open it), `x` to
  delete and rename. What the user may not see is answered as if it did not exist.
Called through `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mssante.model.mailbox import Folder, SpecialUse
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.objectid import code_mailbox_id
from mssante.protocol.imap.values import Completion, Create, Delete, Rename, Subscribe
from mssante.services.imap.rights import SharedTree, check
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import Place, Tx

MAX_NAME = 255
MAX_LEVELS = 20
_INBOX = "INBOX"
_USES = {use.value.casefold(): use.value for use in SpecialUse if use.value}
_NOTHING: frozenset[str] = frozenset()


def check_name(name: str) -> None:
    """Raise CommandRefused [CANNOT] for a name that may not be created."""
    levels = name.split("/")
    if not name or "" in levels or len(name) > MAX_NAME or len(levels) > MAX_LEVELS:
        raise CommandRefused("this folder name is empty, too long or too deep", code="CANNOT")
    if not name.isprintable() or any(letter in name for letter in "*%"):
        raise CommandRefused("this folder name holds characters that are not allowed", code="CANNOT")
    if "." in levels or ".." in levels:
        raise CommandRefused("this folder name is not allowed", code="CANNOT")


@dataclass(frozen=True, slots=True)
class _Place:
    """A name inside one mailbox. name: its own name there; folders: all of it, seen or not; tree: None for one's own."""

    mailbox_id: int
    address: str
    name: str
    folders: dict[str, Folder]
    tree: SharedTree | None

    def rights(self, folder: Folder | None) -> frozenset[str] | None:
        """Give what the user may do in a folder, None for all; without folder, at the top of the mailbox."""
        if self.tree is None:
            return None
        if folder is None:
            return None if self.mailbox_id in self.tree.opened else _NOTHING
        shared = self.tree.by_id.get(folder.id)
        return _NOTHING if shared is None else shared.rights

    def seen(self, name: str) -> Folder | None:
        """Give a folder that the user may see."""
        folder = self.folders.get(name)
        return folder if folder is None or self.tree is None or folder.id in self.tree.by_id else None

    def existing(self, needs: str) -> Folder:
        """Give the folder named, with these rights on it. Raises CommandRefused."""
        folder = self.seen(self.name)
        if folder is None:
            raise CommandRefused("no such folder", code="NONEXISTENT")
        check(self.rights(folder), needs)
        return folder

    def parent(self) -> Folder | None:
        """Give the nearest level above that exists, None at the top."""
        parts = self.name.split("/")[:-1]
        above = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
        return next((self.folders[level] for level in above if level in self.folders), None)

    def free(self) -> Folder | None:
        """Check that a folder may be made under this name; give the nearest level above it. Raises CommandRefused."""
        if self.seen(self.name) is not None:
            raise CommandRefused("this folder exists", code="ALREADYEXISTS")
        parent = self.parent()
        check(self.rights(parent), "k")
        if self.name in self.folders:
            check(_NOTHING, "l")
        return parent


async def _place(session: Session, name: str, *, missing: str) -> _Place:
    """Find the mailbox of a name. missing: response code when the user sees nothing there. Raises CommandRefused."""
    registry, shares = session.services.registry, session.shares
    if not shares.covers(name):
        return _Place(session.mailbox_id, "", name, await registry.read_folders(session.mailbox_id), None)
    address, local = shares.split(name)
    if not local:
        raise CommandRefused("this name is a level above mailboxes", code="CANNOT")
    tree = await shares.tree(session.account)
    mailbox_id = tree.boxes.get(address)
    if mailbox_id is None:
        raise CommandRefused("you do not have the rights for this" if missing == "NOPERM" else "no such folder", code=missing)
    stores = session.services.stores

    def unit(tx: Tx) -> list[Folder]:
        return stores.folders.of_mailbox(tx, mailbox_id)

    folders = {folder.name: folder for folder in await stores.database.read(unit)}
    return _Place(mailbox_id, address, local, folders, tree)


async def create(session: Session, value: Create) -> Answer:
    """Create a folder and the levels above it."""
    place = await _place(session, value.folder, missing="NOPERM")
    check_name(place.name)
    use = _special_use(value)
    if use and place.tree is not None:
        raise CommandRefused("only its owner gives a folder a special use", code="USEATTR")
    parent = place.free()
    _check_use(use, place.folders.values())
    wanted = [*_missing_above(place.name, place.folders), place.name]
    if len(place.folders) + len(wanted) > session.services.settings.folders_per_mailbox:
        raise CommandRefused("too many folders", code="LIMIT")

    made: list[int] = []

    def unit(tx: Tx) -> None:
        if use:  # another session may have been quicker
            _check_use(use, session.services.stores.folders.of_mailbox(tx, place.mailbox_id))
        made[:] = [_make_tx(tx, session, place, (wanted, parent), use)[-1].id]

    _own(session, place, *wanted)
    await _change(session, place.mailbox_id, unit)
    return Answer(completion=Completion(text="CREATE completed", code=code_mailbox_id(made[0])))  # RFC 8474 §4.1


def _check_use(use: str, folders: Iterable[Folder]) -> None:
    """Raise CommandRefused [USEATTR] when a folder has this use: each is given once (RFC 6154 §3)."""
    if use and any(folder.special_use == use for folder in folders):
        raise CommandRefused("a folder has this use already", code="USEATTR")


def _make_tx(tx: Tx, session: Session, place: _Place, levels: tuple[list[str], Folder | None], use: str = "") -> list[Folder]:
    """Create levels with the rights of the level above them (RFC 4314 §4); the last one has the special use."""
    stores = session.services.stores
    wanted, parent = levels
    made = [stores.folders.create(tx, place.mailbox_id, level, use if level == wanted[-1] else "", subscribed=False)
            for level in wanted]
    if parent is not None:
        stores.rights.inherit(tx, parent.id, [folder.id for folder in made])
    return made


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


def _own(session: Session, place: _Place, *names: str) -> None:
    """Say that the session changes these names itself, so that NOTIFY does not tell it (RFC 5465 §5)."""
    if session.notices is not None:
        lead = session.shares.join(place.address, "") if place.tree is not None else ""
        session.notices.doing(*(lead + name for name in names))


async def _change(session: Session, mailbox_id: int, unit: Callable[[Tx], None]) -> None:
    """Run a unit that changes the folder list. Raises CommandRefused when it lost a race."""
    try:
        await session.services.stores.database.write(unit)
    except ValueError:
        raise CommandRefused("this folder exists", code="ALREADYEXISTS") from None
    except LookupError:
        raise CommandRefused("no such folder", code="NONEXISTENT") from None
    finally:
        session.services.registry.forget_folders(mailbox_id)


async def delete(session: Session, value: Delete) -> Answer:
    """Delete a folder; sessions that have it open are told and closed."""
    place = await _place(session, value.folder, missing="NONEXISTENT")
    if place.name == _INBOX and (place.tree is None or place.seen(_INBOX) is not None):
        raise CommandRefused("INBOX cannot be deleted", code="CANNOT")
    folder = place.existing("x")
    below = [name for name in place.folders if name.startswith(folder.name + "/")]
    if any(place.seen(name) for name in below):
        raise CommandRefused("this folder has folders below it", code="HASCHILDREN")  # RFC 9051 §6.3.5
    if below:
        check(_NOTHING, "x")
    stores = session.services.stores

    def unit(tx: Tx) -> None:
        stores.folders.delete(tx, folder.id, most_lost=session.services.settings.folders_per_mailbox)

    answer = Answer(completion=Completion(text="DELETE completed"))
    _own(session, place, place.name)
    await _change(session, place.mailbox_id, unit)
    if session.view is not None and session.view.folder_id == folder.id:
        session.leave()
        session.wire.unselected()
        answer.data.append(b"* OK [CLOSED] the open folder was deleted\r\n")  # RFC 9051 §7.1
    session.services.registry.deleted(folder.id)
    return answer


async def rename(session: Session, value: Rename) -> Answer:
    """Rename a folder with its children, or empty INBOX into a new folder."""
    place = await _place(session, value.folder, missing="NONEXISTENT")
    folder = place.existing("x")
    target = await _place(session, value.new_name, missing="NOPERM")
    check_name(target.name)
    if target.mailbox_id != place.mailbox_id or (place.tree is not None and folder.name == _INBOX):
        raise CommandRefused("a folder stays in its mailbox, and INBOX with its owner", code="CANNOT")
    if target.name.startswith(folder.name + "/") and folder.name != _INBOX:
        raise CommandRefused("a folder cannot move below itself", code="CANNOT")
    parent = target.free()
    if folder.name == _INBOX:
        return await _rename_inbox(session, folder, target, parent)
    above = [level for level in _missing_above(target.name, place.folders) if level != folder.name]
    stores = session.services.stores

    def unit(tx: Tx) -> None:
        if above:
            _make_tx(tx, session, place, (above, parent))
        stores.folders.rename(tx, folder.id, target.name)

    _own(session, place, folder.name, target.name, *above)
    await _change(session, place.mailbox_id, unit)
    return Answer(completion=Completion(text="RENAME completed"))


async def _rename_inbox(session: Session, inbox: Folder, target: _Place, parent: Folder | None) -> Answer:
    """Move every message of INBOX into a new folder."""
    stores, now = session.services.stores, session.services.clock.now()
    wanted = [*_missing_above(target.name, target.folders), target.name]
    modseqs: list[int] = []

    def unit(tx: Tx) -> None:
        made = _make_tx(tx, session, target, (wanted, parent))
        stores.folders.move_all(tx, inbox.id, made[-1].id, now=now)
        stores.annotations.copy(tx, Place(inbox.mailbox_id, inbox.id), Place(inbox.mailbox_id, made[-1].id))  # RFC 5464 §4.1
        after = stores.folders.get(tx, inbox.id)
        modseqs[:] = [after.highest_modseq if after is not None else 0]

    _own(session, target, *wanted)
    await _change(session, target.mailbox_id, unit)
    held = session.services.registry.view(inbox.id)
    if held is not None:
        held.announce(modseqs[0])
        await held.refresh()
    session.services.doorbell.ring(inbox.id, modseqs[0])
    return Answer(completion=Completion(text="RENAME completed"))


async def subscribe(session: Session, value: Subscribe) -> Answer:
    """Set or clear a subscription: to a name for one's own, of the account to a folder for others'."""
    answer = Answer(completion=Completion(text="SUBSCRIBE completed" if value.on else "UNSUBSCRIBE completed"))
    if session.shares.covers(value.folder):
        await _follow(session, value)
        return answer
    if value.on:
        check_name(value.folder)
    stores, mailbox_id, most = session.services.stores, session.mailbox_id, session.services.settings.folders_per_mailbox

    def unit(tx: Tx) -> bool:
        return stores.folders.subscribe(tx, mailbox_id, value.folder, value.on, most_lost=most)

    if session.notices is not None:
        session.notices.doing(value.folder)
    if not await stores.database.write(unit) and value.on:
        raise CommandRefused("too many subscriptions to names without folder", code="LIMIT")
    session.services.registry.forget_folders(mailbox_id)
    return answer


async def _follow(session: Session, value: Subscribe) -> None:
    """Follow a folder of another mailbox, which the user sees; or no longer, whether it is seen or not (RFC 4314 §4)."""
    account, stores, shares = session.account, session.services.stores, session.shares
    folder = await session.find(value.folder) if value.on else None
    wanted = shares.split(value.folder)
    if account is None:
        return

    def unit(tx: Tx) -> int:
        if folder is not None:
            stores.rights.follow(tx, account.id, folder.id, True)
            return folder.id
        ids = [row[0] for row in stores.rights.followed(tx, account.id) if (row[1], row[2]) == wanted]
        for folder_id in ids:
            stores.rights.follow(tx, account.id, folder_id, False)
        return ids[0] if ids else 0

    if session.notices is not None:
        session.notices.doing(value.folder)
    changed = await stores.database.write(unit)
    if changed:
        session.services.registry.rights_changed(changed)
