"""LIST, LSUB, NAMESPACE, STATUS (RFC 9051 §6.3.9 to §6.3.11, RFC 5258, RFC 5819, RFC 6154, RFC 8440, RFC 9590, RFC 2342).

- One unit whatever the number of folders: names, subscriptions, counters and rights come together, so LIST-STATUS and
  LIST-MYRIGHTS cost nothing more; LIST-METADATA and DELETED-STORAGE are one more statement of it each.
- A level without a folder of its own (`A/B` without `A`) is shown as `\\NonExistent` with children, or `\\Noselect` in LSUB and
  in the namespace of other users.
- Folders of other mailboxes are shown under that namespace, only those with the right `l`; a hidden folder leaves no trace, its
  level looks like one that does not exist. Their special uses are not told: a client must not file its sent mail there.
- UNSEEN is what this account has not seen where `\\Seen` is kept for each reader; RECENT what no session was told of.
- A subscription is to a name: LIST (SUBSCRIBED) and LSUB show those without a folder too, LIST as `\\NonExistent`.
Called through `dispatch.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from mssante.model.mailbox import Folder
from mssante.protocol.imap import aclencode, encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.match import Matcher
from mssante.protocol.imap.metadataencode import metadata_values_line
from mssante.protocol.imap.values import (
    Completion,
    List,
    ListAnswer,
    ListReturn,
    ListSelect,
    Lsub,
    Namespace,
    Status,
    StatusAnswer,
    StatusItem,
)
from mssante.services.imap.metadata import computed, may_read
from mssante.services.imap.rights import SharedRead, shared_tx, spelled
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import FolderAnnotation, Tx

_CHILD_INFO = ((ListSelect.SUBSCRIBED, "SUBSCRIBED"), (ListSelect.SPECIAL_USE, "SPECIAL-USE"))


@dataclass(slots=True)
class Names:
    """All folders that the user sees, by name. rights: in those of others; by folder id, seen: what the account has read,
    deleted: octets of `\\Deleted` messages, recent: messages that nobody was told of, annotations: entries that were asked;
    lost: names without folder that are subscribed."""

    folders: dict[str, Folder]
    rights: dict[str, frozenset[str]] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    deleted: dict[int, int] = field(default_factory=dict)
    recent: dict[int, int] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    annotations: dict[int, dict[str, bytes]] = field(default_factory=dict)


async def read_names(session: Session, *, items: Collection[StatusItem] = (), entries: Sequence[str] = (), lost: bool = False,
                     ) -> Names:
    """Read the folders of the user and those of others that it sees, with counters as they are now: one unit.

    items: of STATUS, for those that stand beside the counters; entries: annotations to read; lost: subscriptions to names
    without folder, too.
    """
    services, account = session.services, session.account
    stores, registry, own_id = services.stores, services.registry, session.mailbox_id
    version, read_at, now = registry.shares_version, services.clock.monotonic(), services.clock.now()

    freed: dict[int, int] = {}
    recent: dict[int, int] = {}
    names_lost: list[str] = []
    notes: list[FolderAnnotation] = []

    def unit(tx: Tx) -> tuple[list[Folder], SharedRead, dict[int, int]]:
        own = stores.folders.of_mailbox(tx, own_id)
        others = shared_tx(tx, stores, account, now) if account is not None else SharedRead([])
        private = [folder.id for folder in (*own, *(grant.folder for grant in others.grants)) if folder.seen_private]
        seen = stores.rights.seen_counts(tx, account.id, private) if account is not None else {}
        every = [*own, *(grant.folder for grant in others.grants)]
        if StatusItem.RECENT in items:
            recent.update(stores.folders.recent_counts(tx, [folder.id for folder in every if folder.uidnext > folder.recent_uid]))
        if lost:
            names_lost.extend(stores.folders.lost_subscriptions(tx, own_id))
        if StatusItem.DELETED_STORAGE in items:
            freed.update(stores.messages.deleted_sizes(tx, [folder.id for folder in every if folder.deleted_count]))
        if entries and account is not None:
            mailbox_ids = sorted({folder.mailbox_id for folder in every})
            notes.extend(stores.annotations.of_folders(tx, mailbox_ids, account.id, entries))
        return own, others, seen

    own, others, seen = await stores.database.read(unit, quick=True)
    covers = session.shares.covers
    names = Names({name: folder for name, folder in registry.keep_folders(own_id, own).items() if not covers(name)}, seen=seen,
                  deleted=freed, recent=recent, lost=tuple(names_lost))
    for note in notes:
        names.annotations.setdefault(note.folder_id, {})[note.entry] = note.value
    if account is not None:
        shared = session.shares.keep(account, version, read_at, others).by_name
        names.folders.update({name: one.folder for name, one in shared.items()})
        names.rights = {name: one.rights for name, one in shared.items()}
    return names


async def list_folders(session: Session, value: List) -> Answer:
    """Answer LIST."""
    answer = Answer(completion=Completion(text="LIST completed"))
    utf8 = session.wire.utf8
    if value.patterns == ("",) and not value.extended:  # RFC 9051 §6.3.9: only the delimiter is asked
        answer.data.append(encode.list_line(ListAnswer("", ("\\Noselect",)), utf8=utf8))
        return answer
    subscribed = bool(value.select & ListSelect.SUBSCRIBED)
    names = await read_names(session, items=value.status, entries=value.metadata, lost=subscribed)
    matcher = Matcher(value.reference, value.patterns)
    listing = _Listing(names, value, session.shares.lead, matcher)
    for name in listing.names:
        found = listing.answer(name) if matcher.matches(name) else None
        if found is None:
            continue
        answer.data.append(encode.list_line(found, utf8=utf8))
        folder = names.folders.get(name)
        if folder is None:
            continue
        held = names.rights.get(name)
        if value.returns & ListReturn.MYRIGHTS:  # RFC 8440 §3
            answer.data.append(aclencode.myrights_line(name, spelled(held), utf8=utf8))
        if value.status and (held is None or "r" in held):  # RFC 5819 §2
            answer.data.append(encode.status_line(_status(session, folder, value.status, names), utf8=utf8))
        if value.metadata and may_read(held):  # RFC 9590 §3
            known = names.annotations.get(folder.id, {}) | computed(folder)
            entries = [(entry, known.get(entry)) for entry in value.metadata]
            answer.data.append(metadata_values_line(name, entries, utf8=utf8))
    return answer


class _Listing:
    """The tree of a mailbox as one LIST sees it. lead: of the namespace of other users; matcher: None for one that takes no name.

    _chosen_parents: levels above names that the selection options choose; _needed: those above some that no pattern takes, which
    stand for them in the answer (RFC 5258 §3.5).
    """

    __slots__ = ("_chosen_parents", "_folders", "_lead", "_lost", "_needed", "_parents", "_value", "names")

    def __init__(self, names: Names, value: List, lead: str, matcher: Matcher | None = None) -> None:
        folders = self._folders = names.folders
        self._lost = frozenset(names.lost) - folders.keys()
        self._value = value
        self._lead = lead
        self._parents = _above(folders)
        missing = sorted((self._parents | self._lost) - folders.keys())
        self.names = [*folders, *missing]
        self._chosen_parents: set[str] = set()
        self._needed: set[str] = set()
        if matcher is not None and value.select & ListSelect.RECURSIVEMATCH:
            chosen = [name for name in self.names if self._selected(name)]
            self._chosen_parents = _above(chosen)
            self._needed = _above(name for name in chosen if not matcher.matches(name))
            self.names += sorted(self._chosen_parents - self._parents - folders.keys() - self._lost)

    def answer(self, name: str) -> ListAnswer | None:
        """Give the line of a name, or None when the selection options leave it out."""
        if name not in self._needed and not self._selected(name):
            return None
        options = self._value.select & ~ListSelect.RECURSIVEMATCH
        child_info = tuple(word for option, word in _CHILD_INFO if options & option) if name in self._chosen_parents else ()
        return ListAnswer(name, tuple(self._attributes(name, self._folders.get(name))), child_info)

    def attributes(self, name: str) -> Iterable[str]:
        """Give the attributes of a name, whether it exists or not (RFC 5465 §5.4)."""
        found = self._attributes(name, self._folders.get(name))
        return ("\\NonExistent" if word == "\\Noselect" else word for word in found)

    def _selected(self, name: str) -> bool:
        """Tell if the selection options choose a name."""
        folder, chosen = self._folders.get(name), self._value.select
        if chosen & ListSelect.SUBSCRIBED and not self._subscribed(name, folder):
            return False
        return not chosen & ListSelect.SPECIAL_USE or (folder is not None and bool(folder.special_use))

    def _subscribed(self, name: str, folder: Folder | None) -> bool:
        return folder.subscribed if folder is not None else name in self._lost

    def _attributes(self, name: str, folder: Folder | None) -> Iterable[str]:
        if folder is None:
            yield "\\Noselect" if f"{name}/".startswith(self._lead) else "\\NonExistent"
        yield "\\HasChildren" if name in self._parents else "\\HasNoChildren"  # RFC 5258 §4, always given
        asked = self._value.returns & ListReturn.SUBSCRIBED or self._value.select & ListSelect.SUBSCRIBED
        if asked and self._subscribed(name, folder):
            yield "\\Subscribed"
        if folder is not None and folder.special_use:  # RFC 6154 §2: given to every LIST
            yield folder.special_use


def listed(session: Session, names: Names, wanted: Sequence[str]) -> list[ListAnswer]:
    """Give the LIST line of each of these names, as they are now; one that is gone is `\\NonExistent`."""
    tree = _Listing(names, List("", (), returns=ListReturn.SUBSCRIBED), session.shares.lead)
    return [ListAnswer(name, tuple(tree.attributes(name))) for name in wanted]


def _above(names: Iterable[str]) -> set[str]:
    """Give every level above these names."""
    out: set[str] = set()
    for name in names:
        parent = name.rpartition("/")[0]
        while parent and parent not in out:
            out.add(parent)
            parent = parent.rpartition("/")[0]
    return out


async def lsub(session: Session, value: Lsub) -> Answer:
    """Answer LSUB (RFC 3501 §6.3.9)."""
    known = await read_names(session, lost=True)
    matcher = Matcher(value.reference, (value.pattern,))
    subscribed = [*(name for name, folder in known.folders.items() if folder.subscribed), *known.lost]
    answer = Answer(completion=Completion(text="LSUB completed"))
    names: dict[str, tuple[str, ...]] = {name: () for name in subscribed if matcher.matches(name)}
    if value.pattern.endswith("%"):
        # A level hidden by % whose child is subscribed is shown, not selectable.
        for name in sorted(_above(subscribed) - names.keys()):
            if matcher.matches(name):
                names[name] = ("\\Noselect",)
    utf8 = session.wire.utf8
    answer.data += [encode.list_line(ListAnswer(name, attributes, lsub=True), utf8=utf8)
                    for name, attributes in names.items()]
    return answer


async def namespace(session: Session, value: Namespace) -> Answer:
    """Answer NAMESPACE: one personal namespace, one of other users (RFC 2342 §5)."""
    line = aclencode.namespace_line(session.shares.lead, utf8=session.wire.utf8)
    return Answer([line], Completion(text="NAMESPACE completed"))


async def status(session: Session, value: Status) -> Answer:
    """Answer STATUS with the counters as they are now."""
    folder = await _as_it_is(session, value.folder)
    known = Names({})
    if folder.seen_private and StatusItem.UNSEEN in value.items:
        known.seen = await _seen(session, folder)
    if folder.deleted_count and StatusItem.DELETED_STORAGE in value.items:
        stores = session.services.stores
        known.deleted = await stores.database.read(lambda tx: stores.messages.deleted_sizes(tx, [folder.id]))
    if StatusItem.RECENT in value.items and folder.uidnext > folder.recent_uid:
        stores = session.services.stores
        known.recent = await stores.database.read(lambda tx: stores.folders.recent_counts(tx, [folder.id]), quick=True)
    return Answer([encode.status_line(_status(session, folder, value.items, known), utf8=session.wire.utf8)],
                  Completion(text="STATUS completed"))


async def _as_it_is(session: Session, name: str) -> Folder:
    """Give a folder that the user may read, with its counters as they are now. Raises CommandRefused."""
    registry, stores = session.services.registry, session.services.stores
    if not session.shares.covers(name):
        own = (await registry.read_folders(session.mailbox_id)).get(name)
        if own is None:
            raise CommandRefused("no such folder", code="NONEXISTENT")
        return own
    known = await session.find(name, needs="r")

    def unit(tx: Tx) -> Folder | None:
        return stores.folders.get(tx, known.id)

    found = await stores.database.read(unit, quick=True)
    if found is None:
        registry.forget_folders(known.mailbox_id)
        raise CommandRefused("no such folder", code="NONEXISTENT")
    return replace(found, name=known.name)


async def _seen(session: Session, folder: Folder) -> dict[int, int]:
    """Count what the account has read in a folder whose `\\Seen` is kept for each reader."""
    stores, account = session.services.stores, session.account

    def unit(tx: Tx) -> dict[int, int]:
        return stores.rights.seen_counts(tx, account.id, [folder.id]) if account is not None else {}

    return await stores.database.read(unit)


def _status(session: Session, folder: Folder, items: Sequence[StatusItem], known: Names) -> StatusAnswer:
    """Give the values of STATUS. known: what stands beside the counters of the folder."""
    if folder.seen_private:
        folder = replace(folder, unseen_count=folder.message_count - known.seen.get(folder.id, 0))
    other = {StatusItem.APPENDLIMIT: session.services.settings.message_bytes,
             StatusItem.DELETED_STORAGE: known.deleted.get(folder.id, 0)}
    if StatusItem.RECENT in items:
        other[StatusItem.RECENT] = _recent(session, folder, known)
    return StatusAnswer(folder.name, tuple((item, other[item] if item in other else _counter(folder, item)) for item in items))


def _recent(session: Session, folder: Folder, known: Names) -> int:
    """Give RECENT: what the store counted, unless the boundary has moved since (it is written behind)."""
    registry = session.services.registry
    boundary = registry.recents.boundary(folder.id, folder.recent_uid)
    if boundary == folder.recent_uid:
        return known.recent.get(folder.id, 0)
    view = registry.view(folder.id)
    if view is None or boundary >= folder.uidnext:
        return max(0, min(folder.uidnext - boundary, known.recent.get(folder.id, 0)))
    return len(view.uids) - bisect_left(view.uids, boundary)


def _counter(folder: Folder, item: StatusItem) -> int:
    """Give one item of STATUS."""
    match item:
        case StatusItem.MESSAGES:
            return folder.message_count
        case StatusItem.UIDNEXT:
            return folder.uidnext
        case StatusItem.UIDVALIDITY:
            return folder.uidvalidity
        case StatusItem.UNSEEN:
            return folder.unseen_count
        case StatusItem.DELETED:
            return folder.deleted_count
        case StatusItem.SIZE:
            return folder.size_bytes
        case StatusItem.HIGHESTMODSEQ:
            return folder.highest_modseq
        case StatusItem.MAILBOXID:
            return folder.id
    return 0
