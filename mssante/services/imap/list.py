"""LIST, LSUB, NAMESPACE, STATUS (RFC 9051 §6.3.9 to §6.3.11, RFC 5258, RFC 5819, RFC 6154).

- One read whatever the number of folders: names, subscriptions and counters come together, so LIST-STATUS costs nothing more.
- A level without a folder of its own (`A/B` without `A`) is shown as `\\NonExistent` with children, or `\\Noselect` in LSUB.
- Folders of other mailboxes are never seen: every name is looked up inside the mailbox of the login.
Called through `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mssante.model.mailbox import Folder
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.match import Matcher
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
from mssante.services.imap.session import Answer, Session


async def list_folders(session: Session, value: List) -> Answer:
    """Answer LIST."""
    answer = Answer(completion=Completion(text="LIST completed"))
    utf8 = session.wire.utf8
    if value.patterns == ("",) and not value.extended:  # RFC 9051 §6.3.9: only the delimiter is asked
        answer.data.append(encode.list_line(ListAnswer("", ("\\Noselect",)), utf8=utf8))
        return answer
    folders = await session.services.registry.read_folders(session.mailbox_id)
    matcher = Matcher(value.reference, value.patterns)
    listing = _Listing(folders, value)
    for name in listing.names:
        found = listing.answer(name) if matcher.matches(name) else None
        if found is None:
            continue
        answer.data.append(encode.list_line(found, utf8=utf8))
        if value.status and name in folders:  # RFC 5819 §2
            status = StatusAnswer(name, tuple((item, _counter(folders[name], item)) for item in value.status))
            answer.data.append(encode.status_line(status, utf8=utf8))
    return answer


class _Listing:
    """The tree of a mailbox as one LIST sees it."""

    __slots__ = ("_folders", "_parents", "_subscribed_parents", "_value", "names")

    def __init__(self, folders: dict[str, Folder], value: List) -> None:
        self._folders = folders
        self._value = value
        self._parents = _above(folders)
        self._subscribed_parents = _above(name for name, folder in folders.items() if folder.subscribed)
        missing = sorted(self._parents - folders.keys())
        self.names = [*folders, *missing]

    def answer(self, name: str) -> ListAnswer | None:
        """Give the line of a name, or None when the selection options leave it out."""
        folder = self._folders.get(name)
        chosen = self._value.select
        child_info: tuple[str, ...] = ()
        if chosen & ListSelect.RECURSIVEMATCH and name in self._subscribed_parents:
            child_info = ("SUBSCRIBED",)  # RFC 5258 §3.5
        if not child_info and not self._selected(folder):
            return None
        return ListAnswer(name, tuple(self._attributes(name, folder)), child_info)

    def _selected(self, folder: Folder | None) -> bool:
        chosen = self._value.select
        if chosen & ListSelect.SUBSCRIBED and (folder is None or not folder.subscribed):
            return False
        return not chosen & ListSelect.SPECIAL_USE or (folder is not None and bool(folder.special_use))

    def _attributes(self, name: str, folder: Folder | None) -> Iterable[str]:
        if folder is None:
            yield "\\NonExistent"
        yield "\\HasChildren" if name in self._parents else "\\HasNoChildren"  # RFC 5258 §4, always given
        if folder is None:
            return
        asked = self._value.returns & ListReturn.SUBSCRIBED or self._value.select & ListSelect.SUBSCRIBED
        if folder.subscribed and asked:
            yield "\\Subscribed"
        if folder.special_use:  # RFC 6154 §2: given to every LIST
            yield folder.special_use


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
    folders = await session.services.registry.read_folders(session.mailbox_id)
    matcher = Matcher(value.reference, (value.pattern,))
    subscribed = [name for name, folder in folders.items() if folder.subscribed]
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
    """Answer NAMESPACE: one personal namespace."""
    return Answer([encode.namespace_line()], Completion(text="NAMESPACE completed"))


async def status(session: Session, value: Status) -> Answer:
    """Answer STATUS with the counters as they are now."""
    folders = await session.services.registry.read_folders(session.mailbox_id)
    folder = folders.get(value.folder)
    if folder is None:
        raise CommandRefused("no such folder", code="NONEXISTENT")
    found = StatusAnswer(folder.name, tuple((item, _counter(folder, item)) for item in value.items))
    return Answer([encode.status_line(found, utf8=session.wire.utf8)], Completion(text="STATUS completed"))


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
    return 0  # RECENT: no message is recent here
