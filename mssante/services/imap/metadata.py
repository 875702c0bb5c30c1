"""GETMETADATA and SETMETADATA (RFC 5464): notes that clients keep about folders and about the mailbox ("" as folder).

- `/private/…` is of the account alone, `/shared/…` of all who may read the folder. Reading and setting take `l` and one of
  `rswip` (§3.3); setting what is shared takes `w` too, in folders of others: who may only read must not write for all.
- Values and their number are bounded (`metadata_value_bytes`, `metadata_entries` for what one account sees of one mailbox);
  a command changes all its entries or none.
- `/private/specialuse` is the special use of a folder (RFC 6154 §4), read-only here, as `/shared/admin` always is (§3.2.1.1).
- An entry that was named and does not exist is answered NIL. Values are never logged.
- After a change the bell of the mailbox rings, for NOTIFY (RFC 5465 §5.6, §5.7).
Two statements to read, whatever the number of entries. Called through `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mssante.model.mailbox import Folder
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.metadataencode import metadata_values_line
from mssante.protocol.imap.metadatavalues import Depth, GetMetadata, SetMetadata
from mssante.protocol.imap.values import Completion
from mssante.services.doorbell import MailboxNews
from mssante.services.imap.rights import check
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import Place, Tx

_READERS = frozenset("rswip")
_SPECIAL_USE = "/private/specialuse"
_ADMIN = "/shared/admin"
_SHARED = "/shared/"


def may_read(held: frozenset[str] | None) -> bool:
    """Tell if rights in a folder let its annotations be read (RFC 5464 §3.3). held None: all."""
    return held is None or ("l" in held and not held.isdisjoint(_READERS))


def computed(folder: Folder) -> dict[str, bytes]:
    """Give the annotations that are no notes but facts."""
    return {_SPECIAL_USE: folder.special_use.encode("ascii")} if folder.special_use else {}


async def getmetadata(session: Session, value: GetMetadata) -> Answer:
    """Answer GETMETADATA."""
    folder = await _folder(session, value.folder)
    place, account_id = _place(session, folder), _account_id(session)
    facts = computed(folder) if folder is not None else {}
    most = value.max_size
    store, longest = session.services.stores.annotations, [0]

    def unit(tx: Tx) -> dict[str, bytes | None]:
        sizes = store.sizes(tx, place, account_id) | {entry: len(fact) for entry, fact in facts.items()}
        names = _named(value, sizes)
        longest[0] = max((sizes[name] for name in names if most is not None and sizes.get(name, 0) > most), default=0)
        wanted = [name for name in names if most is None or sizes.get(name, 0) <= most]
        found = store.values(tx, place, account_id, [name for name in wanted if name in sizes]) | facts
        return {name: found.get(name) for name in wanted}

    values = await session.services.stores.database.read(unit, quick=True)
    code = b"METADATA LONGENTRIES %d" % longest[0] if longest[0] else b""  # RFC 5464 §4.2.1
    answer = Answer(completion=Completion(text="GETMETADATA completed", code=code))
    if values:
        answer.data.append(metadata_values_line(value.folder, values.items(), utf8=session.wire.utf8))
    return answer


def _named(value: GetMetadata, known: Iterable[str]) -> list[str]:
    """Give the entries that the command names: those asked, and what exists below them (RFC 5464 §4.2.2)."""
    if value.depth is Depth.ENTRY:
        return list(value.entries)
    names = dict.fromkeys(entry for entry in value.entries if entry.count("/") > 1)
    for name in sorted(known):
        above = name.rpartition("/")[0]
        if above in value.entries or (value.depth is Depth.ALL and any(name.startswith(entry + "/") for entry in value.entries)):
            names[name] = None
    return list(names)


async def setmetadata(session: Session, value: SetMetadata) -> Answer:
    """Do SETMETADATA."""
    folder = await _folder(session, value.folder)
    place, account_id = _place(session, folder), _account_id(session)
    changes = dict(value.changes)
    shared = tuple(entry for entry in changes if entry.startswith(_SHARED))
    if folder is not None and shared:
        check(session.shares.known(folder), "w")
    settings, store = session.services.settings, session.services.stores.annotations
    _check(changes, settings.metadata_value_bytes)

    def unit(tx: Tx) -> None:
        before = store.count(tx, place.mailbox_id, account_id)
        store.put(tx, place, account_id, changes)
        after = store.count(tx, place.mailbox_id, account_id)
        if after > max(before, settings.metadata_entries):
            raise CommandRefused("too many annotations", code="METADATA TOOMANY")

    try:
        await session.services.stores.database.write(unit)
    except LookupError:
        session.services.registry.forget_folders(place.mailbox_id)
        raise CommandRefused("no such folder", code="NONEXISTENT") from None
    _tell(session, place, (0, shared))
    _tell(session, place, (account_id, tuple(entry for entry in changes if entry not in shared)))
    return Answer(completion=Completion(text="SETMETADATA completed"))


def _check(changes: Mapping[str, bytes | None], most: int) -> None:
    """Refuse what may not be set (RFC 5464 §4.3)."""
    if _SPECIAL_USE in changes or _ADMIN in changes:
        raise CommandRefused("this annotation is read-only", code="CANNOT")
    if any(changed is not None and len(changed) > most for changed in changes.values()):
        raise CommandRefused("an annotation is too large", code=f"METADATA MAXSIZE {most}")


def _tell(session: Session, place: Place, whose: tuple[int, tuple[str, ...]]) -> None:
    """Ring for entries of one account, or of all (0)."""
    account_id, entries = whose
    if entries:
        session.services.doorbell.ring_mailbox(MailboxNews(
            place.mailbox_id, entries=entries, folder_id=place.folder_id, account_id=account_id, origin=session))


async def _folder(session: Session, name: str) -> Folder | None:
    """Give the folder that a command names, None for the server. Raises CommandRefused."""
    if not name:
        return None
    folder = await session.find(name, needs="l")
    if not may_read(session.shares.known(folder)):
        raise CommandRefused("you do not have the rights for this", code="NOPERM")
    return folder


def _place(session: Session, folder: Folder | None) -> Place:
    return Place(session.mailbox_id) if folder is None else Place(folder.mailbox_id, folder.id)


def _account_id(session: Session) -> int:
    return session.account.id if session.account is not None else 0
