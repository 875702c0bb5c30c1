"""STORE and UID STORE (RFC 9051 §6.4.6, RFC 7162 §3.1.3): one write for the whole set, flag arithmetic done in SQL.

- The client is told the new flags of each message, unless `.SILENT`; with CONDSTORE a silent STORE still tells MODSEQ.
- Messages changed by someone since UNCHANGEDSINCE are left as they are and named by MODIFIED, in the numbering asked.
- Messages that are gone while the client was not told yet are left out: OK [EXPUNGEISSUED], as what exists is stored
  (RFC 5530 §3, RFC 2180 §4.2).
- Two clients that change flags at the same moment lose nothing: no flag is read before it is written.
Called through `dispatch.py`.
"""

from __future__ import annotations

from dataclasses import replace

from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.rights import flag_mask
from mssante.protocol.imap.values import Completion, Store
from mssante.services.imap.flagging import change_flags
from mssante.services.imap.flaglist import new_words
from mssante.services.imap.messagelimit import bounded, stopped
from mssante.services.imap.selection import Picked
from mssante.services.imap.session import Answer, Session
from mssante.storage.interfaces import FlagChange


async def store(session: Session, value: Store) -> Answer:
    """Change flags; give a FETCH line a message unless silent."""
    session.writable()
    if len(value.keywords) > session.services.settings.keywords_per_message:
        raise CommandRefused("too many keywords", code="LIMIT")
    picked, stop = bounded(session, session.pick(value.numbers, uid=value.uid))
    answer = Answer(expunges=value.uid)
    refused: list[int] = []
    if len(picked):
        change = _permitted(session, FlagChange(str(value.mode), value.flags, value.keywords, value.unchanged_since))
        _, refused = await change_flags(session, list(picked.uids()), change, tell=False)
        answer.data = _lines(session, picked, value, set(refused))
    answer.completion = _completion(session, picked, value, refused)
    stopped(answer, stop)
    return answer


def _permitted(session: Session, change: FlagChange) -> FlagChange:
    """Give what the rights leave of a change; raises CommandRefused NOPERM when that is nothing (RFC 4314 §4, STORE)."""
    if session.rights is None:
        return change
    mask, words = flag_mask(session.rights), "w" in session.rights
    named = change.mode == "set" and mask != 0
    if not named and not change.flags & mask and not (words and change.keywords):
        raise CommandRefused("you do not have the rights for this", code="NOPERM")
    return replace(change, mask=mask, words=words)


def _lines(session: Session, picked: Picked, value: Store, refused: set[int]) -> list[bytes]:
    """Give the FETCH lines of what was changed; flags are those of the view, already up to date."""
    view, cursor = session.opened()
    words = new_words(session)
    out = [words] if words else []
    for uid in picked.uids():
        number, row = view.number_of(cursor, uid), view.index_of(uid)
        if uid in refused or not number or row < 0:
            continue
        if not value.silent:
            out.append(session.flag_line(number, row))
        elif session.wire.condstore:  # RFC 7162 §3.1.3: the new MODSEQ is told even when silent
            out.append(session.modseq_line(number, row))
    return out


def _completion(session: Session, picked: Picked, value: Store, refused: list[int]) -> Completion:
    """End with OK, [MODIFIED set] or [EXPUNGEISSUED]."""
    if refused:  # RFC 7162 §3.1.3
        view, cursor = session.opened()
        names = refused if value.uid else [view.number_of(cursor, uid) for uid in refused]
        return Completion(text="conditional STORE failed for some messages",
                          code=b"MODIFIED " + NumSet.of(sorted(name for name in names if name)).encode())
    if picked.missing and not value.uid:  # RFC 9051 §6.4.9: a UID that does not exist is no fault
        return Completion(text="STORE completed, some of the messages no longer exist", code=b"EXPUNGEISSUED")
    return Completion(text="STORE completed")
