"""Text keys of SEARCH: header fields and decoded bodies, compared without case and accents.

- FROM, TO, CC, BCC, SUBJECT, the Date header and a few HEADER fields come from the columns of `headcolumns.py`: no message is
  read.
- BODY and TEXT ask the full-text index (`textindex.py`) first; messages that it has not reached yet are read.
- What is read goes by pieces of at most `chunk_messages` messages and `chunk_bytes` octets, each matched in a worker thread:
  header blocks only for other HEADER keys; a body in the blob store is read whole there, one at a time.
- The text of a message is what `documents.messagetext` gives: text and HTML parts, attachment names, PDF, CDA, IHE_XDM.ZIP.
Called by `search.py` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date

from mssante.documents.messagetext import message_text
from mssante.model.headers import HeaderBlock
from mssante.model.message import StoredMessage
from mssante.protocol.imap.collation import fold
from mssante.protocol.imap.searchform import normal
from mssante.protocol.imap.searchkeys import (
    AllOf,
    AnyOf,
    DateKey,
    DateRelation,
    FuzzyKey,
    HeaderKey,
    NotKey,
    SearchKey,
    TextKey,
    TextPlace,
)
from mssante.protocol.mime.headers import MAX_HEADER_BYTES, decode_words, parse_headers
from mssante.services.imap.headcolumns import HEADER_LIMIT, columns
from mssante.services.imap.selection import take
from mssante.services.imap.session import ImapServices, Session
from mssante.services.imap.textindex import text_matches
from mssante.services.imap.view import FolderView, Table
from mssante.storage.interfaces import BlobStore, Tx

FILE_SECONDS = 2.0  # for the attachments of one message
_COLUMNS = {"FROM": "from", "TO": "to", "CC": "cc", "BCC": "bcc", "SUBJECT": "subject", "MESSAGE-ID": "message-id",
            "IN-REPLY-TO": "in-reply-to", "DATE": "date"}


def needs_content(key: SearchKey) -> int:
    """Give how costly a key is: 0 from the view, 1 from columns, 2 from header blocks, 3 from bodies."""
    match key:
        case AllOf(keys):
            return max(map(needs_content, keys))
        case AnyOf(left, right):
            return max(needs_content(left), needs_content(right))
        case NotKey(one) | FuzzyKey(one):
            return needs_content(one)
        case TextKey(place):
            return 3 if place in (TextPlace.BODY, TextPlace.TEXT) else 1
        case HeaderKey(field):
            return 1 if field.upper() in _COLUMNS else 2
        case DateKey(sent=True):
            return 1
    return 0


class TextSearch:
    """Decides text keys for rows of one table."""

    __slots__ = ("_session", "_table", "_view")

    def __init__(self, session: Session, view: FolderView, table: Table) -> None:
        self._session = session
        self._view = view
        self._table = table

    async def matching(self, key: TextKey | HeaderKey | DateKey, rows: Sequence[int]) -> list[int]:
        """Give the rows among `rows` that match."""
        if isinstance(key, DateKey):
            dates = self._table.dates
            values = await self._values(rows, "date")
            return [row for row, value in zip(rows, values, strict=True) if _sent(key, value or "", dates[row])]
        wanted = fold(key.text)
        if isinstance(key, HeaderKey):
            name = _COLUMNS.get(key.field.upper(), "")
            if not name:
                return await self._by_headers(rows, key.field.encode("utf-8", "replace").lower(), wanted)
        elif key.place in (TextPlace.BODY, TextPlace.TEXT):
            found, rest = await text_matches(self._session, self._view, self._table, rows, key)
            return sorted(found + await self._by_contents(rest, key)) if rest else found
        else:
            name = _COLUMNS[key.place.value]
        values = await self._values(rows, name)
        # An empty text asks that the field be there (RFC 9051 §6.4.4 HEADER).
        return [row for row, value in zip(rows, values, strict=True) if value and wanted in value]

    async def _values(self, rows: Sequence[int], name: str) -> list[str | None]:
        """Give one folded field of each row; None for a message that is gone."""
        ids = take(self._table.message_ids, rows)
        (column,) = await columns(self._session, self._view, ids, (name,))
        return list(map(column.get, ids))

    async def _by_headers(self, rows: Sequence[int], name: bytes, wanted: str) -> list[int]:
        """Test one header field, reading header blocks by pieces."""
        services, ids = self._session.services, self._table.message_ids
        sizes = [min(size, MAX_HEADER_BYTES) for size in self._table.sizes]
        found: list[int] = []
        loop = asyncio.get_running_loop()
        done = 0
        for part in _pieces(rows, sizes, services.settings.chunk_messages, services.settings.chunk_bytes):
            self._session.progress(done, len(rows))
            done += len(part)
            blocks = await self._blocks([ids[row] for row in part])
            good = await loop.run_in_executor(services.executor, _test_headers, blocks, services.stores.blobs, name, wanted)
            found += [row for row in part if ids[row] in good]
        return found

    async def _blocks(self, ids: Sequence[int]) -> list[HeaderBlock]:
        stores = self._session.services.stores

        def unit(tx: Tx) -> list[HeaderBlock]:
            return stores.messages.header_blocks(tx, ids)

        return await stores.database.read(unit)

    # ------------------------------------------------------------------------------------------ contents

    async def _by_contents(self, rows: Sequence[int], key: TextKey) -> list[int]:
        """Test whole messages by pieces."""
        test = _Test(normal(key.text), key.place is TextPlace.TEXT, self._session.services)
        services, ids, sizes = self._session.services, self._table.message_ids, self._table.sizes
        found: list[int] = []
        loop = asyncio.get_running_loop()
        done = 0
        for part in _pieces(rows, sizes, services.settings.chunk_messages, services.settings.chunk_bytes):
            self._session.progress(done, len(rows))
            done += len(part)
            contents = await self._read([ids[row] for row in part])
            good = await loop.run_in_executor(services.executor, test.matching, contents)
            found += [row for row in part if ids[row] in good]
        return found

    async def _read(self, ids: Sequence[int]) -> list[StoredMessage]:
        stores = self._session.services.stores
        wanted = list(dict.fromkeys(ids))

        def unit(tx: Tx) -> list[StoredMessage]:
            return stores.messages.contents(tx, wanted, with_body=True)

        return await stores.database.read(unit)


def _pieces(rows: Sequence[int], sizes: Sequence[int], messages: int, octets: int) -> list[list[int]]:
    """Cut rows into pieces of bounded count and octets."""
    out: list[list[int]] = []
    held = octets
    for row in rows:
        if not out or held + sizes[row] > octets or len(out[-1]) >= messages:
            out.append([])
            held = 0
        out[-1].append(row)
        held += sizes[row]
    return out


class _Test:
    """One text looked for in contents (worker thread). Files get little time here: the indexer gives them more."""

    __slots__ = ("_blobs", "_clock", "_head", "_pdf", "_wanted")

    def __init__(self, wanted: str, head: bool, services: ImapServices) -> None:
        self._wanted = wanted
        self._head = head
        self._blobs = services.stores.blobs
        self._clock = services.clock
        self._pdf = services.texts is not None  # without an index every search would read every PDF again

    def matching(self, contents: Sequence[StoredMessage]) -> set[int]:
        """Give the ids of the messages that match."""
        found: set[int] = set()
        for content in contents:
            body = content.inline if content.inline is not None else self._blobs.read(content.blob or "")
            until = self._clock.monotonic() + FILE_SECONDS
            text = message_text(content.prefix, body, pdf=self._pdf, spent=lambda until=until: self._clock.monotonic() > until)  # type: ignore[misc]
            if self._wanted in text.body or (self._head and self._wanted in text.head):
                found.add(content.id)
        return found


def _test_headers(blocks: Sequence[HeaderBlock], blobs: BlobStore, name: bytes, wanted: str) -> set[int]:
    """Give the ids of the messages with this text in a field of this name (worker thread)."""
    found: set[int] = set()
    for block in blocks:
        raw = block.inline
        if raw is None:
            raw = blobs.read(block.blob or "", 0, min(block.size, MAX_HEADER_BYTES))
        headers = parse_headers(raw).after(parse_headers(block.prefix))
        if any(wanted in fold(decode_words(value, HEADER_LIMIT)) for value in headers.all(name)):
            found.add(block.id)
    return found


def _sent(key: DateKey, value: str, internal: int) -> bool:
    """Compare the day of the Date header as written (RFC 9051 §6.4.4: without time and zone), else INTERNALDATE."""
    day = date.fromisoformat(value) if value else date.fromordinal(719_163 + internal // 86_400)
    match key.relation:
        case DateRelation.BEFORE:
            return day < key.day
        case DateRelation.SINCE:
            return day >= key.day
    return day == key.day
