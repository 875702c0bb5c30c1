"""What one session asked to hear of with NOTIFY, and what waits to be told to it (RFC 5465).

- Bells only mark: a set of folder ids, and that the list of folders changed. However much happens while the client does not
  read, or during a command, what is held stays as large as the number of folders watched.
- `news` looks once, at all folders together, and tells the difference with its last look: a burst of messages costs one
  read, and a change that was undone in between is not told.
- Only changes of metadata are queued one by one: beyond `BACKLOG` of them everything is dropped, the client is told
  NOTIFICATIONOVERFLOW and nothing more (§5.8). The same when more folders than the limit come under watch.
- What the session does itself is not told to it (§5): the ring of its own change is known by its modseq, or by its name.
- The folder that is open follows SELECTED or SELECTED-DELAYED; its lines come from the view, as for every other session.
Made by `notify.py`; the endpoint draws `news` between two commands. What new messages are to show is read by `arrivals.py`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from mssante.model.mailbox import Folder
from mssante.model.message import Flags
from mssante.protocol.imap import encode
from mssante.protocol.imap.notifyencode import metadata_line, overflow_line, renamed_line
from mssante.protocol.imap.notifyvalues import MESSAGE_EVENTS, Asked, NotifyEvent, NotifyWhere
from mssante.protocol.imap.values import StatusAnswer, StatusItem
from mssante.services.doorbell import EVERYONE, MailboxNews
from mssante.services.imap.arrivals import arrival_lines
from mssante.services.imap.following import refresh as refresh_contexts
from mssante.services.imap.list import Names, listed, read_names
from mssante.services.imap.session import Session
from mssante.services.imap.watching import Scope, name_changes, status_items

BACKLOG = 200  # changes of metadata


class Notices:
    """Watches for one session. Event loop's thread only."""

    __slots__ = ("_backlog", "_endings", "_known", "_list_changed", "_mailboxes", "_own_changes", "_own_names", "_own_uids",
                 "_seen_uid", "_session", "_timer", "_told_selected", "dirty", "overflowed", "scope", "wake")

    def __init__(self, session: Session, scope: Scope, names: Names, wake: Callable[[], None]) -> None:
        """names: what is there now; wake: called on the event loop when `waiting` may have become true."""
        self._session = session
        self.scope = scope
        self.wake = wake
        self.dirty: set[int] = set()
        self.overflowed = False
        self._known = {folder.id: folder for folder in _visible(names)}
        self._list_changed = False
        self._backlog: list[MailboxNews] = []
        self._own_names: set[str] = set()
        self._own_changes: dict[int, dict[int, int]] = {}  # of this session: messages added, by modseq, by folder
        self._own_uids: set[int] = set()  # what it put into the open folder
        self._endings: dict[int, Callable[[], None]] = {}
        self._mailboxes: dict[int, Callable[[], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._told_selected = True  # nothing new in the open folder
        self._seen_uid = 0  # the last message of the open folder that was announced

    # ------------------------------------------------------------------------------------------ bells

    def begin(self) -> None:
        """Hear the bells; what rang between the last reading and now is looked for at the next one."""
        self._follow(self.scope.watched(self._known.values()))
        self.opened()

    async def look_again(self) -> Names:
        """Read the folders now that the bells are heard: what is there is known."""
        names = await read_names(self._session)
        self._known = {folder.id: folder for folder in _visible(names)}
        self._follow(self.scope.watched(self._known.values()))
        return names

    def folders(self) -> list[Folder]:
        """Give the folders as they are known, by name."""
        return sorted(self._known.values(), key=lambda folder: folder.name)

    def end(self) -> None:
        """Hear nothing more; safe to call twice."""
        for ending in (*self._endings.values(), *self._mailboxes.values()):
            ending()
        self._endings.clear()
        self._mailboxes.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        view, cursor = self._session.view, self._session.cursor
        if view is not None and cursor is not None:
            view.unlisten(cursor)

    def _follow(self, watched: dict[int, NotifyEvent]) -> None:
        """Hear these folders and the mailboxes that they are in, and no others."""
        bell = self._session.services.doorbell
        for folder_id in self._endings.keys() - watched.keys():
            self._endings.pop(folder_id)()
        for folder_id in watched.keys() - self._endings.keys():
            self._endings[folder_id] = bell.subscribe(folder_id, lambda modseq, at=folder_id: self._rang(at, modseq))  # type: ignore[misc]
        mailboxes = {self._session.mailbox_id, EVERYONE, *(folder.mailbox_id for folder in self._known.values())}
        for mailbox_id in self._mailboxes.keys() - mailboxes:
            self._mailboxes.pop(mailbox_id)()
        for mailbox_id in mailboxes - self._mailboxes.keys():
            self._mailboxes[mailbox_id] = bell.watch_mailbox(mailbox_id, self._heard)

    def _rang(self, folder_id: int, modseq: int) -> None:
        """A watched folder changed."""
        known = self._known.get(folder_id)
        if known is not None and modseq > known.highest_modseq:
            self.dirty.add(folder_id)
            self._schedule()

    def _heard(self, news: MailboxNews) -> None:
        """The list of folders or the metadata of a mailbox changed."""
        account = self._session.account
        if news.entries:
            if news.origin is self._session or (news.account_id and (account is None or news.account_id != account.id)):
                return
            self._backlog.append(news)
            if len(self._backlog) > BACKLOG:
                self.give_up()
        else:
            self._list_changed = True
        self._schedule()

    def doing(self, *names: str) -> None:
        """This session is about to change these names itself: nothing is told of them at the next look (§5)."""
        for name in names:
            self._own_names.update((name, name.rpartition("/")[0]))

    def give_up(self) -> None:
        """Hear and tell nothing more: too much waits, or a look failed."""
        self.end()
        self.overflowed = True
        self.dirty.clear()
        self._backlog.clear()
        self._list_changed = False

    def _schedule(self) -> None:
        """Wake the connection a moment later: what rings meanwhile comes with it."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._session.services.settings.notify_gather_seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        self.wake()

    # ------------------------------------------------------------------------------------------ the open folder

    @property
    def on_selected(self) -> NotifyEvent:
        """Events of messages asked of the open folder."""
        return self.scope.selected.events if self.scope.selected is not None else NotifyEvent.NONE

    def opened(self) -> None:
        """A folder was opened, or NOTIFY was given with one open: everything in it is known to the client."""
        view, cursor = self._session.view, self._session.cursor
        if view is None or cursor is None:
            return
        self._seen_uid = cursor.uids[cursor.count - 1] if cursor.count else 0
        self._told_selected = True
        self._own_uids.clear()
        self.listen()

    def listen(self) -> None:
        """Hear of the open folder from its view."""
        view, cursor = self._session.view, self._session.cursor
        if view is not None and cursor is not None and self.on_selected and not self.overflowed:
            view.listen(cursor, self._view_changed)

    def look_at_selected(self) -> None:
        """The client is about to idle: what waited for that is told."""
        if self.on_selected:
            self._told_selected = False

    def _view_changed(self) -> None:
        self._told_selected = False
        self.wake()

    def left(self) -> None:
        """The open folder is about to be left: what its client was told of it is known from now on."""
        view, cursor = self._session.view, self._session.cursor
        if view is None or cursor is None:
            return
        self._told_selected = True
        known = self._known.get(view.folder_id)
        if known is not None and view.is_current(cursor):
            flags = self._session.flags_of(view.table, range(len(view.uids)))
            unseen = sum(1 for mask in flags if not mask & Flags.SEEN)
            self._known[view.folder_id] = replace(known, uidnext=view.uidnext, message_count=cursor.count,
                                                  highest_modseq=view.highest_modseq, unseen_count=unseen)
        if view.folder_id in self._endings:
            self._rang(view.folder_id, view.announced)

    def added(self, folder_id: int, modseq: int, uids: Sequence[int]) -> None:
        """This session put messages into a folder itself, and its client knows: nothing is told of them (§5, §5.2)."""
        view = self._session.view
        if view is not None and view.folder_id == folder_id:
            self._own_uids.update(uids)
        elif folder_id in self._endings:
            self._own_changes.setdefault(folder_id, {})[modseq] = len(uids)

    # ------------------------------------------------------------------------------------------ telling

    def waiting(self) -> bool:
        """True when there is something to look at."""
        if self.overflowed or self._list_changed or self._backlog or not self._told_selected:
            return True
        return bool(self.dirty) and self._timer is None

    async def news(self, *, idle: bool) -> AsyncIterator[bytes]:
        """Give what must be told now, line by line. idle: the client waits in IDLE, where EXPUNGE is welcome.

        Raises SessionEnd when the open folder is gone.
        """
        if self.overflowed:
            self._session.notices = None
            yield overflow_line()
            return
        if not self._told_selected:
            self._told_selected = True
            async for data in self._selected(idle=idle):
                yield data
        if self.dirty or self._list_changed or self._backlog:
            for data in await self._look():
                yield data

    async def _selected(self, *, idle: bool) -> AsyncIterator[bytes]:
        """Give the lines of the open folder (§5.1 to §5.3)."""
        session, group = self._session, self.scope.selected
        await session.revalidate()
        if session.contexts:
            await refresh_contexts(session)
        if session.view is None or group is None or not session.sure():
            return
        lines = session.updates(expunges=idle or group.where is NotifyWhere.SELECTED)
        wants_flags = group.events & NotifyEvent.FLAG_CHANGE
        for line in lines:
            if wants_flags or not _is_flags(line):
                yield line
        async for data in arrival_lines(session):
            yield data

    @property
    def asked_of_new(self) -> Asked | None:
        """What is asked of new messages of the open folder (§5.2)."""
        return self.scope.selected.asked if self.scope.selected is not None else None

    def arrived(self) -> list[int]:
        """Give the messages whose EXISTS was told since the last time, but those of this session itself."""
        view, cursor = self._session.view, self._session.cursor
        if view is None or cursor is None or not cursor.count:
            return []
        first, self._seen_uid = self._seen_uid, max(self._seen_uid, cursor.uids[cursor.count - 1])
        new = cursor.uids[bisect_right(cursor.uids, first, 0, cursor.count):cursor.count]
        uids = [uid for uid in new if uid not in self._own_uids]
        self._own_uids.clear()
        return uids

    async def _look(self) -> list[bytes]:
        """Read all folders once and give what changed since the last time."""
        dirty, self.dirty = self.dirty, set()
        list_changed, self._list_changed = self._list_changed, False
        backlog, self._backlog = self._backlog, []
        own_names, self._own_names = self._own_names, set()
        names = await read_names(self._session)
        after = {folder.id: folder for folder in _visible(names)}
        out: list[bytes] = []
        if list_changed:
            out += self._names(names, after, own_names)
        out += self._metadata(backlog, after)
        out += self._statuses(dirty if not list_changed else after.keys() & self._endings.keys(), after)
        return out

    def _names(self, names: Names, after: dict[int, Folder], own: set[str]) -> list[bytes]:
        """Tell of names (§5.4, §5.5), and follow the new list (§6.4)."""
        session, utf8 = self._session, self._session.wire.utf8
        wanted = [change for change in name_changes(self._known, after)
                  if change.asked(self.scope) and change.name not in own and change.old_name not in own]
        out = []
        for change, answer in zip(wanted, listed(session, names, [change.name for change in wanted]), strict=True):
            out.append(renamed_line(answer, change.old_name, utf8=utf8) if change.old_name
                       else encode.list_line(answer, utf8=utf8))
        # A folder that is new has everything to tell; one that is known keeps what was told of it, under its new name.
        self._known = {folder_id: _renamed(self._known.get(folder_id), folder) for folder_id, folder in after.items()}
        watched = self.scope.watched(after.values())
        if len(watched) > session.services.settings.notify_folders:
            self.give_up()
            session.notices = None
            return [overflow_line()]
        self._follow(watched)
        return out

    def _metadata(self, backlog: list[MailboxNews], after: dict[int, Folder]) -> list[bytes]:
        """Tell of metadata (§5.6, §5.7)."""
        utf8, out = self._session.wire.utf8, []
        for news in backlog:
            folder = after.get(news.folder_id)
            if folder is None and news.folder_id:
                continue
            if folder is not None and not self.scope.events(folder.name, folder) & NotifyEvent.MAILBOX_METADATA_CHANGE:
                continue
            if folder is None and not (self.scope.server and news.mailbox_id == self._session.mailbox_id):
                continue
            out.append(metadata_line(folder.name if folder is not None else "", news.entries, utf8=utf8))
        return out

    def _statuses(self, dirty: set[int], after: dict[int, Folder]) -> list[bytes]:
        """Tell of messages in folders that are not open (§5.1 to §5.3)."""
        session, out = self._session, []
        selected = session.view.folder_id if session.view is not None else 0
        for folder_id in sorted(dirty):
            folder, known = after.get(folder_id), self._known.get(folder_id)
            if folder is None or known is None or folder_id == selected:
                continue
            self._known[folder_id] = folder
            own = self._own_changes.pop(folder_id, {})
            ours = [count for modseq, count in own.items() if known.highest_modseq < modseq <= folder.highest_modseq]
            if ours and (folder.highest_modseq - known.highest_modseq, folder.uidnext - known.uidnext) == (len(ours), sum(ours)):
                continue  # nobody else changed it
            events = self.scope.events(folder.name, folder) & MESSAGE_EVENTS
            items = status_items(known, folder, events, condstore=session.wire.condstore)
            if items:
                out.append(encode.status_line(status_of(folder, items), utf8=session.wire.utf8))
        return out


def _visible(names: Names) -> list[Folder]:
    """Give the folders that the user may read, with the counters that it sees."""
    out = []
    for name, folder in names.folders.items():
        held = names.rights.get(name)
        if held is not None and "r" not in held:
            continue
        if folder.seen_private:
            folder = replace(folder, unseen_count=folder.message_count - names.seen.get(folder.id, 0))
        out.append(folder)
    return out


def _renamed(known: Folder | None, folder: Folder) -> Folder:
    """Give what was told of a folder, with its name and subscription as they are now."""
    if known is None:
        return replace(folder, uidnext=1, message_count=0, unseen_count=0, highest_modseq=0)
    return replace(known, name=folder.name, subscribed=folder.subscribed)


def _is_flags(line: bytes) -> bool:
    """Tell if a line of the updates is about flags."""
    return b" FETCH (" in line or b" UIDFETCH (" in line


def status_of(folder: Folder, items: tuple[StatusItem, ...]) -> StatusAnswer:
    """Give the STATUS of a folder; items among those that NOTIFY tells."""
    values = {StatusItem.MESSAGES: folder.message_count, StatusItem.UIDNEXT: folder.uidnext,
              StatusItem.UNSEEN: folder.unseen_count, StatusItem.UIDVALIDITY: folder.uidvalidity,
              StatusItem.HIGHESTMODSEQ: folder.highest_modseq}
    return StatusAnswer(folder.name, tuple((item, values[item]) for item in items))
