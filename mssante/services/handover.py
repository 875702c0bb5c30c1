"""The one way in for documents that programs hand in: the API, the watched folder, the HL7v2 gateway. Values: `services.handed`.

- A request becomes one message: `documents.letter` makes the archive, its readable companions, subject and `X-MSS-…` headers; a
  PDF with its facts first becomes a CDA of level 1 (`documents.n1`). It then takes the road of mail submitted by a user
  (`services.submission`): right of the mailbox to send, trust space, recipients, sizes, checks of departures, S/MIME, journal.
- All or nothing: one refused recipient refuses the request, which names each of them. Nothing of a refused request is kept.
- Durable and once: the record of (source, key) is written in the transaction that accepts the message. A crash before it: nothing
  happened, the program tries again; behind it: the same call gives the same acceptance.
- The copy of sent mail is filed in the mailbox's Sent, but for what S/MIME signs or encrypts (services/sentcopy.py).
Never: a log line or a fault with a subject, a name or a matricule.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from mssante.documents.cda import InstanceId, read_header
from mssante.documents.hl7 import PROFESSIONAL_OID
from mssante.documents.letter import StructuredLetter, structured_letter
from mssante.documents.masking import Departing, departing_documents
from mssante.documents.metadata import SenderFacts
from mssante.documents.n1 import n1_document
from mssante.errors import InputFault, MssFault, OperatorFault
from mssante.ids import new_trace_id
from mssante.lang import say
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.envelope import Recipient
from mssante.model.mailbox import Mailbox
from mssante.model.reply import Decision, Refuse
from mssante.observability.metrics import HANDED
from mssante.protocol.mime.compose import Attachment, Letter, letter
from mssante.services.handed import MAX_KEY, MAX_SOURCE
from mssante.services.handed import Action as Action
from mssante.services.handed import HandedCda as HandedCda
from mssante.services.handed import HandedDocument as HandedDocument
from mssante.services.handed import HandedIn as HandedIn
from mssante.services.handed import HandedPdf as HandedPdf
from mssante.services.handed import HandOverRefused as HandOverRefused
from mssante.services.smtp_session import MailTransaction, SmtpSessionState
from mssante.services.submission import Submission
from mssante.storage.handover import HandedRecipient, HandedRecord
from mssante.storage.interfaces import Accepted, Account, Stores, Tx

if TYPE_CHECKING:
    from mssante.services.reception import AcceptContext

log = structlog.get_logger("handover")
SOURCES = {"token": "api", "folder": "folder", "hl7": "hl7"}  # words of metrics, by the first word of a source
PIECE = 1024 * 1024
MAX_TEXT = 100_000  # characters of the text of a message
MAX_LINE = 1000  # characters of subject, names, reasons
CITIZEN_FINAL = ("X-MSS-MES", "FIN")  # ECO.2.2.8


@dataclass(frozen=True, slots=True)
class HandOverSettings:
    """source_oid: OID of this software in metadata; nil: its reference (`X-MSS-NIL`, ECO.2.4.3), empty for none."""

    message_bytes: int
    recipients: int
    source_oid: str
    nil: str = ""


@dataclass(slots=True)
class Derogations:
    """What the check of masking asks about messages under way, by trace id (services/masking.py): reasons given by programs, and
    what their documents hold, which was read to compose the message."""

    reasons: dict[str, str] = field(default_factory=dict)
    known: dict[str, Departing] = field(default_factory=dict)


@dataclass(slots=True)
class _Turn:
    """Those who wait for one key."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Made:
    """A composed message."""

    raw: bytes
    trace_id: str
    message_id: str
    departing: Departing


class HandOver:
    """Takes documents from programs."""

    def __init__(self, context: AcceptContext, stores: Stores, submission: Submission, settings: HandOverSettings,
                 derogations: Derogations | None = None) -> None:
        """submission: the policy that messages go through, of this operator."""
        self._context = context
        self._stores = stores
        self._submission = submission
        self._settings = settings
        self._turns: dict[tuple[str, str], _Turn] = {}
        self.derogations = derogations if derogations is not None else Derogations()

    async def accept(self, request: HandedDocument) -> HandedIn:
        """Take a request: see `services.handed`. Raises HandOverRefused, MssFault (storage: try again)."""
        source = SOURCES.get(request.source.partition(" ")[0], "other")
        try:
            got = await self._accept(request)
        except MssFault as fault:
            HANDED.labels(source, "later" if fault.temporary else "refused").inc()
            raise
        HANDED.labels(source, "repeated" if got.repeated else "accepted").inc()
        return got

    async def _accept(self, request: HandedDocument) -> HandedIn:
        _check_shape(request)
        async with self._turn(request.source, request.key):
            loop = asyncio.get_running_loop()
            fingerprint = await loop.run_in_executor(self._context.executor, request.fingerprint)
            known = await self._known(request, fingerprint)
            if known is not None:
                return known
            try:
                return await self._send(request, fingerprint)
            except HandOverRefused:
                raise
            except InputFault as fault:
                raise HandOverRefused(fault.public, rule=fault.rule, remedy=fault.remedy) from fault
            except OperatorFault:
                known = await self._known(request, fingerprint)  # another process took it in the meantime
                if known is None:
                    raise
                return known

    async def find(self, handed_id: str) -> tuple[HandedRecord, list[HandedRecipient]] | None:
        """Give a request and what became of it, or None."""
        def unit(tx: Tx) -> tuple[HandedRecord, list[HandedRecipient]] | None:
            record = self._stores.handover.by_id(tx, handed_id)
            return None if record is None else (record, self._stores.handover.recipients(tx, [record.id]))

        return await self._stores.database.read(unit)

    @asynccontextmanager
    async def _turn(self, source: str, key: str) -> AsyncIterator[None]:
        """One at a time for each key."""
        turn = self._turns.setdefault((source, key), _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop((source, key), None)

    async def _known(self, request: HandedDocument, fingerprint: str) -> HandedIn | None:
        record = await self._stores.database.read(
            lambda tx: self._stores.handover.find(tx, request.source, request.key), quick=True)
        if record is None:
            return None
        if record.fingerprint != fingerprint:
            raise HandOverRefused(
                say("cette clé a déjà servi pour un autre contenu", "this key was used for another content"), rule="REMISE-CLE",
                remedy=say("donner une clé nouvelle à chaque remise", "give each request a key of its own"))
        return HandedIn(record.id, record.trace_id, record.reference, record.created_at, repeated=True)

    # ------------------------------------------------------------------------------------------------ sending

    async def _send(self, request: HandedDocument, fingerprint: str) -> HandedIn:
        context = self._context
        box = await self._box(request.mailbox)
        trace_id, now = new_trace_id(), context.clock.now()
        sender = parse_envelope_address(box.address)
        addresses = _addresses(request)
        state = SmtpSessionState(peer=request.source, helo="", account=Account(0, request.login or request.source, "", True,
                                                                               (box.id,)))
        transaction = MailTransaction(sender, trace_id, ret="HDRS", envid=trace_id, copy_sent=True)
        state.transaction = transaction
        await self._envelope(state, transaction, request, addresses)
        made = await asyncio.get_running_loop().run_in_executor(
            context.executor, lambda: self._compose(request, box, trace_id, now))
        if len(made.raw) > self._settings.message_bytes:
            raise HandOverRefused(say("le message dépasse la taille admise", "the message exceeds the size allowed"),
                                  rule="REMISE-TAILLE", remedy=f"{self._settings.message_bytes} octets")
        record = HandedRecord(request.source, request.key, f"remise_{trace_id}", fingerprint, box.id, trace_id, made.message_id,
                              now, now, self._facts(request, transaction, made))
        states = self._states(record, transaction)
        transaction.also = lambda tx, result: self._record(tx, result, record, states)
        await self._deliver(state, transaction, made, request.override)
        log.info("document_accepted", source=request.source, trace_id=trace_id, documents=len(request.documents))
        return HandedIn(record.id, trace_id, made.message_id, now)

    def _record(self, tx: Tx, result: Accepted, record: HandedRecord, states: Sequence[HandedRecipient]) -> None:
        self._stores.handover.add(tx, record, states)

    async def _box(self, address: str) -> Mailbox:
        box = await self._context.addresses.find(address.strip().lower())
        if box is None:
            raise HandOverRefused(say("cette boîte n'est pas d'ici", "this mailbox is not one of ours"), rule="REMISE-BOITE",
                                  remedy="mssante mailbox list")
        return box

    async def _envelope(self, state: SmtpSessionState, transaction: MailTransaction, request: HandedDocument,
                        addresses: Sequence[MailAddress]) -> None:
        """Ask for the sender and each recipient, as a mail client would. Raises HandOverRefused."""
        if len(addresses) > self._settings.recipients:
            raise HandOverRefused(say("trop de destinataires", "too many recipients"), rule="REMISE-DESTINATAIRES",
                                  remedy=str(self._settings.recipients))
        decision = await _decided(self._submission.begin(state, transaction))
        if isinstance(decision, Refuse):
            self._submission.note_refusal(state, "mail", decision)
            raise _refusal(decision)
        notify = frozenset({"SUCCESS", "FAILURE", "DELAY"}) if request.delivery_receipt else frozenset()
        refused: list[tuple[MailAddress, Refuse]] = []
        for address in addresses:
            recipient = Recipient(address, notify, f"rfc822;{_xtext(str(address))}" if notify else "")
            decision = await _decided(self._submission.add_recipient(state, recipient))
            if isinstance(decision, Refuse):
                self._submission.note_refusal(state, "rcpt", decision)
                refused.append((address, decision))
        if refused:
            first = refused[0][1]
            raise HandOverRefused(
                say("un destinataire est refusé", "a recipient is refused"), rule=first.rule,
                remedy=say("corriger l'adresse, ou retirer ce destinataire", "correct the address, or leave this recipient out"),
                temporary=all(not one.reply.permanent for _, one in refused),
                recipients=[(str(address), one.rule, _words(one)) for address, one in refused])

    async def _deliver(self, state: SmtpSessionState, transaction: MailTransaction, made: _Made, override: str) -> None:
        """Hand the octets to submission. Raises HandOverRefused, MssFault."""
        raw, transaction.declared_size = made.raw, len(made.raw)
        sink = self._submission.sink()
        self.derogations.known[transaction.trace_id] = made.departing
        if override:
            self.derogations.reasons[transaction.trace_id] = override
        try:
            for start in range(0, len(raw), PIECE):
                sink.add([raw[start:start + PIECE]])
                if sink.wants_flush:
                    await sink.flush()
            reply = await self._submission.finish(state, transaction, sink)
        except BaseException:
            sink.discard()
            raise
        finally:
            self.derogations.reasons.pop(transaction.trace_id, None)
            self.derogations.known.pop(transaction.trace_id, None)
        if reply.code >= 400:
            raise _refusal(Refuse(reply))

    def _facts(self, request: HandedDocument, transaction: MailTransaction, made: _Made) -> dict[str, object]:
        """What the program is told again: counts and pseudonyms, nothing of the content."""
        public = self._context.evidence.address
        targets = [*[one.recipient for one in transaction.local], *[one.recipient for one in transaction.remote]]
        return {"documents": len(request.documents), "size": len(made.raw), "action": request.action.value,
                "to": [public(str(one.address)) for one in targets], "read_receipt": request.read_receipt,
                "delivery_receipt": request.delivery_receipt, "override": bool(request.override)}

    def _states(self, record: HandedRecord, transaction: MailTransaction) -> tuple[HandedRecipient, ...]:
        public = self._context.evidence.address
        return (*[HandedRecipient(record.id, public(str(one.recipient.address)), "delivered", record.created_at)
                  for one in transaction.local],
                *[HandedRecipient(record.id, public(str(one.recipient.address)), "queued", record.created_at)
                  for one in transaction.remote])

    # -------------------------------------------------------------------------------------- worker thread

    def _compose(self, request: HandedDocument, box: Mailbox, trace_id: str, now: datetime) -> _Made:
        """Make the message. Raises InputFault."""
        documents = [_cda(request, rank) for rank in range(len(request.documents))]
        made = structured_letter(documents, self._sender(documents[0], box), now=now, masking=request.masking,
                                 deleting=request.action is Action.DELETE)
        sender = parse_envelope_address(box.address)
        message_id = f"<{trace_id}@{sender.domain}>"
        raw = letter(Letter(
            sender, tuple([parse_envelope_address(one) for one in request.to]), request.subject or made.subject,
            request.text or _text(len(documents)), now, message_id, trace_id,
            cc=tuple([parse_envelope_address(one) for one in request.cc]), sender_name=request.sender_name or box.display_name,
            attachments=tuple([Attachment(one.name, one.media_type, one.content) for one in made.attachments]),
            headers=self._headers(request, made, sender)))
        return _Made(raw, trace_id, message_id, departing_documents(documents, request.masking))

    def _headers(self, request: HandedDocument, made: StructuredLetter, sender: MailAddress) -> tuple[tuple[str, str], ...]:
        found = list(made.headers.items())
        if self._settings.nil:
            found.append(("X-MSS-NIL", self._settings.nil))
        if request.final:
            found.append(CITIZEN_FINAL)
        if request.reply_to:
            found.append(("Reply-To", str(parse_envelope_address(request.reply_to))))
        if request.read_receipt:
            found.append(("Disposition-Notification-To", str(sender)))  # RFC 8098 §2.1
        if request.in_reply_to:
            found += [("In-Reply-To", request.in_reply_to), ("References", request.in_reply_to)]
        return tuple(found)

    def _sender(self, first: bytes, box: Mailbox) -> SenderFacts:
        """Who sends, as the metadata say: the author and the custodian of the first document."""
        header = read_header(first)
        author = header.authors[0] if header.authors else None
        numbers = [one.extension for one in author.ids if one.root == PROFESSIONAL_OID] if author is not None else []
        custodian = header.custodian
        name = author.name if author is not None else None
        return SenderFacts(
            source_id=self._settings.source_oid,
            structure_name=(custodian.name if custodian is not None else "") or box.display_name or box.address,
            structure_id=custodian.ids[0].extension if custodian is not None and custodian.ids else "",
            professional_id=numbers[0] if numbers else "", family=name.first("family") if name is not None else "",
            given=name.first("given") if name is not None else "", specialty=author.code if author is not None else None)


# ------------------------------------------------------------------------------------------------------ pure helpers

def source_oid(configured: str, hostname: str) -> str:
    """Give the OID that names this software in metadata: the configured one, or one made of its host name (arc 2.25)."""
    return configured or f"2.25.{int.from_bytes(sha256(hostname.encode()).digest()[:12], 'big')}"


def document_oid(source: str, key: str, rank: int) -> InstanceId:
    """Give the identifier of a document that came without one: always the same for the same request (ITU-T X.667 arc 2.25)."""
    return InstanceId(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{source} {key} {rank}').int}")


def _cda(request: HandedDocument, rank: int) -> bytes:
    one = request.documents[rank]
    if isinstance(one, HandedCda):
        return one.content
    facts = one.facts if one.facts.id.root else replace(one.facts, id=document_oid(request.source, request.key, rank))
    return n1_document(one.content, facts)


def _text(count: int) -> str:
    return ("Bonjour,\n\nVeuillez trouver ci-joint "
            + ("un document." if count == 1 else f"{count} documents.") + "\n")


def _check_shape(request: HandedDocument) -> None:
    """Refuse what no document could make right. Raises HandOverRefused."""
    wrong = ""
    if not 0 < len(request.source) <= MAX_SOURCE or not request.source.isprintable():
        wrong = "source"
    elif not 0 < len(request.key) <= MAX_KEY or not request.key.isprintable():
        wrong = "key"
    elif not request.to and not request.cc:
        wrong = "to"
    elif not request.documents:
        wrong = "documents"
    elif len(request.text) > MAX_TEXT:
        wrong = "text"
    else:
        lines = {"subject": request.subject, "reply_to": request.reply_to, "in_reply_to": request.in_reply_to,
                 "sender_name": request.sender_name, "override": request.override}
        wrong = next((name for name, value in lines.items() if len(value) > MAX_LINE or (value and not value.isprintable())), "")
    if wrong:
        raise HandOverRefused(say("la demande est incomplète ou mal formée", "the request is incomplete or malformed"),
                              rule="REMISE-FORME", remedy=wrong)


def _addresses(request: HandedDocument) -> list[MailAddress]:
    """Read the recipients. Raises HandOverRefused naming those that are no address."""
    found: list[MailAddress] = []
    wrong: list[tuple[str, str, str]] = []
    for text in (*request.to, *request.cc):
        try:
            found.append(parse_envelope_address(text))
        except InputFault as fault:
            wrong.append((text[:254], fault.rule, fault.public))
    if wrong:
        raise HandOverRefused(say("un destinataire n'est pas une adresse", "a recipient is not an address"), rule=wrong[0][1],
                              remedy="nom@domaine", recipients=wrong)
    return found


async def _decided(decision: Decision | Awaitable[Decision]) -> Decision:
    return await decision if isinstance(decision, Awaitable) else decision


def _words(refusal: Refuse) -> str:
    return " ".join(refusal.reply.text.split())


def _refusal(refusal: Refuse) -> HandOverRefused:
    return HandOverRefused(_words(refusal), rule=refusal.rule or f"SMTP-{refusal.reply.code}",
                           temporary=not refusal.reply.permanent)


def _xtext(text: str) -> str:
    """RFC 3461 §4 xtext."""
    return "".join([char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in text])


__all__ = ["Action", "Derogations", "HandOver", "HandOverRefused", "HandOverSettings", "HandedCda", "HandedDocument", "HandedIn",
           "HandedPdf", "document_oid", "source_oid"]
