"""APPEND, several messages at once or one (RFC 9051 §6.3.12, RFC 3502), made of literals and of parts that are here (RFC 4469).

- Refused before the client sends it when the folder does not exist (TRYCREATE), a message is too large (TOOBIG) or the
  mailbox is full (OVERQUOTA).
- Octets are kept as they come: in memory up to the inline limit, then in a blob file written by a worker thread; when many
  small messages are under way, those beyond `HELD_INLINE` octets go to files too.
- All messages of a command are committed in one transaction, or none is; the tagged OK, with APPENDUID, is written after
  the commit, the doorbell rings before.
- A literal8 may bring NUL octets (RFC 3516 §4.4), which no other answer than BINARY could give back: the parts that hold them are
  stored in base64 (`protocol/mime/binary.py`); a message that this does not mend is refused.
- Header lines with 8-bit octets are taken only from clients that enabled UTF-8 (RFC 9755 §3).
Called by the endpoint: `step` at each literal, `Upload.add`/`flush` for its octets, `finish` with the command. REPLACE ends
in `services/imap/replace.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC

from mssante.ids import new_trace_id
from mssante.model.mailbox import Folder
from mssante.model.message import MessageFacts, NewMessage, StagedBody
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.values import Append, AppendLiteral, AppendMessage, AppendUrl, Completion
from mssante.protocol.mime.binary import without_nul
from mssante.services.imap.catenate import octets_of
from mssante.services.imap.following import refresh as refresh_contexts
from mssante.services.imap.landing import Landing
from mssante.services.imap.messagelimit import whole
from mssante.services.imap.quota import over_quota
from mssante.services.imap.replace import Replaced, replaced_message, store_replacement
from mssante.services.imap.sentcopy import filed_already, stored
from mssante.services.imap.session import Answer, Session
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Acceptance, Filing

HELD_INLINE = 8 * 1024 * 1024  # octets of small messages that one command keeps in memory


class Upload:
    """One command under way: messages received whole, and the one that is being received."""

    __slots__ = ("_bad_nul", "_binary", "_checked", "_head", "_inline", "_nul", "_session", "_sink", "_utf8", "_whole", "folder",
                 "landing", "marked", "replaced", "total")

    def __init__(self, session: Session, folder: Folder, replaced: Replaced | None) -> None:
        self._session = session
        self.folder = folder
        self.landing = Landing.of(session, folder)
        self.marked: list[int] = []  # places of messages that are seen by their user alone
        self.replaced = replaced
        self.total = 0  # octets of all messages, announced ones included
        self._checked = -1  # total for which there was room
        self._head: AppendMessage | None = None
        self._sink: BodySink | None = None
        self._whole: list[Acceptance] = []
        self._inline = 0
        self._bad_nul = self._binary = self._nul = self._utf8 = False

    # ------------------------------------------------------------------------------------------ octets

    def add(self, data: bytes) -> None:
        """Take octets of the literal that was announced, in order."""
        if self._sink is not None:
            if b"\0" in data:
                self._nul, self._bad_nul = True, self._bad_nul or not self._binary
            self._sink.add((data,))

    @property
    def wants_flush(self) -> bool:
        """True when `flush` must be awaited before more is taken."""
        return self._sink is not None and self._sink.wants_flush

    async def flush(self) -> None:
        """Write what is held. Raises StorageFull."""
        if self._sink is not None:
            await self._sink.flush()

    def discard(self) -> None:
        """Forget everything; blobs that were sealed are swept later, as nothing names them."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None
        self._whole.clear()

    # ------------------------------------------------------------------------------------------ steps

    async def take(self, value: Append) -> None:
        """Do the actions of one step. Raises CommandRefused, StorageFull."""
        urls: list[AppendUrl] = []
        for action in value.actions:
            if isinstance(action, AppendUrl):
                urls.append(action)
                continue
            await self._add_urls(urls)
            urls = []
            if isinstance(action, AppendMessage):
                await self._begin(action)
            else:
                await self._announced(action)
        await self._add_urls(urls)

    async def _begin(self, head: AppendMessage) -> None:
        """A message begins; the one before it is whole."""
        await self._end_message()
        settings = self._session.services.settings
        whole(self._session, len(self._whole) + 1, "append")
        if len(self._whole) >= settings.append_messages:
            raise CommandRefused(f"one command may append {settings.append_messages} messages at most", code="LIMIT")
        if len(head.keywords) > settings.keywords_per_message:
            raise CommandRefused("too many keywords", code="LIMIT")
        services = self._session.services
        limit = settings.inline_bytes if self._inline < HELD_INLINE else 0
        self._head = head
        self._sink = BodySink(services.stores.blobs, services.executor, limit)
        self._bad_nul = self._binary = self._nul = self._utf8 = False

    async def _announced(self, literal: AppendLiteral) -> None:
        """Octets are about to come."""
        self._grow(literal.size)
        self._binary = literal.binary
        self._utf8 = self._utf8 or literal.utf8
        if self._checked < 0:
            await self._check_room()

    async def _add_urls(self, urls: Sequence[AppendUrl]) -> None:
        """Put octets that are here already behind those of the message."""
        sink = self._sink
        if not urls or sink is None:
            return
        async for data in octets_of(self._session, urls):
            self._grow(len(data))
            sink.add((data,))
            if sink.wants_flush:
                await sink.flush()

    def _grow(self, octets: int) -> None:
        """Refuse what makes the message too large."""
        most = self._session.services.settings.message_bytes
        held = self._sink.size if self._sink is not None else 0
        if held + octets > most:
            raise CommandRefused(f"a message may hold {most} octets at most", code="TOOBIG")  # RFC 4469 §4.2
        self.total += octets

    async def _check_room(self) -> None:
        """Refuse what makes the mailbox too full; REPLACE takes the room of the message that it removes (RFC 8508 §3.4)."""
        if self._checked != self.total:
            opened, gone = self._session.folder, 0
            if self.replaced is not None and opened is not None and opened.mailbox_id == self.folder.mailbox_id:
                gone = self.replaced.size
            await over_quota(self._session, self.folder, self.total - gone, max(1, len(self._whole)) - (1 if gone else 0))
            self._checked = self.total

    # ------------------------------------------------------------------------------------------ messages

    async def _end_message(self) -> None:
        """Seal the message that is being received. Raises CommandRefused, StorageFull."""
        sink, head = self._sink, self._head
        if sink is None or head is None:
            return
        if self._bad_nul:  # RFC 9051 §4.3: NUL only in literal8
            raise CommandRefused("a message with NUL octets needs a binary literal", code="CANNOT")
        if sink.size == 0:
            raise CommandRefused("an empty message cannot be stored", code="CANNOT")
        body, facts = await sink.seal()
        self._sink = None
        if self._nul:
            body, facts = await self._mended(body)
        await self._check_header(body, facts)
        if body.inline is not None:
            self._inline += body.size
        services = self._session.services
        date = head.internal_date.astimezone(UTC) if head.internal_date is not None else None
        message = NewMessage(body, b"", facts, new_trace_id(), services.clock.now())
        flags, keywords = self.landing.flags(head.flags, head.keywords)
        if self.landing.wants_mark(head.flags):
            self.marked.append(len(self._whole))
        self._whole.append(Acceptance(message, (Filing(self.folder.id, flags, _words(keywords), date),)))

    async def _mended(self, body: StagedBody) -> tuple[StagedBody, MessageFacts]:
        """Store the message again without NUL octets. Raises CommandRefused when that cannot be done, StorageFull."""
        services = self._session.services
        blobs, executor = services.stores.blobs, services.executor

        def work() -> bytes | None:
            return without_nul(blobs.read(body.blob or "") if body.inline is None else body.inline)

        data = await asyncio.get_running_loop().run_in_executor(executor, work)
        if data is None:
            raise CommandRefused("NUL octets stand outside of binary parts", code="UNKNOWN-CTE", rule="RFC 3516 §4.4")
        self._grow(len(data) - body.size)
        if len(data) > services.settings.message_bytes:
            raise CommandRefused(f"a message may hold {services.settings.message_bytes} octets at most", code="TOOBIG")
        sink = BodySink(blobs, executor, services.settings.inline_bytes if body.inline is not None else 0)
        sink.add((data,))
        return await sink.seal()

    async def _check_header(self, body: StagedBody, facts: MessageFacts) -> None:
        """Refuse 8-bit header lines of a client that did not enable UTF-8 (RFC 6855 §4, RFC 9755 §3)."""
        services = self._session.services
        if self._utf8 or self._session.wire.utf8 or not services.settings.refuse_raw_headers:
            return
        if body.inline is not None:
            header = body.inline[:facts.header_size]
        else:
            header = await asyncio.get_running_loop().run_in_executor(
                services.executor, services.stores.blobs.read, body.blob or "", 0, facts.header_size)
        if not header.isascii():
            raise CommandRefused("header lines with 8-bit characters need ENABLE UTF8=ACCEPT", code="CANNOT")

    async def complete(self) -> tuple[Acceptance, ...]:
        """Give all messages, sealed. Raises CommandRefused, StorageFull."""
        await self._end_message()
        await self._check_room()
        return tuple(self._whole)


async def step(session: Session, upload: Upload | None, value: Append) -> Upload:
    """Check a step before its octets are asked for; upload: None at the first. Raises CommandRefused, StorageFull."""
    if upload is None:
        replaced = replaced_message(session, value) if value.replaces is not None else None
        upload = Upload(session, await session.find(value.folder, code="TRYCREATE", needs="i"), replaced)
    try:
        await upload.take(value)
    except BaseException:
        upload.discard()
        raise
    return upload


async def finish(session: Session, value: Append, upload: Upload | None) -> Answer:
    """Commit the messages, tell their UIDs."""
    answer = await _commit(session, value, upload)
    if session.contexts:
        await refresh_contexts(session)
    return answer


async def _commit(session: Session, value: Append, upload: Upload | None) -> Answer:
    upload = await step(session, upload, value)
    try:
        items = await upload.complete()
    except BaseException:
        upload.discard()
        raise
    if upload.replaced is not None:
        return await store_replacement(session, items[0], upload.replaced, upload.folder,
                                       landing=upload.landing if upload.marked else None)
    services = session.services
    held = await filed_already(session, upload.folder, items) if len(items) == 1 else 0
    if held:
        return Answer(completion=Completion(text="APPEND completed, the copy filed when it was sent stands",
                                            code=encode.code_appenduid(upload.folder.uidvalidity, NumSet.of([held]))))
    results = await services.mailroom.accept(items)
    filed = [done for result in results for done in result.filed]
    if len(filed) != len(items):  # all go to one folder: it is gone, and none was filed
        services.registry.forget_folders(upload.folder.mailbox_id)
        raise CommandRefused("no such folder", code="TRYCREATE")
    stored(session, items, results)
    if upload.marked:
        await upload.landing.mark(session, [filed[place].uid for place in upload.marked])
    if session.notices is not None:
        session.notices.added(upload.folder.id, max(done.modseq for done in filed), [done.uid for done in filed])
    if session.view is not None and session.view.folder_id == upload.folder.id:
        # Told in this very answer (RFC 9051 §6.3.12): the doorbell comes one turn later.
        session.view.announce(max(done.modseq for done in filed))
        await session.view.refresh()
    code = encode.code_appenduid(upload.folder.uidvalidity, NumSet.of([done.uid for done in filed]))
    return Answer(completion=Completion(text="APPEND completed", code=code))


def _words(keywords: Sequence[str]) -> str:
    """Give keywords as a row keeps them: sorted, each once, separated by spaces."""
    seen = {word.casefold(): word for word in keywords}
    return " ".join(sorted(seen.values()))
