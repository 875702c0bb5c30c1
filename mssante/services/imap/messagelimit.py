"""MESSAGELIMIT (RFC 9738): how many messages one command may treat.

- Commands that can be done in part (FETCH, STORE, SEARCH, MOVE, UID EXPUNGE) treat the messages with the highest UIDs and say
  where they stopped; the client asks again for those below.
- Commands that are done whole or not at all (COPY, APPEND, SORT, THREAD) are refused with NO.
- EXPUNGE and CLOSE are not limited.
- The limit is a setting; 0 means none, and then none is announced.
Called by the commands of `services/imap/*`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.syncencode import code_message_limit
from mssante.protocol.imap.values import Completion, Condition
from mssante.services.imap.selection import Picked
from mssante.services.imap.session import Answer, Session


def bounded(session: Session, picked: Picked) -> tuple[Picked, bytes]:
    """Give the messages that may be treated, and the code that says where it stopped (empty: all of them)."""
    limit = session.services.settings.message_limit
    if not 0 < limit < len(picked):
        return picked, b""
    kept = picked.part(len(picked) - limit, len(picked))
    kept = Picked(kept.table, kept.numbers, kept.rows, picked.missing)
    return kept, code_message_limit(limit, kept.table.uids[kept.rows[0]])


def bounded_uids(session: Session, uids: Sequence[int]) -> tuple[Sequence[int], bytes]:
    """Same as `bounded`, for UIDs in order."""
    limit = session.services.settings.message_limit
    if not 0 < limit < len(uids):
        return uids, b""
    return uids[-limit:], code_message_limit(limit, uids[-limit])


def whole(session: Session, count: int, what: str) -> None:
    """Refuse a command that cannot be done in part and would treat `count` messages. Raises CommandRefused."""
    limit = session.services.settings.message_limit
    if 0 < limit < count:
        code = code_message_limit(limit).decode("ascii")
        raise CommandRefused(f"too many messages to {what}, try a smaller set", code=code, rule="RFC 9738 §3.1")


def stopped(answer: Answer, code: bytes) -> None:
    """Say where the command stopped: in the tagged line, or before it when that has a code of its own (RFC 9738 §3.1)."""
    if not code:
        return
    done = answer.completion
    if done.code:
        answer.data.append(encode.untagged(Completion(Condition.NO, "not all messages were treated", code)))
    else:
        answer.completion = Completion(done.condition, done.text + ", not for all messages", code)
