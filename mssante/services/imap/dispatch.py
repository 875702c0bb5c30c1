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
from mssante.protocol.imap.values import (
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
    Namespace,
    Noop,
    Rename,
    Search,
    Select,
    Status,
    Store,
    Subscribe,
    Unselect,
)
from mssante.services.imap import folders
from mssante.services.imap.copy import copy, move
from mssante.services.imap.fetch import fetch
from mssante.services.imap.list import list_folders, lsub, namespace, status
from mssante.services.imap.search import search
from mssante.services.imap.select import close, select, unselect
from mssante.services.imap.session import Answer, Session
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
    return Answer([encode.enabled_line(session.wire.enable(value.names))], Completion(text="ENABLE completed"))


COMMANDS: dict[type, Callable[[Session, Any], Awaitable[Answer]]] = {
    Capability: _capability, Noop: noop, Id: _id, Enable: _enable, Select: select, Create: folders.create,
    Delete: folders.delete, Rename: folders.rename, Subscribe: folders.subscribe, List: list_folders, Lsub: lsub,
    Namespace: namespace, Status: status, Check: noop, Close: close, Unselect: unselect, Expunge: expunge, Fetch: fetch,
    Store: store, Copy: copy, Move: move, Search: search,
}


async def run(session: Session, tag: bytes, value: CommandValue) -> Answer:
    """Run one command. Raises CommandRefused, ClientFault, SessionEnd, StorageFull; anything else is our fault."""
    session.tag = tag
    await session.revalidate()
    return await COMMANDS[type(value)](session, value)
