"""The journal: append-only, each row bound to the one before it by SHA-256 (RELIABILITY §3.24).

- hash = SHA-256(previous hash as 32 octets, then the row in a canonical form where every field is preceded by its length).
- Sequences have no hole: a removed row, an altered one, a lost end (`store_head` keeps the last) are all seen by `verify`.
- Rows are appended in the transaction of the change they tell; nothing here updates or deletes one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256

from sqlalchemy import bindparam, select

from mssante.model.journal import PLAIN, JournalEvent
from mssante.storage.interfaces import JournalRow
from mssante.storage.sql.tables import journal_event, store_head
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

FIRST_HASH = "0" * 64
LAST = 2**63 - 1  # no place stands behind it
VERIFY_ROWS = 2000  # rows read at once by `verify`

_COLUMNS = (journal_event.c.sequence, journal_event.c.at, journal_event.c.kind, journal_event.c.trace_id,
            journal_event.c.subject, journal_event.c.payload, journal_event.c.hash)
_INSERT = InsertRows(journal_event, [column.name for column in _COLUMNS])
_BY_TRACE = Statement(select(*_COLUMNS).where(journal_event.c.trace_id == bindparam("p_trace"))
                      .order_by(journal_event.c.sequence))
_RECENT = select(*_COLUMNS).order_by(journal_event.c.sequence.desc()).limit(bindparam("p_limit"))
_OF_KIND = journal_event.c.kind == bindparam("p_kind")
_OF_SUBJECT = journal_event.c.subject == bindparam("p_subject")
_RECENT_BY = {
    (False, False): Statement(_RECENT),
    (True, False): Statement(_RECENT.where(_OF_KIND)),
    (False, True): Statement(_RECENT.where(_OF_SUBJECT)),
    (True, True): Statement(_RECENT.where(_OF_KIND, _OF_SUBJECT)),
}
_AFTER = Statement(select(*_COLUMNS).where(journal_event.c.sequence > bindparam("p_after"))
                   .order_by(journal_event.c.sequence).limit(VERIFY_ROWS))
_FOLLOWING = select(*_COLUMNS).where(journal_event.c.sequence > bindparam("p_after"),
                                     journal_event.c.sequence <= bindparam("p_until"))
_WANTED = journal_event.c.kind.in_(bindparam("p_kinds", expanding=True))
_UNMARKED = journal_event.c.payload.not_like(f'%"{PLAIN}":%')  # a quote inside a value is written with a backslash
_FOLLOWING_BY = {(kinds, plain): Statement(_FOLLOWING.where(*[_WANTED] * kinds, *[_UNMARKED] * (not plain)).order_by(
    journal_event.c.sequence).limit(bindparam("p_limit"))) for kinds in (False, True) for plain in (False, True)}
_BY_SEQUENCE = Statement(select(*_COLUMNS).where(journal_event.c.sequence == bindparam("p_sequence")))
_END = Statement(select(store_head.c.journal_sequence, store_head.c.journal_hash).where(store_head.c.id == 1))

# ASCII output: whatever the value holds (NUL, lone surrogate), the text can be stored and hashed.
_encode_payload = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class SqlJournalStore:
    """`mssante.storage.interfaces.JournalStore`."""

    def __init__(self, veil: Callable[[str], str] = str) -> None:
        """veil: what every subject and payload goes through before it is kept: it hides citizens (services/privacy.py)."""
        self._veil = veil

    def append(self, tx: Transaction, events: Sequence[JournalEvent]) -> None:
        """Append events in order: a few INSERTs whatever the number."""
        if not events:
            return
        head = tx.head
        sequence = head.journal_sequence
        previous = bytes.fromhex(head.journal_hash)
        flat: list[object] = []
        for event in events:
            sequence += 1
            at = micros(event.at)
            kind = event.kind.value
            trace_id = storable(event.trace_id, 128)
            subject = self._veil(storable(event.subject))
            payload = self._veil(_encode_payload(event.payload)) if event.payload else "{}"
            previous = _link(previous, sequence, at, (kind, trace_id, subject, payload))
            flat += (sequence, at, kind, trace_id, subject, payload, previous.hex())
        _INSERT.run(tx, flat)
        head.journal_sequence = sequence
        head.journal_hash = previous.hex()

    def by_trace(self, tx: Transaction, trace_id: str) -> list[JournalRow]:
        """Give the events of one transaction, oldest first."""
        return [_row(row) for row in tx.rows(_BY_TRACE, p_trace=trace_id)]

    def recent(self, tx: Transaction, *, kind: str | None = None, subject: str | None = None,
               limit: int = 100) -> list[JournalRow]:
        """Give the latest events of a kind, about a subject, or all; newest first."""
        given: dict[str, object] = {"p_limit": limit}
        if kind is not None:
            given["p_kind"] = kind
        if subject is not None:
            given["p_subject"] = subject
        statement = _RECENT_BY[kind is not None, subject is not None]
        return [_row(row) for row in tx.rows(statement, **given)]

    def by_sequence(self, tx: Transaction, sequence: int) -> JournalRow | None:
        """Give the event of that place in the chain, or None."""
        rows = tx.rows(_BY_SEQUENCE, p_sequence=sequence)
        return _row(rows[0]) if rows else None

    def after(self, tx: Transaction, sequence: int, limit: int = 500, *, until: int | None = None, kinds: Collection[str] = (),
              plain: bool = True) -> list[JournalRow]:
        """Give the events behind that place in the chain, in order."""
        given: dict[str, object] = {"p_after": sequence, "p_until": LAST if until is None else until, "p_limit": limit}
        if kinds:
            given["p_kinds"] = sorted(kinds)
        return [_row(row) for row in tx.rows(_FOLLOWING_BY[bool(kinds), plain], **given)]

    def end(self, tx: Transaction) -> int:
        """Give the sequence of the last event."""
        return int(tx.one(_END)[0])

    def verify(self, tx: Transaction) -> int | None:
        """Walk the whole chain; give the sequence of the first row that does not fit, or None when whole."""
        previous = bytes.fromhex(FIRST_HASH)
        last = 0
        while rows := tx.rows(_AFTER, p_after=last):
            for sequence, at, kind, trace_id, subject, payload, text in rows:
                if sequence != last + 1:
                    return last + 1
                previous = _link(previous, sequence, at, (kind, trace_id, subject, payload))
                if previous.hex() != text:
                    return int(sequence)
                last = sequence
        end, text = tx.one(_END)
        if end != last:
            return int(min(last, end)) + 1
        return None if text == previous.hex() else last


def _link(previous: bytes, sequence: int, at: int, texts: tuple[str, str, str, str]) -> bytes:
    """Give the hash of a row. Lengths first: two different rows never have the same canonical form."""
    kind, trace_id, subject, payload = texts
    lead = f"{sequence} {at} {len(kind)} {len(trace_id)} {len(subject)} {len(payload)} "
    return sha256(previous + f"{lead}{kind}{trace_id}{subject}{payload}".encode()).digest()


def _row(row: tuple[int, int, str, str, str, str, str]) -> JournalRow:
    sequence, at, kind, trace_id, subject, payload, text = row
    return JournalRow(sequence, instant(at), kind, trace_id, subject, json.loads(payload), text)
