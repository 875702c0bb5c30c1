"""FETCH and UID FETCH (RFC 9051 §6.4.5): from the view when it can be, from the store in bounded pieces when it must.

- UID, FLAGS, INTERNALDATE, RFC822.SIZE, MODSEQ: from the view, by blocks whose text is kept until a row changes.
- ENVELOPE, BODYSTRUCTURE, BODY: as encoded at ingest; one read per piece of messages not held yet.
- Sections: one read per piece of at most `chunk_messages` messages and `chunk_bytes` octets; a body in the blob store is
  read in ranges while it is sent. Memory is that of one piece, whatever the command asks.
- `\\Seen` of BODY[] is one write for all messages, after they were sent.
- A message that vanished meanwhile is left out, and the command ends with NO [EXPUNGEISSUED] (RFC 5530 §3).
Called through `dispatch.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from mssante.errors import MssFault
from mssante.model.message import Flags, StoredMessage
from mssante.protocol.imap.bodystructure import strip_extensions
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.values import Completion, Fetch, FetchItem, Section, SectionKind, SectionText
from mssante.services.imap.cache import BLOCK_ROWS, Texts
from mssante.services.imap.columns import FLAG_TEXTS, Column, dates, flags_text, lines, numbers
from mssante.services.imap.content import ContentReader, cut, literal, needs_tree
from mssante.services.imap.flagging import change_flags
from mssante.services.imap.selection import Picked, blocks, take
from mssante.services.imap.session import Answer, BrokenLine, Session
from mssante.services.imap.view import FolderView
from mssante.storage.interfaces import FlagChange, Tx

_TEXTS = FetchItem.ENVELOPE | FetchItem.BODYSTRUCTURE | FetchItem.BODY
_WORTH_KEEPING = 64  # rows: below, encoding again costs less than keeping


async def fetch(session: Session, value: Fetch) -> Answer:
    """Answer a FETCH; the lines come as a stream."""
    picked = session.pick(value.numbers, uid=value.uid)
    if value.changed_since is not None:  # RFC 7162 §3.1.4.1
        since = value.changed_since
        picked = picked.keep([modseq > since for modseq in take(picked.table.modseqs, picked.rows)])
    return Answer(stream=_Fetching(session, value, picked).run(), expunges=value.uid,
                  completion=Completion(text="FETCH completed"))


class _Fetching:
    """One FETCH under way."""

    __slots__ = ("items", "missing", "picked", "sections", "session", "sets_seen", "view")

    def __init__(self, session: Session, value: Fetch, picked: Picked) -> None:
        self.session = session
        self.view, _ = session.opened()
        self.picked = picked
        self.items = value.items
        self.sections = value.sections
        self.sets_seen = value.sets_seen and not session.read_only
        self.missing = picked.missing

    async def run(self) -> AsyncGenerator[bytes, None]:
        """Give the lines, in order."""
        settings = self.session.services.settings
        if self.sections:
            for part in _pieces(self.picked, settings.chunk_messages, settings.chunk_bytes):
                async for data in self._contents(part):
                    yield data
        elif self.items & _TEXTS:
            for part in blocks(self.picked, settings.chunk_messages):
                yield await self._texts(part)
        else:
            for part in blocks(self.picked, BLOCK_ROWS):
                yield self._block(part)
        if self.sets_seen:
            await self._set_seen()
        if self.missing:
            raise CommandRefused("some of the messages no longer exist", code="EXPUNGEISSUED")

    # ------------------------------------------------------------------------------------------ from the view

    def _block(self, part: Picked) -> bytes:
        """Give the lines of cheap items, kept when the rows are a block of an up-to-date client."""
        rows = part.rows
        if not isinstance(rows, range) or part.table is not self.view.table or len(rows) < _WORTH_KEEPING:
            return lines(part.numbers, self._cheap(part))
        key = (int(self.items), rows.start, rows.stop)
        cache = self.view.cache
        held = cache.block(key)
        if held is None:
            held = lines(part.numbers, self._cheap(part))
            cache.keep_block(key, held)
        return held

    def _cheap(self, part: Picked) -> list[Column]:
        """Give the columns of the items that the view holds."""
        table, rows, items = part.table, part.rows, self.items
        columns: list[Column] = []

        def item(name: bytes, column: Sequence[bytes], end: bytes = b"") -> None:
            columns.extend([b" " + name if columns else name, column, end])

        if items & FetchItem.UID:
            item(b"UID ", numbers(take(table.uids, rows)))
        if items & FetchItem.FLAGS:
            item(b"FLAGS (", _flag_texts(self.view, part), b")")
        if items & FetchItem.INTERNALDATE:
            item(b'INTERNALDATE "', dates(take(table.dates, rows)), b'"')
        if items & FetchItem.SIZE:
            item(b"RFC822.SIZE ", numbers(take(table.sizes, rows)))
        if items & FetchItem.MODSEQ:
            item(b"MODSEQ (", numbers(take(table.modseqs, rows)), b")")
        return columns

    # ------------------------------------------------------------------------------------------ encoded at ingest

    async def _texts(self, part: Picked) -> bytes:
        """Give the lines of a piece with ENVELOPE or BODYSTRUCTURE."""
        ids = list(take(part.table.message_ids, part.rows))
        cache = self.view.cache
        absent = cache.missing(ids)
        loaded: dict[int, Texts] = cache.keep(await self._read(absent, with_body=False)) if absent else {}
        texts = cache.texts(ids, loaded)
        if None in texts:
            part = self._without_missing(part, [text is not None for text in texts])
        found = [text for text in texts if text is not None]
        return lines(part.numbers, self._with_texts(part, found))

    def _with_texts(self, part: Picked, texts: Sequence[Texts]) -> list[Column]:
        columns = self._cheap(part)
        lead = b" " if columns else b""
        if self.items & FetchItem.ENVELOPE:
            columns += [lead + b"ENVELOPE ", [text[0] for text in texts]]
            lead = b" "
        if self.items & FetchItem.BODYSTRUCTURE:
            columns += [lead + b"BODYSTRUCTURE ", [text[1] for text in texts]]
            lead = b" "
        if self.items & FetchItem.BODY:
            columns += [lead + b"BODY ", [strip_extensions(text[1]) for text in texts]]
        return columns

    def _without_missing(self, part: Picked, present: Sequence[bool]) -> Picked:
        """Leave out messages whose content is gone."""
        self.missing = True
        return part.keep(present)

    async def _read(self, ids: Sequence[int], *, with_body: bool) -> list[StoredMessage]:
        """Read contents in one unit."""
        stores = self.session.services.stores
        wanted = list(dict.fromkeys(ids))  # a folder may hold one message twice

        def unit(tx: Tx) -> list[StoredMessage]:
            return stores.messages.contents(tx, wanted, with_body=with_body)

        return await stores.database.read(unit)

    # ------------------------------------------------------------------------------------------ contents

    async def _contents(self, part: Picked) -> AsyncGenerator[bytes, None]:
        """Give the lines of a piece with sections."""
        ids = take(part.table.message_ids, part.rows)
        found = {content.id: content for content in await self._read(ids, with_body=True)}
        if len(found) != len(ids):
            present = [key in found for key in ids]
            if not all(present):
                part = self._without_missing(part, present)
                ids = take(part.table.message_ids, part.rows)
        contents = [found[key] for key in ids]
        start = 0
        for place, content in enumerate(contents):
            if content.inline is not None:
                continue
            if place > start:
                yield await self._inline(part.part(start, place), contents[start:place])
            async for data in self._large(part.part(place, place + 1), content):
                yield data
            start = place + 1
        if start < len(contents):
            yield await self._inline(part.part(start, len(contents)), contents[start:])

    async def _inline(self, part: Picked, contents: Sequence[StoredMessage]) -> bytes:
        """Give the lines of messages whose bodies are in memory; the work goes to a thread when it is long."""
        heavy = any(needs_tree(section) for section in self.sections)
        if heavy and sum(content.body_size for content in contents) > 64 * 1024:
            executor = self.session.services.executor
            return await asyncio.get_running_loop().run_in_executor(executor, self._inline_lines, part, contents)
        return self._inline_lines(part, contents)

    def _inline_lines(self, part: Picked, contents: Sequence[StoredMessage]) -> bytes:
        columns = self._with_texts(part, [(content.envelope, content.bodystructure) for content in contents])
        for section in self.sections:
            lead = b" " if columns else b""
            if _is_whole(section):  # the common case, without one more copy of the body
                sizes = numbers([len(content.prefix) + content.body_size for content in contents])
                columns += [lead + section.label + b" {", sizes, b"}\r\n", [content.prefix for content in contents],
                            [content.inline or b"" for content in contents]]
            else:
                columns += [lead, [literal(section, cut(section, content, content.inline or b""))
                                   for content in contents]]
        return lines(part.numbers, columns)

    async def _large(self, part: Picked, content: StoredMessage) -> AsyncGenerator[bytes, None]:
        """Give one line whose body is in the blob store, piece by piece."""
        services = self.session.services
        reader = ContentReader(services.stores.blobs, services.executor, content, services.settings.blob_read_bytes)
        columns = self._with_texts(part, [(content.envelope, content.bodystructure)])
        answers = [await reader.section(section) for section in self.sections]  # refusals come before the line begins
        yield lines(part.numbers, columns)[:-3]  # the parenthesis and CRLF come after the sections
        lead = b" " if columns else b""
        try:
            for answer in answers:
                yield lead
                if isinstance(answer, bytes):
                    yield answer
                else:
                    async for data in answer:
                        yield data
                lead = b" "
        except MssFault as fault:
            raise BrokenLine from fault
        yield b")\r\n"

    # ------------------------------------------------------------------------------------------ \Seen

    async def _set_seen(self) -> None:
        """Set `\\Seen` on what was fetched and not seen yet: one write; the client is told by the updates."""
        table = self.picked.table
        uids = [table.uids[row] for row in self.picked.rows if not table.flags[row] & Flags.SEEN]
        if uids:
            await change_flags(self.session, uids, FlagChange("add", int(Flags.SEEN)), tell=True)


def _is_whole(section: Section) -> bool:
    """True for BODY[] without partial."""
    return (section.kind is SectionKind.BODY and not section.part and section.text is SectionText.ALL
            and section.partial is None)


def _flag_texts(view: FolderView, part: Picked) -> list[bytes]:
    """Give the flag lists of messages."""
    flags = take(part.table.flags, part.rows)
    if not view.keywords:
        return list(map(FLAG_TEXTS.__getitem__, flags))
    keywords = view.keywords
    return [flags_text(mask, keywords.get(uid, ""))
            for mask, uid in zip(flags, take(part.table.uids, part.rows), strict=True)]


def _pieces(picked: Picked, messages: int, octets: int) -> Iterator[Picked]:
    """Cut into pieces of at most `messages` messages and about `octets` octets (one message at least)."""
    sizes = take(picked.table.sizes, picked.rows)
    start = held = 0
    for place, size in enumerate(sizes):
        if place > start and (held + size > octets or place - start >= messages):
            yield picked.part(start, place)
            start, held = place, 0
        held += size
    if start < len(sizes):
        yield picked.part(start, len(sizes))
