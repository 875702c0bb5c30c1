"""Which function runs which command: one table, keyed by the type of the typed command.

- `run` is what the endpoint calls for every command that is not its own (STARTTLS, LOGIN, AUTHENTICATE, IDLE, LOGOUT and the
  octets of APPEND are the connection's business).
- The open folder is brought up to date before the command, so that it works on what exists.
- A command that the view can answer runs to its end without any wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mssante.protocol.imap import encode
from mssante.protocol.imap.aclvalues import DeleteAcl, GetAcl, ListRights, MyRights, SetAcl
from mssante.protocol.imap.metadatavalues import GetMetadata, SetMetadata
from mssante.protocol.imap.notifyvalues import Notify
from mssante.protocol.imap.quotavalues import GetQuota, GetQuotaRoot, SetQuota
from mssante.protocol.imap.syncvalues import UidBatches
from mssante.protocol.imap.values import (
    CancelUpdate,
    Capability,
    Check,
    Close,
    CommandValue,
    Completion,
    Copy,
    Create,
    Delete,
    Enable,
    Expunge,
    Fetch,
    Id,
    List,
    Lsub,
    Move,
    MultiSearch,
    Namespace,
    Noop,
    Rename,
    Search,
    Select,
    Sort,
    Status,
    Store,
    Subscribe,
    Thread,
    Unselect,
)
from mssante.services.imap import acl, folders, quota
from mssante.services.imap.batches import uid_batches
from mssante.services.imap.copy import copy, move
from mssante.services.imap.fetch import fetch
from mssante.services.imap.following import cancel_update
from mssante.services.imap.following import refresh as refresh_contexts
from mssante.services.imap.list import list_folders, lsub, namespace, status
from mssante.services.imap.metadata import getmetadata, setmetadata
from mssante.services.imap.multisearch import multi_search
from mssante.services.imap.notify import notify
from mssante.services.imap.search import search
from mssante.services.imap.select import close, select, unselect
from mssante.services.imap.session import Answer, Session
from mssante.services.imap.sort import sort, thread
from mssante.services.imap.store import store
from mssante.services.imap.sync import expunge, noop


async def _capability(session: Session, value: Capability) -> Answer:
    """RFC 9051 §6.1.1."""
    return Answer([session.wire.capability_line()], Completion(text="CAPABILITY completed"))


async def _id(session: Session, value: Id) -> Answer:
    """RFC 2971: who we are, nothing more than the name; what the client says is not kept."""
    return Answer([encode.id_line([("name", "mssante")])], Completion(text="ID completed"))


async def _enable(session: Session, value: Enable) -> Answer:
    """RFC 5161 §3.1."""
    answer = Answer([encode.enabled_line(session.wire.enable(value.names))], Completion(text="ENABLE completed"))
    if session.wire.rev2:
        session.recent.clear()  # RFC 9051 Appendix E: there is no `\\Recent` any more
    return answer


COMMANDS: dict[type, Callable[[Session, Any], Awaitable[Answer]]] = {
    Capability: _capability, Noop: noop, Id: _id, Enable: _enable, Select: select, Create: folders.create,
    Delete: folders.delete, Rename: folders.rename, Subscribe: folders.subscribe, List: list_folders, Lsub: lsub,
    SetAcl: acl.setacl, DeleteAcl: acl.deleteacl, GetAcl: acl.getacl, ListRights: acl.listrights, MyRights: acl.myrights,
    GetMetadata: getmetadata, SetMetadata: setmetadata, GetQuota: quota.getquota, GetQuotaRoot: quota.getquotaroot,
    SetQuota: quota.setquota,
    Namespace: namespace, Status: status, Check: noop, Close: close, Unselect: unselect, Expunge: expunge, Fetch: fetch,
    Sort: sort, Thread: thread, MultiSearch: multi_search, CancelUpdate: cancel_update,
    Store: store, Copy: copy, Move: move, Search: search, UidBatches: uid_batches, Notify: notify,
}


async def run(session: Session, tag: bytes, value: CommandValue) -> Answer:
    """Run one command. Raises CommandRefused, ClientFault, SessionEnd, StorageFull; anything else is our fault."""
    session.tag = tag
    await session.revalidate()
    view, cursor = session.view, session.cursor
    modseq = view.told(cursor) if view is not None and cursor is not None and not session.modseq_told else 0
    answer = await COMMANDS[type(value)](session, value)
    if session.wire.condstore and not session.modseq_told:
        session.modseq_told = True
        if cursor is not None and session.cursor is cursor:  # RFC 7162 §3.1: else the next SELECT tells it
            answer.data.insert(0, encode.ok("highest modseq", encode.code_number("HIGHESTMODSEQ", modseq)))
    if session.contexts:
        await refresh_contexts(session)
    return answer
