"""Which folders a NOTIFY is about, and what changed between two looks at them (RFC 5465 §5, §6). Pure: no IO, no session.

- `Scope` is what a client asked, applied to names: events of messages by folder, events of folders by name.
- Two groups on the same folder add up; the folder that is open follows its own group only (§3.1), which the caller minds.
- The difference between two readings of the folders is what must be told, however many events lie between.
Called by `notices.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mssante.model.mailbox import Folder
from mssante.protocol.imap.notifyvalues import MESSAGE_EVENTS, ON_SELECTED, NotifyEvent, NotifyGroup, NotifyWhere
from mssante.protocol.imap.values import StatusItem

_INBOX = "INBOX"


class Scope:
    """The groups of one NOTIFY SET. lead: of the namespace of other users, whose folders are not personal."""

    __slots__ = ("_groups", "_lead", "selected")

    def __init__(self, groups: Sequence[NotifyGroup], lead: str) -> None:
        self._groups = [group for group in groups if group.where not in ON_SELECTED]
        self.selected = next((group for group in groups if group.where in ON_SELECTED), None)
        self._lead = lead

    def events(self, name: str, folder: Folder | None) -> NotifyEvent:
        """Give what is asked of a name; folder: None for a name without a folder."""
        found = NotifyEvent.NONE
        for group in self._groups:
            if group.events and self._holds(group, name, folder):
                found |= group.events
        return found

    def _holds(self, group: NotifyGroup, name: str, folder: Folder | None) -> bool:
        """Tell if a group is about a name (RFC 5465 §6.2 to §6.6)."""
        match group.where:
            case NotifyWhere.PERSONAL:
                return not name.startswith(self._lead)
            case NotifyWhere.INBOXES:  # mail is delivered to INBOX and nowhere else
                return name == _INBOX
            case NotifyWhere.SUBSCRIBED:
                return folder is not None and folder.subscribed
            case NotifyWhere.SUBTREE:
                return any(name == top or name.startswith(top + "/") for top in group.names)
            case NotifyWhere.MAILBOXES:
                return name in group.names
        return False

    @property
    def server(self) -> bool:
        """True when changes of the server's metadata are asked (§5.7)."""
        return any(group.events & NotifyEvent.SERVER_METADATA_CHANGE for group in self._groups)

    def watched(self, folders: Iterable[Folder]) -> dict[int, NotifyEvent]:
        """Give the events of messages that are asked, by id of the folders that have some."""
        found = ((folder.id, self.events(folder.name, folder) & MESSAGE_EVENTS) for folder in folders)
        return {folder_id: events for folder_id, events in found if events}


@dataclass(frozen=True, slots=True)
class NameChange:
    """A name to tell of, and why. old_name: of a rename; folders: as it was and as it is, where it exists."""

    name: str
    event: NotifyEvent
    folders: tuple[Folder, ...]
    old_name: str = ""

    def asked(self, scope: Scope) -> bool:
        """Tell if the client wants to hear of it: as the folder was called, or as it is called now."""
        if any(scope.events(folder.name, folder) & self.event for folder in self.folders):
            return True
        return bool(scope.events(self.name, None) & self.event)


def name_changes(before: Mapping[int, Folder], after: Mapping[int, Folder]) -> list[NameChange]:
    """Give what changed in the list of folders, by name, each name once (RFC 5465 §5.4, §5.5). Mappings are by folder id."""
    old_ids = {folder.name: folder_id for folder_id, folder in before.items()}
    new_ids = {folder.name: folder_id for folder_id, folder in after.items()}
    found: dict[str, NameChange] = {}
    parents: list[str] = []
    for folder_id, folder in after.items():
        known = before.get(folder_id)
        if known is None:
            found[folder.name] = NameChange(folder.name, NotifyEvent.MAILBOX_NAME, (folder,))
            parents.append(folder.name.rpartition("/")[0])
        elif known.name != folder.name:
            if not _moved_with_parent(known.name, folder.name, old_ids, new_ids):
                found[folder.name] = NameChange(folder.name, NotifyEvent.MAILBOX_NAME, (known, folder), known.name)
        elif known.subscribed != folder.subscribed:
            found[folder.name] = NameChange(folder.name, NotifyEvent.SUBSCRIPTION_CHANGE, (known, folder))
    for folder_id, known in before.items():
        if folder_id not in after:
            parents.append(known.name.rpartition("/")[0])
            if known.name not in new_ids:
                found[known.name] = NameChange(known.name, NotifyEvent.MAILBOX_NAME, (known,))
    for name in parents:  # the level above is affected too, whether it exists or not
        if name and name not in found:
            at = new_ids.get(name)
            found[name] = NameChange(name, NotifyEvent.MAILBOX_NAME, (after[at],) if at is not None else ())
    return [found[name] for name in sorted(found)]


def _moved_with_parent(old: str, new: str, old_ids: Mapping[str, int], new_ids: Mapping[str, int]) -> bool:
    """Tell if a folder has its new name because a folder above it was renamed: it is not told then (§5.4)."""
    old_parent, _, old_last = old.rpartition("/")
    new_parent, _, new_last = new.rpartition("/")
    return (old_last == new_last and old_parent != new_parent and old_parent in old_ids
            and old_ids[old_parent] == new_ids.get(new_parent))


def status_items(before: Folder, after: Folder, events: NotifyEvent, *, condstore: bool) -> tuple[StatusItem, ...]:
    """Give what STATUS must tell of a folder that is not open, nothing when nothing asked changed (RFC 5465 §5.1 to §5.3)."""
    counted = (after.uidnext, after.message_count) != (before.uidnext, before.message_count)
    items: list[StatusItem] = []
    if counted and events & NotifyEvent.MESSAGE_NEW:  # it goes with MessageExpunge
        items += [StatusItem.MESSAGES, StatusItem.UIDNEXT]
    if events & NotifyEvent.FLAG_CHANGE and after.unseen_count != before.unseen_count:
        items.append(StatusItem.UNSEEN)
    changed = after.highest_modseq != before.highest_modseq
    if condstore and changed and (items or events & NotifyEvent.FLAG_CHANGE):
        items.append(StatusItem.HIGHESTMODSEQ)
    return (*items, StatusItem.UIDVALIDITY) if items else ()


def first_items(events: NotifyEvent) -> tuple[StatusItem, ...]:
    """Give what NOTIFY SET STATUS tells of a folder (RFC 5465 §3.1)."""
    items = [StatusItem.MESSAGES, StatusItem.UIDNEXT, StatusItem.UIDVALIDITY]
    if events & NotifyEvent.FLAG_CHANGE:
        items += [StatusItem.UNSEEN, StatusItem.HIGHESTMODSEQ]
    return tuple(items)
