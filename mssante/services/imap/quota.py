"""Room in mailboxes (RFC 9208): OVERQUOTA for what would not fit, GETQUOTA and GETQUOTAROOT for those who ask.

- A mailbox with a quota is one quota root, named after its address; it limits all its folders together, in octets (STORAGE, told
  in units of 1024) and messages (MESSAGE). A mailbox without quota has no root, and costs no read.
- `over_quota` is asked before anything is written or received: one read of a sum, only where there is a quota. Two sessions may
  pass together and overshoot by their messages, never more.
- Limits are those of the last `MAILBOX_SECONDS` of the registry; only the command line sets them, SETQUOTA is NOPERM.
- The root of another's mailbox is told to those who may read one of its folders (§6); to others it does not exist.
Called through `dispatch.py`; `over_quota` by append and copy.
"""

from __future__ import annotations

from mssante.model.mailbox import Folder, Mailbox, Usage
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.quotaencode import quota_line, quotaroot_line
from mssante.protocol.imap.quotavalues import GetQuota, GetQuotaRoot, SetQuota
from mssante.protocol.imap.values import Completion
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import Tx

_UNIT = 1024  # octets (RFC 9208 §5.1)


async def over_quota(session: Session, target: Folder, octets: int, messages: int = 1) -> None:
    """Raise CommandRefused [OVERQUOTA] when this much more would not fit into the mailbox of a folder (RFC 9208 §4.3.1)."""
    mailbox = await session.services.registry.mailbox(target.mailbox_id)
    if mailbox is None or not mailbox.limited:
        return
    if not mailbox.holds(await _usage(session, mailbox), octets, messages):
        raise CommandRefused("the mailbox is full", code="OVERQUOTA")


async def _usage(session: Session, mailbox: Mailbox) -> Usage:
    stores = session.services.stores

    def unit(tx: Tx) -> Usage:
        return stores.messages.usage(tx, mailbox.id)

    return await stores.database.read(unit, quick=True)


async def getquotaroot(session: Session, value: GetQuotaRoot) -> Answer:
    """Answer GETQUOTAROOT: the root of a folder, if it has one, and its quota (RFC 9208 §4.1.2)."""
    folder = await session.find(value.folder, needs="r")
    mailbox = await session.services.registry.mailbox(folder.mailbox_id)
    limited = mailbox if mailbox is not None and mailbox.limited else None
    data = [quotaroot_line(folder.name, [limited.address] if limited else [], utf8=session.wire.utf8)]
    if limited:
        data.append(await _told(session, limited))
    return Answer(data, Completion(text="GETQUOTAROOT completed"))


async def getquota(session: Session, value: GetQuota) -> Answer:
    """Answer GETQUOTA (RFC 9208 §4.1.1)."""
    return Answer([await _told(session, await _root(session, value.root))], Completion(text="GETQUOTA completed"))


async def setquota(session: Session, value: SetQuota) -> Answer:
    """Refuse SETQUOTA: users do not set their own limits (RFC 9208 §4.1.3). Raises CommandRefused."""
    await _root(session, value.root)
    raise CommandRefused("quotas are set by the administrator", code="NOPERM")


async def _root(session: Session, name: str) -> Mailbox:
    """Give the limited mailbox of a root that the user may look at. Raises CommandRefused."""
    registry, key = session.services.registry, name.lower()
    own = await registry.mailbox(session.mailbox_id)
    if own is not None and own.address == key:
        found: Mailbox | None = own
    else:
        tree = await session.shares.tree(session.account)
        readable = any(shared.address == key and "r" in shared.rights for shared in tree.by_name.values())
        found = await registry.mailbox(tree.boxes[key]) if readable else None
    if found is None or not found.limited:
        raise CommandRefused("no such quota root", code="NONEXISTENT")
    return found


async def _told(session: Session, mailbox: Mailbox) -> bytes:
    """Give the QUOTA line of a limited mailbox: the resources that have a limit."""
    used = await _usage(session, mailbox)
    resources = []
    if mailbox.quota_bytes:
        resources.append(("STORAGE", -(-used.octets // _UNIT), -(-mailbox.quota_bytes // _UNIT)))
    if mailbox.quota_messages:
        resources.append(("MESSAGE", used.messages, mailbox.quota_messages))
    return quota_line(mailbox.address, resources)
