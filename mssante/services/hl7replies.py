"""Tells the sender of a mail what the hospital's software made of its documents (spec §7.4; volet LPS 1.1, structure of the MDN).

- Told once, when every document of the mail is taken or refused: `processed`, or `processed/Error: 902^…` with the subject
  `[KO Intégration système !][902] …`. A technical refusal is nobody's business but the hospital's: nothing is sent.
- A notification goes when it was asked (Disposition-Notification-To) and to the Return-Path only (RFC 8098 §2.1); an error that
  may not go so goes as an ordinary mail to the Return-Path, and never to a null sender. Documents go back with an error.
- The notification is committed in the transaction that ends the document's row.
Called by services.hl7outbox, and by the repair desk when a person decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta

from mssante.clock import Clock
from mssante.documents.subject import error_subject
from mssante.errors import MssFault
from mssante.ids import new_trace_id
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.message import NewMessage, StagedBody
from mssante.model.reply import Refuse
from mssante.protocol.hl7v2.values import APPLICATION_ERRORS
from mssante.protocol.mime.compose import Attachment, Letter, header_line, letter, text_part
from mssante.protocol.mime.imapview import facts
from mssante.protocol.reports.mdn import MdnError, MdnRequest, build_mdn
from mssante.services.hl7mail import Mail, read_mail
from mssante.services.reception import AcceptContext
from mssante.storage.interfaces import Acceptance, Accepted, Filing, QueueEntry, QueueRecipient, Stores, Tx
from mssante.storage.interfacing import WAITING, OutboxItem

MAX_RETURNED = 10 << 20  # octets of documents that go back
_CODE = re.compile(r"\b(90[0-6])\b")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one document. code, label: of table applicationErrorCode; technical: refused for a reason of ours."""

    item: OutboxItem
    code: str = ""
    label: str = ""
    technical: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """A mail to the sender, ready."""

    raw: bytes
    to: MailAddress
    home: Mailbox | None
    event: JournalEvent


@dataclass(frozen=True, slots=True)
class ReplySettings:
    """expiry: life of a queued reply; hosted: our domains."""

    expiry: timedelta
    hosted: frozenset[str]
    reporting_ua: str = "mssante; passerelle HL7"


class Replies:
    """Writes and sends them."""

    def __init__(self, context: AcceptContext, stores: Stores, clock: Clock, executor: Executor, settings: ReplySettings) -> None:
        self._context = context
        self._stores = stores
        self._clock = clock
        self._executor = executor
        self._settings = settings

    async def about(self, item: OutboxItem, verdict: Verdict) -> Reply | None:
        """Give what the sender is told when this was the last document of his mail; None when nothing is."""
        stores = self._stores
        rows = await stores.database.read(lambda tx: stores.interfacing.of_message(tx, item.interface, item.message_id))
        others = [one for one in rows if one.sequence != item.sequence]
        if any(one.state == WAITING for one in others):
            return None
        codes = [verdict.code] if verdict.code else []
        codes += [found.group(1) for one in others if one.detail.startswith("AE") and (found := _CODE.search(one.detail))]
        technical = verdict.technical or any(one.detail.startswith("AE") and not _CODE.search(one.detail) for one in others)
        if technical and not codes:
            return None
        return await self.write(item.mailbox_id, item.message_id, codes[0] if codes else "", item.trace_id)

    async def write(self, mailbox_id: int, message_id: int, code: str, trace_id: str) -> Reply | None:
        """Write the reply about a message; code: 900 to 906, empty for success. None when it may not, or cannot, be sent."""
        stores = self._stores
        boxes, found = await stores.database.read(lambda tx: (
            stores.accounts.mailboxes_by_id(tx, [mailbox_id]), stores.messages.contents(tx, [message_id], with_body=True)))
        if not boxes or not found:
            return None
        stored = found[0]
        loop = asyncio.get_running_loop()
        body = stored.inline if stored.inline is not None else await loop.run_in_executor(
            self._executor, stores.blobs.read, stored.blob or "")
        mail = await loop.run_in_executor(self._executor, read_mail, stored.prefix, body)
        to = self._to(mail)
        if to is None or (to.domain in self._settings.hosted and to.key == boxes[0].address.lower()):
            return None
        asked = mail.receipt_to.lower() == mail.return_path.lower() and bool(mail.message_id)
        if not asked and not code:
            return None
        if to.domain not in self._settings.hosted and isinstance(self._context.trust.may_queue_for(to.domain), Refuse):
            return None
        home = await self._context.addresses.find(to.key) if to.domain in self._settings.hosted else None
        if home is None and to.domain in self._settings.hosted:
            return None
        new_id, now = new_trace_id(), self._clock.now()
        frame = _Frame(parse_envelope_address(boxes[0].address), to, new_id, code)
        raw = await loop.run_in_executor(self._executor, lambda: self._compose(mail, frame, asked=asked))
        public = self._context.evidence.address
        event = JournalEvent(JournalKind.REPORT_SENT, now, new_id, public(str(to)), {
            "about": trace_id, "action": "processed" if not code else "error", "code": code})
        return Reply(raw, to, home, event)

    async def send(self, reply: Reply, also: Callable[[Tx], None]) -> None:
        """Commit a reply together with `also`. Raises MssFault."""
        now = self._clock.now()
        body = StagedBody(len(reply.raw), hashlib.sha256(reply.raw).hexdigest(), inline=reply.raw)
        prefix = b"Return-Path: <>\r\n" if reply.home is not None else b""
        message = NewMessage(body, prefix, facts(reply.raw), reply.event.trace_id, now)

        def both(tx: Tx, _: Accepted) -> None:
            also(tx)

        if reply.home is not None:
            acceptance = Acceptance(message, (Filing(reply.home.inbox_id),), None, (reply.event,), both)
        else:
            recipient = QueueRecipient(str(reply.to), reply.to.domain, "NEVER")
            entry = QueueEntry("", (recipient,), now + self._settings.expiry, now)
            acceptance = Acceptance(message, (), entry, (reply.event,), both)
        await self._context.mailroom.accept((acceptance,))

    def _to(self, mail: Mail) -> MailAddress | None:
        try:
            return parse_envelope_address(mail.return_path) if mail.return_path else None
        except MssFault:
            return None

    def _compose(self, mail: Mail, frame: _Frame, *, asked: bool) -> bytes:
        now, code = self._clock.now(), frame.code
        subject = error_subject(mail.subject, code) if code else mail.subject
        text = _words(code)
        files = tuple([Attachment(one.name, _media(one.media_type), one.content) for one in mail.files]) if code else ()
        if sum(len(one.content) for one in files) > MAX_RETURNED:
            files, text = (), f"{text}\nLes documents, trop volumineux, ne sont pas joints a cet avis.\n"
        original = _original(mail)
        if not asked:
            back = (*files, Attachment("message-origine.txt", "text/plain", original))
            threaded = (("In-Reply-To", mail.message_id), ("References", mail.message_id)) if mail.message_id else ()
            new_id = f"<{frame.trace_id}@{frame.sender.domain}>"
            return letter(Letter(frame.sender, (frame.to,), _one_line(subject), text, now, new_id, frame.trace_id,
                                 attachments=back, headers=(("Auto-Submitted", "auto-replied"), *threaded)))
        return build_mdn(MdnRequest(
            frame.sender, frame.to, frame.sender, mail.message_id, _one_line(subject), text, now, frame.trace_id,
            self._settings.reporting_ua, error=MdnError(code, APPLICATION_ERRORS[code]) if code else None, original=original,
            attachments=files))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Who writes to whom, and what."""

    sender: MailAddress
    to: MailAddress
    trace_id: str
    code: str


def _words(code: str) -> str:
    """Part 1, for a person: code and label of an error (volet LPS 1.1)."""
    if not code:
        return "Les documents de ce message ont été intégrés par le logiciel destinataire.\n"
    return ("Les documents du message ci-dessous n'ont pas pu être intégrés automatiquement pour la raison suivante :\n\n"
            f"  {code} : {APPLICATION_ERRORS[code]}\n\n"
            "Ils n'ont pas été pris en compte par le logiciel destinataire : corrigez-les et renvoyez-les.\n")


def _original(mail: Mail) -> bytes:
    """Give the mail that is answered: its envelope fields and its text, without its files, which stand beside."""
    fields = [header_line(name, _one_line(value)) for name, value in (
        ("From", mail.sender), ("Subject", mail.subject), ("Message-ID", mail.message_id)) if value]
    return b"".join([*fields, b"MIME-Version: 1.0\r\n", text_part(mail.text)])


def _one_line(text: str) -> str:
    return "".join([one for one in text if one.isprintable()])[:900].strip()


def _media(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+-]{1,60}", name) else "application/octet-stream"
