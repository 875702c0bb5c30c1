"""FETCH and UID FETCH (RFC 9051 §6.4.5): from the view when it can be, from the store in bounded pieces when it must.

- UID, FLAGS, INTERNALDATE, RFC822.SIZE, MODSEQ: from the view, by blocks whose text is kept until a row changes.
- ENVELOPE, BODYSTRUCTURE, BODY: as encoded at ingest; one read per piece of messages not held yet.
- PREVIEW: as `preview.py` keeps or makes them.
- Sections: one read per piece of at most `chunk_messages` messages and `chunk_bytes` octets; a body in the blob store is
  read in ranges while it is sent. Memory is that of one piece, whatever the command asks.
- `\\Seen` of BODY[] is one write for all messages, after they were sent.
- A message that vanished meanwhile is left out, and the command ends with NO [EXPUNGEISSUED] (RFC 5530 §3); one that was named by
  UID and is known to be gone is just left out, as this very answer tells of it.
Called through `dispatch.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence

from mssante.errors import MssFault
from mssante.model.message import Flags, StoredMessage
from mssante.protocol.imap.bodystructure import strip_extensions
from mssante.protocol.imap.encode import NIL
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.objectid import email_ids
from mssante.protocol.imap.syncencode import vanished_lines
from mssante.protocol.imap.values import Completion, Fetch, FetchItem, Section, SectionKind, SectionText
from mssante.services.imap.cache import BLOCK_ROWS, Texts
from mssante.services.imap.columns import (
    FLAG_TEXTS,
    Column,
    dates,
    flags_text,
    heads,
    lines,
    numbers,
    save_dates,
    uid_heads,
    uid_texts,
)
from mssante.services.imap.content import ContentReader, cut, literal, needs_tree
from mssante.services.imap.flagging import change_flags
from mssante.services.imap.flaglist import new_words
from mssante.services.imap.messagelimit import bounded, stopped, whole
from mssante.services.imap.preview import column as preview_column
from mssante.services.imap.preview import previews
from mssante.services.imap.qresync import vanished_since
from mssante.services.imap.readings import note, opens, traced
from mssante.services.imap.selection import Picked, blocks, take
from mssante.services.imap.session import Answer, BrokenLine, Session
from mssante.services.imap.view import FolderView
from mssante.storage.interfaces import FlagChange, Tx

_TEXTS = FetchItem.ENVELOPE | FetchItem.BODYSTRUCTURE | FetchItem.BODY
_PREVIEWS = FetchItem.PREVIEW | FetchItem.PREVIEW_LAZY
_WORTH_KEEPING = 64  # rows: below, encoding again costs less than keeping
QUICK_BODIES = 4  # messages whose bodies are read without a thread (docs/adr/0012)
QUICK_TEXTS = 64
SLICE_BYTES = 96 * 1024


async def fetch(session: Session, value: Fetch) -> Answer:
    """Answer a FETCH; the lines come as a stream."""
    session.require("r")
    gone = await _vanished(session, value) if value.vanished and value.changed_since is not None else []
    picked = session.pick(value.numbers, uid=value.uid)
    if value.changed_since is not None:  # RFC 7162 §3.1.4.1
        since = value.changed_since
        picked = picked.keep([modseq > since for modseq in take(picked.table.modseqs, picked.rows)])
    if value.partial is not None:  # RFC 9394 §3.3: a page of what would be answered
        page = value.partial.slice(len(picked))
        picked = picked.part(page.start, page.stop)
        whole(session, len(picked), "fetch")
    picked, code = bounded(session, picked)
    answer = Answer(gone, Completion(text="FETCH completed"), _Fetching(session, value, picked).run(), expunges=value.uid)
    stopped(answer, code)
    return answer


async def _vanished(session: Session, value: Fetch) -> list[bytes]:
    """Give VANISHED (EARLIER) for what is not there any more among the UIDs named (RFC 7162 §3.2.6)."""
    view, _ = session.opened()
    named = session.saved if value.numbers.saved else value.numbers
    known = named.clamp(view.uidnext - 1)
    return vanished_lines(await vanished_since(session, value.changed_since or 0, known), earlier=True)


class _Fetching:
    """One FETCH under way."""

    __slots__ = ("items", "missing", "picked", "previews", "sections", "session", "sets_seen", "uidonly", "view")

    def __init__(self, session: Session, value: Fetch, picked: Picked) -> None:
        self.session = session
        self.view, _ = session.opened()
        self.picked = picked
        uidonly = session.wire.uidonly
        self.items = value.items & ~FetchItem.UID if uidonly and value.plain_uid else value.items
        self.uidonly = uidonly
        self.sections = value.sections
        self.sets_seen = value.sets_seen and not session.read_only and session.may("s")
        self.missing = picked.missing and not value.uid  # RFC 9051 §6.4.9: a UID that does not exist is no fault
        self.previews: dict[int, bytes] = {}  # of the piece under way

    async def run(self) -> AsyncGenerator[bytes, None]:
        """Give the lines, in order."""
        settings = self.session.services.settings
        done = 0
        if self.sections:
            box = self.session.folder.mailbox_id if self.session.folder is not None else 0
            told = opens(self.sections) and await traced(self.session, box)
            for part in _pieces(self.picked, settings.chunk_messages, settings.chunk_bytes):
                self.session.progress(done, len(self.picked))
                await self._find_previews(part)
                if told:
                    note(self.session, box, take(part.table.message_ids, part.rows))
                async for data in self._contents(part):
                    yield data
                done += len(part)
        elif self.items & (_TEXTS | _PREVIEWS):
            for part in blocks(self.picked, settings.chunk_messages):
                self.session.progress(done, len(self.picked))
                await self._find_previews(part)
                data = await self._texts(part) if self.items & _TEXTS else lines(self._starts(part), self._cheap(part))
                yield self._words() + data
                done += len(part)
        else:
            for part in blocks(self.picked, BLOCK_ROWS):
                yield self._words() + self._block(part)
        if self.sets_seen:
            await self._set_seen()
        if self.missing:
            raise CommandRefused("some of the messages no longer exist", code="EXPUNGEISSUED")

    def _words(self) -> bytes:
        """Give the lines about keywords that the client was not told of, to stand before those that show them; often nothing."""
        return new_words(self.session) if self.items & FetchItem.FLAGS else b""

    # ------------------------------------------------------------------------------------------ from the view

    def _block(self, part: Picked) -> bytes:
        """Give the lines of cheap items, kept when the rows are a block of an up-to-date client."""
        rows = part.rows
        if (not isinstance(rows, range) or part.table is not self.view.table or len(rows) < _WORTH_KEEPING
                or not self.session.common_flags(part.table, rows)):
            return lines(self._starts(part), self._cheap(part))
        key = (~int(self.items) if self.uidonly else int(self.items), rows.start, rows.stop)
        cache = self.view.cache
        held = cache.block(key)
        if held is None:
            held = lines(self._starts(part), self._cheap(part))
            cache.keep_block(key, held)
        return held

    def _starts(self, part: Picked) -> Sequence[bytes]:
        """Give what each line begins with."""
        return uid_heads(part.uids()) if self.uidonly else heads(part.numbers)

    def _cheap(self, part: Picked) -> list[Column]:
        """Give the columns of the items that the view holds."""
        table, rows, items = part.table, part.rows, self.items
        columns: list[Column] = []

        def item(name: bytes, column: Column, end: bytes = b"") -> None:
            columns.extend([b" " + name if columns else name, column, end])

        if items & FetchItem.UID:
            item(b"UID ", uid_texts(take(table.uids, rows)))
        if items & FetchItem.FLAGS:
            item(b"FLAGS (", _flag_texts(self.session, self.view, part), b")")
        if items & FetchItem.INTERNALDATE:
            item(b'INTERNALDATE "', dates(take(table.dates, rows)), b'"')
        if items & FetchItem.SIZE:
            item(b"RFC822.SIZE ", numbers(take(table.sizes, rows)))
        if items & FetchItem.MODSEQ:
            item(b"MODSEQ (", numbers(take(table.modseqs, rows)), b")")
        if items & FetchItem.SAVEDATE:  # RFC 8514 §4.2
            item(b"SAVEDATE ", save_dates(take(table.saved, rows)))
        if items & FetchItem.EMAILID:  # RFC 8474 §5.2
            item(b"EMAILID (", email_ids(take(table.message_ids, rows)), b")")
        if items & FetchItem.THREADID:
            item(b"THREADID ", NIL)
        if items & _PREVIEWS:  # RFC 8970 §3.2
            item(b"PREVIEW ", preview_column(self.previews, take(table.message_ids, rows)))
        return columns

    async def _find_previews(self, part: Picked) -> None:
        """Find the previews of a piece when they are asked."""
        if not self.items & _PREVIEWS:
            return
        messages = list(zip(take(part.table.message_ids, part.rows), take(part.table.sizes, part.rows), strict=True))
        self.previews = await previews(self.session, self.view, messages, lazy=not self.items & FetchItem.PREVIEW)

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
        return lines(self._starts(part), self._with_texts(part, found))

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

        return await stores.database.read(unit, quick=len(wanted) <= (QUICK_BODIES if with_body else QUICK_TEXTS))

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
            for first, stop in _slices(contents, start, place):
                data = await self._inline(part.part(first, stop), contents[first:stop])
                yield self._words() + data
            async for data in self._large(part.part(place, place + 1), content):
                yield data
            start = place + 1
        for first, stop in _slices(contents, start, len(contents)):
            data = await self._inline(part.part(first, stop), contents[first:stop])
            yield self._words() + data

    async def _inline(self, part: Picked, contents: Sequence[StoredMessage]) -> bytes:
        """Give the lines of messages whose bodies are in memory; the work goes to a thread when it is long."""
        heavy = any(needs_tree(section) for section in self.sections)
        if heavy and sum(content.body_size for content in contents) > 64 * 1024:
            executor = self.session.services.executor
            return await asyncio.get_running_loop().run_in_executor(executor, self._inline_lines, part, contents)
        return self._inline_lines(part, contents)

    def _inline_lines(self, part: Picked, contents: Sequence[StoredMessage]) -> bytes:
        texts = [(content.envelope, content.bodystructure) for content in contents] if self.items & _TEXTS else []
        columns = self._with_texts(part, texts)
        for section in self.sections:
            lead = b" " if columns else b""
            if _is_whole(section):  # the common case, without one more copy of the body
                sizes = numbers([len(content.prefix) + content.body_size for content in contents])
                columns += [lead + section.label + b" {", sizes, b"}\r\n", [content.prefix for content in contents],
                            [content.inline or b"" for content in contents]]
            else:
                columns += [lead, [literal(section, cut(section, content, content.inline or b""))
                                   for content in contents]]
        return lines(self._starts(part), columns)

    async def _large(self, part: Picked, content: StoredMessage) -> AsyncGenerator[bytes, None]:
        """Give one line whose body is in the blob store, piece by piece."""
        services = self.session.services
        reader = ContentReader(services.stores.blobs, services.executor, content, services.settings.blob_read_bytes)
        columns = self._with_texts(part, [(content.envelope, content.bodystructure)])
        answers = [await reader.section(section) for section in self.sections]  # refusals come before the line begins
        yield self._words() + lines(self._starts(part), columns)[:-3]  # the parenthesis and CRLF come after the sections
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
        table, rows = self.picked.table, self.picked.rows
        flags = self.session.flags_of(table, rows)
        uids = [table.uids[row] for row, mask in zip(rows, flags, strict=True) if not mask & Flags.SEEN]
        if uids:
            await change_flags(self.session, uids, FlagChange("add", int(Flags.SEEN)), tell=True)


def _is_whole(section: Section) -> bool:
    """True for BODY[] without partial."""
    return (section.kind is SectionKind.BODY and not section.part and section.text is SectionText.ALL
            and section.partial is None)


def _flag_texts(session: Session, view: FolderView, part: Picked) -> list[bytes]:
    """Give the flag lists of messages."""
    flags = session.flags_of(part.table, part.rows)
    if not view.keywords:
        return list(map(FLAG_TEXTS.__getitem__, flags))
    keywords = view.keywords
    return [flags_text(mask, keywords.get(uid, ""))
            for mask, uid in zip(flags, take(part.table.uids, part.rows), strict=True)]


def _slices(contents: Sequence[StoredMessage], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut what was read at once into what is encoded and sent at once: the client reads one while we make the next."""
    held, first = 0, start
    for place in range(start, stop):
        held += contents[place].body_size
        if held >= SLICE_BYTES or place == stop - 1:
            yield first, place + 1
            held, first = 0, place + 1


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
