"""ESEARCH, the search of several folders (RFC 7377): one ESEARCH line a folder that has results.

- Folders come in the order of the sources, each once; those that do not exist, or that the user may not see and read, are left
  out (RFC 7377 §2.2). Only folders that hold messages are opened, one after the other.
- The folder that is open is searched as its client knows it; any other one as it is now, through the same shared view that a
  SELECT would give, so that caches serve both.
- Bounded: `MAX_FOLDERS` folders and `MAX_MESSAGES` messages a command, NO [LIMIT] beyond, before anything is read of them.
Called through `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mssante.model.mailbox import Folder
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import ClientFault, CommandRefused
from mssante.protocol.imap.searchkeys import InSet, parts
from mssante.protocol.imap.values import Completion, MultiSearch, SearchReturn, Source
from mssante.services.imap.contexts import refusal
from mssante.services.imap.list import read_names
from mssante.services.imap.search import Searching
from mssante.services.imap.searchresult import Result, esearch, save
from mssante.services.imap.session import Answer, Session

MAX_FOLDERS = 300
MAX_MESSAGES = 300_000


async def multi_search(session: Session, value: MultiSearch) -> Answer:
    """Search every folder of the sources."""
    search = value.search
    returns = search.returns or SearchReturn.ALL
    only_selected = all(source is Source.SELECTED for source, _ in value.sources)
    if any(source is Source.SELECTED for source, _ in value.sources) and session.view is None:
        raise ClientFault(None, "no folder is selected", rule="RFC 7377 §2.2")
    if not only_selected and (returns & SearchReturn.SAVE or _uses_saved(value)):
        raise ClientFault(None, "a saved result belongs to the selected folder only", rule="RFC 7377 §2.2")
    answer = Answer(completion=Completion(text="ESEARCH completed"))
    if returns & SearchReturn.UPDATE:
        answer.data.append(refusal(session.tag, "searches of several folders are not followed"))
    folders = await _folders(session, value)
    for folder in folders:
        line = await _one(session, value, folder)
        if line:
            answer.data.append(line)
    return answer


def _uses_saved(value: MultiSearch) -> bool:
    return any(isinstance(one, InSet) and one.numbers.saved for one in parts(value.search.key))


async def _folders(session: Session, value: MultiSearch) -> list[Folder]:
    """Give the folders to search. Raises CommandRefused LIMIT."""
    current = session.folder
    found: dict[int, Folder] = {}
    if current is not None and any(source is Source.SELECTED for source, _ in value.sources):
        session.require("r")
        found[current.id] = current
    if any(source is not Source.SELECTED for source, _ in value.sources):
        names = await read_names(session)
        readable = {name: folder for name, folder in names.folders.items() if "r" in names.rights.get(name, "r")}
        shared = frozenset(names.rights)
        for source, wanted in value.sources:
            for name in _named(source, wanted, readable, shared):
                found.setdefault(readable[name].id, readable[name])
    kept = [folder for folder in found.values() if folder.message_count or folder is current]
    if len(kept) > MAX_FOLDERS or sum(folder.message_count for folder in kept) > MAX_MESSAGES:
        raise CommandRefused("too many folders or messages for one search", code="LIMIT", rule="RFC 7377 §2.2")
    return kept


def _named(source: Source, wanted: tuple[str, ...], folders: dict[str, Folder], shared: frozenset[str]) -> Iterable[str]:
    """Give the names of one source (RFC 5465 §6, RFC 7377 §2.2), among those the user may read."""
    match source:
        case Source.SELECTED:
            return ()
        case Source.INBOXES:  # what mail is delivered into
            return [name for name in ("INBOX",) if name in folders]
        case Source.PERSONAL:
            return [name for name in folders if name not in shared]
        case Source.SUBSCRIBED:
            return [name for name, folder in folders.items() if folder.subscribed]
        case Source.MAILBOXES:
            return [name for name in wanted if name in folders]
    deep = source is Source.SUBTREE
    return [name for name in folders for top in wanted
            if name == top or (name.startswith(top + "/") and (deep or "/" not in name[len(top) + 1:]))]


async def _one(session: Session, value: MultiSearch, folder: Folder) -> bytes:
    """Search one folder; give its line, empty when nothing was found."""
    if session.folder is not None and folder.id == session.folder.id:
        view, cursor = session.opened()
        return await _search(session, value, folder, Searching(session, view, cursor))
    registry = session.services.registry
    try:
        view, cursor = await registry.open(folder.id)
    except LookupError:
        return b""  # deleted since the list was read
    seen = None
    try:
        if folder.seen_private and session.account is not None:
            seen = await registry.seen.open(folder.id, session.account.id)
        return await _search(session, value, folder, Searching(session, view, cursor, seen=seen))
    finally:
        if seen is not None:
            registry.seen.close(seen)
        registry.close(view, cursor)


async def _search(session: Session, value: MultiSearch, folder: Folder, searching: Searching) -> bytes:
    search = value.search
    returns = search.returns or SearchReturn.ALL
    view, cursor = searching.view, searching.cursor
    rows = await searching.rows(search.key)
    result = Result.of(searching.table, rows, view, cursor)
    if returns & SearchReturn.RELEVANCY:
        result.scores = searching.scores(result.uids)
    save(session, search, result)
    if not rows or not returns & ~SearchReturn.SAVE:  # RFC 7377 §2.1: nothing is said of a folder without results
        return b""
    name = encode.folder_name(folder.name, session.wire.utf8)
    return esearch(session.tag, search, result, mailbox=(name, view.uidvalidity))
