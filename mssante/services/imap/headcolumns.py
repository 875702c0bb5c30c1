"""Columns of an open folder made of header fields: what SEARCH of FROM or SUBJECT, SORT and THREAD compare.

- A column is one value a message, by message id; each is made the first time it is asked, for the messages that lack it.
- What is missing comes from the store in one statement for thousands of messages (subject, date, ids and ENVELOPE are columns
  there), and is worked out in a worker thread: no message is parsed, no body is read.
- Columns are kept beside the view within the byte budget of all caches; without room they are made again each time.
- Values are the ones that a scan of the header would give (tests compare): a subject or an address decoded, then folded by
  `protocol.imap.collation`: `fold` for SEARCH, `casemap` for SORT.
Called by `searchtext.py`, `sort.py`, `thread.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from mssante.model.headers import IndexedHeaders
from mssante.protocol.imap import envelopes
from mssante.protocol.imap.collation import casemap, fold
from mssante.protocol.mime.dates import parse_date
from mssante.protocol.mime.headers import decode_words
from mssante.protocol.mime.subject import base_subject
from mssante.services.imap.session import Session
from mssante.services.imap.view import FolderView
from mssante.storage.interfaces import Tx

HEADER_LIMIT = 16_384  # characters of a field that are compared
_KEPT_SUBJECT = 512  # characters of the subject column
_READ_AT_ONCE = 8_192  # messages: a few megabytes of envelopes
_QUICK = 32  # messages that came since: read and worked out without a thread (docs/adr/0012)
_SHORT = 256  # octets of an address list worth remembering
_OVERHEAD = 120  # octets that a value costs beside its text

Column = dict[int, Any]
Cell = Callable[[IndexedHeaders], Any]


async def columns(session: Session, view: FolderView, message_ids: Sequence[int], names: Sequence[str]) -> list[Column]:
    """Give the columns named (keys of `CELLS`), each with a value for every message given that still exists."""
    held = view.cache.columns
    wanted = set(message_ids)
    absent = {name: wanted.difference(held.get(name, ())) for name in names}
    lacking = tuple(name for name in names if absent[name])
    made: dict[str, Column] = {name: dict(held.get(name, {})) for name in names if absent[name]}
    whole = {name: held[name] for name in names if name not in made and name in held}  # the cache may be dropped while we wait
    missing = sorted(set().union(*absent.values()))
    loop = asyncio.get_running_loop()
    grown: dict[str, Column] = {name: {} for name in lacking}
    for start in range(0, len(missing), _READ_AT_ONCE):
        rows = await _read(session, missing[start:start + _READ_AT_ONCE])
        if len(rows) <= _QUICK:
            found = _made(rows, lacking)
        else:
            found = await loop.run_in_executor(session.services.executor, _made, rows, lacking)
        for name, column in found.items():
            grown[name].update(column)
    for name in lacking:
        made[name].update(grown[name])
        view.cache.keep_column(name, made[name], _size(grown[name], held.get(name, {})))
    return [made[name] if name in made else whole.get(name, {}) for name in names]


async def _read(session: Session, message_ids: Sequence[int]) -> list[IndexedHeaders]:
    stores = session.services.stores

    def unit(tx: Tx) -> list[IndexedHeaders]:
        return stores.messages.headers(tx, message_ids)

    return await stores.database.read(unit, quick=len(message_ids) <= _QUICK)


def _made(rows: Sequence[IndexedHeaders], names: Sequence[str]) -> dict[str, Column]:
    """Work columns out (worker thread)."""
    return {name: {row.id: cell(row) for row in rows} for name, cell in ((name, CELLS[name]) for name in names)}


def _size(column: Column, before: Column) -> int:
    """Give about how many octets the values that are new in a column take."""
    if before:
        column = {key: value for key, value in column.items() if key not in before}
    values = column.values()
    return _OVERHEAD * len(column) + sum(2 * len(str(value)) for value in values)


# ---------------------------------------------------------------------------------------------- cells


def _subject(row: IndexedHeaders) -> str:
    """SUBJECT of SEARCH: the stored column when it holds the whole of it."""
    # A decoded text is never longer than its octets, so what fits the column was not cut.
    if len(row.envelope) <= _KEPT_SUBJECT:
        return fold(row.subject)
    field = envelopes.subject(row.envelope)
    if len(field) <= _KEPT_SUBJECT:
        return fold(row.subject)
    return fold(decode_words(envelopes.text(field), HEADER_LIMIT))


def _text_cell(place: int) -> Cell:
    return lambda row: fold(decode_words(envelopes.text(envelopes.fields(row.envelope)[place]), HEADER_LIMIT))


def _addresses_cell(place: int) -> Cell:
    def cell(row: IndexedHeaders) -> str:
        field = envelopes.fields(row.envelope)[place]
        return _addresses_short(field) if len(field) <= _SHORT else _addresses(field)

    return cell


def _addresses(field: bytes) -> str:
    """Addresses as SEARCH sees them: `name <local@domain>, …`."""
    return ", ".join([
        fold(decode_words(name, HEADER_LIMIT)) + " <" + fold((local + b"@" + domain).decode("utf-8", "replace")) + ">"
        for name, _, local, domain in envelopes.addresses(field)])


_addresses_short = lru_cache(maxsize=8192)(_addresses)  # the same few correspondents come back all day


def _day(row: IndexedHeaders) -> str:
    """Give the day of the Date field in its own zone, `2026-01-31`, or empty (RFC 9051 §6.4.4 SENTON)."""
    value = envelopes.text(envelopes.fields(row.envelope)[envelopes.DATE])
    instant = parse_date(value.rsplit(b" ", 1)[0] + b" +0000" if value[-5:-4] in b"+-" else value)
    return instant.date().isoformat() if instant is not None else ""


def _base(row: IndexedHeaders) -> tuple[str, bool]:
    """Base subject ready to compare, and whether the message answers another (RFC 5256 §2.1), of what the column holds."""
    base, answers = base_subject(row.subject)
    return casemap(base), answers


def _ids(row: IndexedHeaders) -> tuple[str, tuple[str, ...]]:
    """Give the Message-ID and the ids of the ancestors as THREAD compares them; what is no id is left out."""
    known = tuple([known for one in row.references.split(" ") if (known := _identity(one))]) if row.references else ()
    return _identity(row.message_id), known


def _identity(text: str) -> str:
    """Give a Message-ID as ids compare: quoting does not matter (RFC 5256 §4 step 1); empty when it is none."""
    if not (text.startswith("<") and text.endswith(">")):
        return ""
    return text.replace('"', "").replace("\\", "") if '"' in text else text


def _mailbox_cell(place: int) -> Cell:
    def cell(row: IndexedHeaders) -> str:
        field = envelopes.fields(row.envelope)[place]
        return _mailbox_short(field) if len(field) <= _SHORT else _mailbox(field)

    return cell


def _mailbox(field: bytes) -> str:
    """Give the local part of the first address (RFC 5256 §3: CC, FROM, TO); the name of a group, empty for none."""
    entries = envelopes.addresses(field)
    return casemap(entries[0][2].decode("utf-8", "replace")) if entries else ""


def _display_cell(place: int) -> Cell:
    def cell(row: IndexedHeaders) -> str:
        field = envelopes.fields(row.envelope)[place]
        return _display_short(field) if len(field) <= _SHORT else _display(field)

    return cell


def _display(field: bytes) -> str:
    """Give the display name of the first address, or its address, or the name of its group (RFC 5957 §3)."""
    entries = envelopes.addresses(field)
    if not entries:
        return ""
    name, _, local, domain = entries[0]
    shown = decode_words(name, HEADER_LIMIT)
    if not shown:
        shown = (local + b"@" + domain if domain else local).decode("utf-8", "replace")
    return casemap(shown)


_mailbox_short = lru_cache(maxsize=8192)(_mailbox)
_display_short = lru_cache(maxsize=8192)(_display)

CELLS: dict[str, Cell] = {
    # Of SEARCH.
    "subject": _subject,
    "from": _addresses_cell(envelopes.FROM),
    "to": _addresses_cell(envelopes.TO),
    "cc": _addresses_cell(envelopes.CC),
    "bcc": _addresses_cell(envelopes.BCC),
    "message-id": _text_cell(envelopes.MESSAGE_ID),
    "in-reply-to": _text_cell(envelopes.IN_REPLY_TO),
    "date": _day,
    # Of SORT and THREAD.
    "base": _base,
    "sent": lambda row: row.sent,
    "ids": _ids,
    "mailbox of from": _mailbox_cell(envelopes.FROM),
    "mailbox of to": _mailbox_cell(envelopes.TO),
    "mailbox of cc": _mailbox_cell(envelopes.CC),
    "display of from": _display_cell(envelopes.FROM),
    "display of to": _display_cell(envelopes.TO),
}
