"""UIDBATCHES (RFC 10022): ranges of UIDs that cut a folder into pieces of equal count, newest first.

- The ranges leave no gap: what a piece lost since is still inside it, and the last one reaches down to UID 1.
- Everything comes from the view: no read, and as many steps as there are pieces.
- `$` stays what it was (RFC 10022 §3.1).
Called through `dispatch.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.syncencode import uid_batches_line
from mssante.protocol.imap.syncvalues import UidBatches
from mssante.protocol.imap.values import Completion
from mssante.services.imap.session import Answer, Session

SMALLEST = 500  # messages a batch; RFC 10022 §3.1.3: smaller ones need not be given


async def uid_batches(session: Session, value: UidBatches) -> Answer:
    """Give the ranges asked."""
    session.require("r")
    view, _ = session.opened()
    if value.size < SMALLEST:
        raise CommandRefused(f"a batch holds at least {SMALLEST} messages", code="TOOFEW", rule="RFC 10022 §3.1.3")
    found = cut(view.uids, value.size, value.first, value.last)
    return Answer([uid_batches_line(session.tag, found)], Completion(text="UIDBATCHES completed"))


def cut(uids: Sequence[int], size: int, first: int, last: int) -> list[tuple[int, int]]:
    """Give (highest UID, lowest UID) of the batches `first` to `last` (0: to the end) of sorted UIDs, newest first."""
    count = -(-len(uids) // size)
    out: list[tuple[int, int]] = []
    for place in range(first, min(last, count) + 1 if last else count + 1):
        top = len(uids) - (place - 1) * size - 1
        below = top - size
        out.append((uids[top], uids[below] + 1 if below >= 0 else 1))
    return out
