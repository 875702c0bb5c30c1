"""APPEND (RFC 9051 §6.3.12): a message streamed from the client into the store, accepted in one transaction.

- Refused before the client sends it when the folder does not exist (TRYCREATE), the message is too large (TOOBIG) or the
  mailbox is full (OVERQUOTA).
- Octets are kept as they come: in memory up to the inline limit, then in a blob file written by a worker thread.
- The tagged OK, with APPENDUID, is written after the commit; the doorbell rings before.
Called by the endpoint: `begin` at the literal, `Upload.add`/`flush` for its octets, `finish` with the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from mssante.ids import new_trace_id
from mssante.model.mailbox import Folder
from mssante.model.message import NewMessage
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.values import Append, Completion
from mssante.services.imap.quota import over_quota
from mssante.services.imap.session import Answer, Session
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Acceptance, Filing


class Upload:
    """One APPEND under way."""

    __slots__ = ("_nul", "_sink", "folder")

    def __init__(self, folder: Folder, sink: BodySink) -> None:
        self.folder = folder
        self._sink = sink
        self._nul = False

    def add(self, data: bytes) -> None:
        """Take octets in order."""
        self._nul = self._nul or b"\0" in data
        self._sink.add((data,))

    @property
    def wants_flush(self) -> bool:
        """True when `flush` must be awaited before more is taken."""
        return self._sink.wants_flush

    async def flush(self) -> None:
        """Write what is held. Raises StorageFull."""
        await self._sink.flush()

    def discard(self) -> None:
        """Forget it."""
        self._sink.discard()

    async def message(self, session: Session, value: Append) -> NewMessage:
        """Seal the body and give the message. Raises CommandRefused, StorageFull."""
        if self._nul and not value.binary:  # RFC 9051 §4.3: NUL only in literal8
            raise CommandRefused("a message with NUL octets needs a binary literal", code="CANNOT")
        if self._sink.size == 0:
            raise CommandRefused("an empty message cannot be stored", code="CANNOT")
        body, facts = await self._sink.seal()
        return NewMessage(body, b"", facts, new_trace_id(), session.services.clock.now())


async def begin(session: Session, value: Append) -> Upload:
    """Check an APPEND before its octets are asked for. Raises CommandRefused."""
    services = session.services
    settings = services.settings
    if value.size > settings.message_bytes:
        raise CommandRefused(f"a message may hold {settings.message_bytes} octets at most", code="TOOBIG")
    if len(value.keywords) > settings.keywords_per_message:
        raise CommandRefused("too many keywords", code="LIMIT")
    folder = await session.find(value.folder, code="TRYCREATE")
    await over_quota(session, value.size)
    return Upload(folder, BodySink(services.stores.blobs, services.executor, settings.inline_bytes))


async def finish(session: Session, value: Append, upload: Upload) -> Answer:
    """Commit the message, tell its UID."""
    services = session.services
    try:
        message = await upload.message(session, value)
    except BaseException:
        upload.discard()
        raise
    date = value.internal_date.astimezone(UTC) if value.internal_date is not None else None
    filing = Filing(upload.folder.id, value.flags, _words(value.keywords), date)
    (accepted,) = await services.mailroom.accept((Acceptance(message, (filing,)),))
    if not accepted.filed:
        services.registry.forget_folders(session.mailbox_id)
        raise CommandRefused("no such folder", code="TRYCREATE")
    filed = accepted.filed[0]
    if session.view is not None and session.view.folder_id == filed.folder_id:
        # Told in this very answer (RFC 9051 §6.3.12): the doorbell comes one turn later.
        session.view.announce(filed.modseq)
        await session.view.refresh()
    code = encode.code_appenduid(upload.folder.uidvalidity, NumSet.of([filed.uid]))
    return Answer(completion=Completion(text="APPEND completed", code=code))


def _words(keywords: Sequence[str]) -> str:
    """Give keywords as a row keeps them: sorted, each once, separated by spaces."""
    seen = {word.casefold(): word for word in keywords}
    return " ".join(sorted(seen.values()))
