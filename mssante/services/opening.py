"""What S/MIME holds in mail that comes to our mailboxes: verified, opened when they wish so, told in one field (docs/smime.md).

- The octets received are never changed: the result stands in the prefix (`X-MSS-SMIME`), the decrypted *view* is another message.
- A view goes to INBOX, its original to the mailbox's folder of originals, both in the transaction of the message, under its trace
  id. What cannot be opened, or must not be shown (EFAIL), is filed as it came, with its code.
- A view is kept as other mail of the mailbox is, search index included; never in the queue, a log, a staging file left behind.
- A signature counts as the author's only when all of `smime.verify` agrees, revocation included; certificates are learnt from
  such mail alone.
- A message without S/MIME costs a search in its structure. One that carries a field of our name, written by somebody else, gets
  ours above it.
- Never refuses nor loses a message for what S/MIME says of it: whatever fails here, the message is filed as it came.
- Which key did or did not open a message is told to its recipient and in the journal, never to its sender (RFC 3218).

Called by `reception` and `submission`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from mssante.clock import Clock
from mssante.errors import StorageFull
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import Author, NewMessage
from mssante.model.structure import SMIME_SIGNS
from mssante.observability.metrics import SMIME_CHECKED
from mssante.protocol.mime.imapview import facts
from mssante.services.mailroom import Mailroom
from mssante.services.smime_certificates import Learner
from mssante.services.smime_header import SmimeResult, has_field, result_line
from mssante.services.smime_keys import KeyRing, open_keys
from mssante.services.smime_policy import Incoming, SmimeSettings, Wishes
from mssante.services.smime_trust import MailTrust
from mssante.services.smtp_session import LocalTarget
from mssante.services.staging import stage_body
from mssante.smime.decrypt import Opened, open_message, safe_view
from mssante.smime.values import SmimeCode, SmimeFault, SmimeVerdict
from mssante.smime.verify import verify_message
from mssante.storage.interfaces import Acceptance, Accepted, BlobStore, Filing, QueueEntry, Stores, Tx

log = structlog.get_logger("smime")
MAX_HEAD = 1024 * 1024
MAX_FOLDERS = 50_000
NOT_LOOKED_AT = "-"
_HOLDS = frozenset({SmimeCode.VALID, SmimeCode.CHAIN, SmimeCode.EXPIRED, SmimeCode.REVOKED, SmimeCode.REVOCATION_UNKNOWN})


@dataclass(frozen=True, slots=True)
class Placement:
    """A message filed for some of the recipients. boxes: their mailboxes; originals: filed in folders of originals, which another
    process may have removed meanwhile."""

    message: NewMessage
    filings: tuple[Filing, ...]
    boxes: tuple[int, ...]
    events: tuple[JournalEvent, ...] = ()
    originals: bool = False
    errands: tuple[Callable[[], None], ...] = ()  # called once it is committed (`services.sieve`: answers, notices)

    @property
    def octets(self) -> int:
        """Size for a reader."""
        return len(self.message.prefix) + self.message.body.size


def placed_plainly(message: NewMessage, targets: Sequence[LocalTarget]) -> tuple[Placement, ...]:
    """Give the one placement of a message that S/MIME does not touch; none without targets."""
    if not targets:
        return ()
    return (Placement(message, tuple([Filing(one.mailbox.inbox_id) for one in targets]),
                      tuple([one.mailbox.id for one in targets])),)


def acceptances(message: NewMessage, placements: Sequence[Placement], queue: QueueEntry | None,
                events: tuple[JournalEvent, ...]) -> tuple[Acceptance, ...]:
    """Give what is to be committed for a message: what leaves (as it is, without our field), then one for each placement.

    The events go with the first; a message that is filed and leaves unchanged is one row. The placements' are the last ones.
    """
    if queue is not None and not (placements and placements[0].message is message):
        return (Acceptance(message, (), queue, events), *[Acceptance(one.message, one.filings, None, one.events)
                                                          for one in placements])
    return tuple([Acceptance(one.message, one.filings, None if rank else queue, one.events if rank else (*events, *one.events))
                  for rank, one in enumerate(placements)])


@dataclass(slots=True)
class OpeningParts:
    """What opening stands on. field_key: of `smime_header`."""

    settings: SmimeSettings
    wishes: Wishes
    keys: KeyRing
    trust: MailTrust
    learner: Learner
    stores: Stores
    executor: Executor
    clock: Clock
    inline_limit: int
    field_key: bytes

    @property
    def blobs(self) -> BlobStore:
        """Where large bodies are."""
        return self.stores.blobs


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker thread is given. openers: mailboxes that want it opened, with the references of their keys."""

    message: NewMessage
    author: str
    now: datetime
    openers: tuple[tuple[LocalTarget, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class _View:
    """What one mailbox gets of an encrypted message: a message to show, or the code of why there is none."""

    target: LocalTarget
    message: NewMessage | None
    code: SmimeCode
    opened: Opened | None = None
    verdict: SmimeVerdict | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    verdict: SmimeVerdict
    views: tuple[_View, ...]


class Opening:
    """Applies the incoming policy."""

    def __init__(self, parts: OpeningParts) -> None:
        self._parts = parts
        self._folders: dict[int, int] = {}  # mailbox -> its folder of originals

    async def place(self, message: NewMessage, targets: Sequence[LocalTarget]) -> tuple[Placement, ...]:
        """Give what is to be filed, and where, for the local recipients of a message. Raises MssFault (storage)."""
        if not targets:
            return ()
        claimed = await self._claims(message)
        if not claimed and not _may_hold(message):
            return placed_plainly(message, targets)
        wishes = await self._parts.wishes.of([one.mailbox.id for one in targets])
        looks = {one.mailbox.id: self._parts.settings.look(wishes[one.mailbox.id]) for one in targets}
        looking = [one for one in targets if looks[one.mailbox.id] is not Incoming.OFF]
        passing = [one for one in targets if looks[one.mailbox.id] is Incoming.OFF]
        placements: list[Placement] = []
        if looking:
            openers = tuple((one, wishes[one.mailbox.id].keys) for one in looking if looks[one.mailbox.id] is Incoming.OPEN)
            placements += await self._looked_at(message, looking, openers, claimed=claimed)
        if passing:
            shown = self._with_field(message, NOT_LOOKED_AT, NOT_LOOKED_AT) if claimed else message
            placements += placed_plainly(shown, passing)
        return tuple(placements)

    async def flush(self) -> None:
        """Wait for what is being learnt."""
        await self._parts.learner.flush()

    async def _claims(self, message: NewMessage) -> bool:
        """Tell whether the message came with a field of our name."""
        body, size = message.body, min(message.facts.header_size, MAX_HEAD)
        if body.inline is not None:
            return has_field(body.inline[:size])
        loop = asyncio.get_running_loop()
        return has_field(await loop.run_in_executor(self._parts.executor, self._parts.blobs.read, body.blob or "", 0, size))

    async def _looked_at(self, message: NewMessage, targets: list[LocalTarget],
                         openers: tuple[tuple[LocalTarget, tuple[str, ...]], ...], *, claimed: bool) -> list[Placement]:
        now = self._parts.clock.now()
        job = _Job(message, author_of(message.facts.author), now, openers)
        found = await asyncio.get_running_loop().run_in_executor(self._parts.executor, self._look, job)
        verdict = found.verdict
        if verdict.signature is SmimeCode.NONE and verdict.encryption is SmimeCode.NONE and not claimed:
            return list(placed_plainly(message, targets))
        for one in (verdict, *(view.verdict for view in found.views if view.verdict is not None)):
            if one.signature is SmimeCode.VALID:
                self._parts.learner.take(job.author.lower(), one.certificates)
        return await self._placements(job, targets, found)

    async def _placements(self, job: _Job, targets: list[LocalTarget], found: _Found) -> list[Placement]:
        """Turn what was found into messages and folders."""
        closed: dict[SmimeCode, list[LocalTarget]] = {}
        shown: list[tuple[_View, NewMessage]] = []
        seen = {view.target.mailbox.id: view for view in found.views}
        for target in targets:
            view = seen.get(target.mailbox.id)
            if view is not None and view.message is not None:
                shown.append((view, view.message))
            else:
                closed.setdefault(view.code if view is not None else found.verdict.encryption, []).append(target)
        event = self._event(job, found, len(shown))
        placements = [self._closed(job.message, code, boxes, found.verdict) for code, boxes in closed.items()]
        if shown:
            folders = {view.target.mailbox.id: await self._folder(view.target.mailbox.id) for view, _ in shown}
            placements += [self._view(view, message, job) for view, message in shown]
            original = self._with_field(job.message, found.verdict.signature, SmimeCode.ENCRYPTED)
            placements.append(Placement(original, tuple([Filing(one) for one in folders.values()]), tuple(folders), (), True))
        placements[0] = replace(placements[0], events=(event,))
        return placements

    def _closed(self, message: NewMessage, encryption: SmimeCode, targets: list[LocalTarget], verdict: SmimeVerdict) -> Placement:
        shown = self._with_field(message, verdict.signature, encryption, _shown_signer(verdict))
        SMIME_CHECKED.labels(verdict.signature, encryption).inc()
        return placed_plainly(shown, targets)[0]

    def _view(self, view: _View, message: NewMessage, job: _Job) -> Placement:
        verdict = view.verdict or SmimeVerdict()
        SMIME_CHECKED.labels(verdict.signature, SmimeCode.OPENED).inc()
        result = SmimeResult(verdict.signature, SmimeCode.OPENED, message.body.sha256, message.received_at, message.trace_id,
                             _shown_signer(verdict), job.message.body.sha256, self._parts.settings.originals)
        shown = replace(message, prefix=message.prefix + result_line(result, self._parts.field_key))
        return placed_plainly(shown, [view.target])[0]

    def _with_field(self, message: NewMessage, signature: str, encryption: str, signer: str = "") -> NewMessage:
        """Give the message with the field as the last line before its body."""
        result = SmimeResult(signature, encryption, message.body.sha256, message.received_at, message.trace_id, signer)
        return replace(message, prefix=message.prefix + result_line(result, self._parts.field_key))

    def _event(self, job: _Job, found: _Found, opened: int) -> JournalEvent:
        """Codes, fingerprints and names of algorithms; nothing of the content, no local part (`detail` has none)."""
        view = next((one for one in found.views if one.opened is not None), None)
        verdict = view.verdict if view is not None and view.verdict is not None else found.verdict
        codes = sorted({one.code.value for one in found.views}) or [found.verdict.encryption.value]
        return JournalEvent(JournalKind.SMIME_CHECKED, job.now, job.message.trace_id, job.author.rpartition("@")[2], {
            "signature": verdict.signature.value, "encryption": " ".join(codes), "certificate": verdict.fingerprint,
            "algorithms": " ".join(verdict.algorithms), "opened": opened, "detail": verdict.detail[:300],
            "cipher": view.opened.cipher if view is not None and view.opened is not None else "",
            "key": view.opened.key_fingerprint if view is not None and view.opened is not None else ""})

    # ------------------------------------------------------------ worker thread

    def _look(self, job: _Job) -> _Found:
        """Verify and open. Never raises for what a message holds."""
        body = job.message.body
        raw = body.inline if body.inline is not None else self._parts.blobs.read(body.blob or "")
        verdict = self._verify(raw, job)
        if verdict.encryption is SmimeCode.NONE or verdict.signature is not SmimeCode.NONE:
            return _Found(verdict, ())  # nothing to open on top; what lies under a signature is left to the reader
        kept: dict[tuple[str, ...], _View] = {}
        views = []
        for target, references in job.openers:
            if references not in kept:
                kept[references] = self._open(raw, job, target, references)
            views.append(replace(kept[references], target=target))
        return _Found(verdict, tuple(views))

    def _verify(self, raw: bytes, job: _Job) -> SmimeVerdict:
        try:
            return verify_message(raw, author=job.author, check=self._parts.trust.check_signer, now=job.now,
                                  limits=self._parts.settings.limits)
        except Exception as fault:  # the border: no message is lost for what a check makes of it
            log.error("smime_check_failed", kind=type(fault).__name__, trace_id=job.message.trace_id)
            return SmimeVerdict(signature=SmimeCode.UNREADABLE)

    def _open(self, raw: bytes, job: _Job, target: LocalTarget, references: Sequence[str]) -> _View:
        try:
            keys = open_keys(self._parts.keys, references)
            if not keys:
                return _View(target, None, SmimeCode.ENCRYPTED)
            opened = open_message(raw, keys, limits=self._parts.settings.limits)
            verdict = self._verify(opened.message, job)
            safe_view(opened, signature_holds=verdict.signature in _HOLDS)
            body = stage_body(self._parts.blobs, opened.message, self._parts.inline_limit)
            view = replace(job.message, body=body, facts=facts(opened.message))
            return _View(target, view, SmimeCode.OPENED, opened, verdict)
        except SmimeFault as fault:
            return _View(target, None, fault.code)
        except StorageFull:
            raise
        except Exception as fault:
            log.error("smime_opening_failed", kind=type(fault).__name__, rule=getattr(fault, "rule", ""),
                      trace_id=job.message.trace_id)
            return _View(target, None, SmimeCode.ENCRYPTED)

    # ------------------------------------------------------------ folders of originals

    async def _folder(self, mailbox_id: int) -> int:
        """Give the folder of originals of a mailbox, made when it is missing."""
        known = self._folders.get(mailbox_id)
        if known is None:
            known = await self._parts.stores.database.write(lambda tx: self._folder_tx(tx, mailbox_id))
            if len(self._folders) >= MAX_FOLDERS:
                self._folders.clear()
            self._folders[mailbox_id] = known
        return known

    def _folder_tx(self, tx: Tx, mailbox_id: int) -> int:
        folders, name = self._parts.stores.folders, self._parts.settings.originals
        found = next((one for one in folders.of_mailbox(tx, mailbox_id) if one.name == name), None)
        return (found or folders.create(tx, mailbox_id, name)).id

    async def keep_originals(self, placements: Sequence[Placement], results: Sequence[Accepted], mailroom: Mailroom) -> None:
        """File again the originals whose folder was removed in the meantime, before the reply. Raises MssFault.

        results: what the commit gave for each placement.
        """
        for placement, result in zip(placements, results, strict=True):
            if not placement.originals or not result.missing:
                continue
            pairs = zip(placement.boxes, placement.filings, strict=True)
            lost = [box for box, filing in pairs if filing.folder_id in result.missing]
            for box in lost:
                self._folders.pop(box, None)
            filings = tuple([Filing(await self._folder(box)) for box in lost])
            await mailroom.accept((Acceptance(placement.message, filings),))


def _may_hold(message: NewMessage) -> bool:
    structure = message.facts.bodystructure.lower()
    return any(sign in structure for sign in SMIME_SIGNS)


def author_of(author: Author) -> str:
    """Give the one address of From, or an empty text."""
    return str(author.addresses[0]) if author.is_only(author.addresses[0] if author.addresses else None) else ""


def _shown_signer(verdict: SmimeVerdict) -> str:
    return verdict.signer if verdict.signature is SmimeCode.VALID else ""
