"""The operator of the citizens' mailboxes, as the national service is one: the role `operator` of `[citizen]` (spec §9,
F9.3–F9.10).

- Professionals open exchanges; a citizen answers those who wrote first, to the contact that they gave (Reply-To when it is an
  MSSanté address, F9.9), until they close: `X-MSS-MES: FIN` ends the exchange of that message, a subject that is `[FIN]` ends
  all of that correspondent (F9.8). A new message without it opens again.
- What cannot be delivered is told by a later message and not by an SMTP refusal (`returns = "mail"`, F9.7): box closed, person
  not found, more than `max_bytes`. A message that came with the null sender, or is itself a return or a receipt, is never
  answered.
- `receipt` makes the read receipt (RFC 8098) that a citizen cannot refuse (F9.10), when its address is the envelope sender's.
- Every refusal that this operator says hides the matricule.
Used in the lab by the operator of `patient.mssante.test`, and by an establishment that has a portal of its own. Called by
`reception`, `submission` through the departure, and `citizen_space`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mssante.errors import InputFault
from mssante.ids import new_trace_id
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.mailbox_rules import EFFECTS, Inbound
from mssante.model.message import NewMessage, StagedBody
from mssante.model.reply import Allow, Decision, Refuse
from mssante.observability.metrics import CITIZEN_MESSAGES
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.compose import address_text, addresses_line, header_line, multipart, text_part
from mssante.protocol.mime.dates import format_date
from mssante.protocol.mime.headers import Headers, find_header_end, message_id, parse_headers, read_headers
from mssante.protocol.mime.imapview import facts as scan_facts
from mssante.protocol.reports.mdn import MdnRequest, MdnType, build_mdn
from mssante.services.citizen import End, identifiers, read_end, reference_of, reply_to_of
from mssante.services.citizen_desk import Arriving, CitizenDesk, CitizenParts, Verdict
from mssante.services.citizen_words import Cause, refusal
from mssante.services.departure import FREE, Leaving, Ruling
from mssante.storage.citizen import CitizenExchange, CitizenMessage, Closing
from mssante.storage.interfaces import Acceptance, Accepted, Filing, QueueEntry, QueueRecipient, Stores, Tx

MAX_RETURNED = 64 * 1024


@dataclass(frozen=True, slots=True)
class HouseSettings:
    """hostname: of our EHLO; returns: mail or smtp; expiry: life of what is queued."""

    hostname: str
    returns: str = "mail"
    expiry: timedelta = timedelta(days=2)


class CitizenHouse:
    """The citizens' operator."""

    def __init__(self, parts: CitizenParts, desk: CitizenDesk, settings: HouseSettings) -> None:
        self._parts = parts
        self._desk = desk
        self._settings = settings

    @property
    def domain(self) -> str:
        """The citizens' domain, hosted here."""
        return self._desk.domain

    # ------------------------------------------------------------ what comes from professionals

    def stray(self, mailbox: Mailbox | None) -> Cause | Refuse | None:
        """Say what becomes of a recipient: None when its mailbox takes mail; refused in words that hide the matricule, or
        accepted to be told later by a return of this cause."""
        inbound = Inbound.UNKNOWN if mailbox is None else EFFECTS[mailbox.state].inbound
        if inbound is Inbound.TAKEN:
            return None
        cause = Cause.UNKNOWN if mailbox is None else Cause.CLOSED
        if self._settings.returns == "mail":
            return cause
        return refusal("CITOYEN-INCONNU" if cause is Cause.UNKNOWN else "CITOYEN-FERME")

    def arrived(self, message: Arriving, strays: Sequence[Cause]) -> Verdict:
        """Rule on a message for citizens: what is returned, and what is noted with what is filed. `headers` is never used."""
        headers = parse_headers(message.head)
        returns: list[Acceptance] = []
        too_big = message.size > self._desk.settings.rules.max_bytes
        if too_big and message.boxes:
            returns += self._returned(message, headers, Cause.TOO_BIG)
        for cause in dict.fromkeys([Cause.TOO_BIG if too_big else one for one in strays]):
            if not (too_big and returns):
                returns += self._returned(message, headers, cause)
        if too_big:
            return Verdict(messages=tuple(returns), drop=True)
        if message.sender is None or message.sender.domain == self.domain or _is_report(headers):
            return Verdict(messages=tuple(returns))
        return Verdict(messages=tuple(returns), also=self._noting(message, message.sender, headers))

    def _noting(self, message: Arriving, sender: MailAddress, headers: Headers) -> Callable[[Any, Accepted], None]:
        """Give what notes a message of a professional in the transaction that files it."""
        stores, evidence = self._parts.stores, self._parts.evidence
        reply_to, _ = reply_to_of(headers)
        contact = (reply_to if reply_to is not None and self._admits(reply_to) else sender).key
        end, reference = read_end(headers), reference_of(message.facts.message_id, message.trace_id, sender.domain)
        answered, contacts = identifiers(message.facts.in_reply_to), {sender.key}
        if contact.rpartition("@")[2] == sender.domain:  # a Reply-To elsewhere proves nothing: it may not close what is another's
            contacts.add(contact)

        def also(tx: Tx, _: Accepted) -> None:
            for box in message.boxes:
                mine = _threads_of(tx, stores, box.id, contacts)
                known = [one for one in stores.citizens.messages(tx, box.id, answered) if one.thread in mine]
                thread = known[0].thread if known else reference
                row = CitizenMessage(box.id, reference, evidence.address(box.address), thread, message.trace_id, message.at)
                stores.citizens.record(tx, row, contact=contact, outgoing=False)
                if end is End.SUBJECT:
                    threads = tuple([one.thread for one in known])
                    stores.citizens.close(tx, box.id, Closing(message.at, end.value, threads, contacts=tuple(sorted(contacts))))
                elif end is End.HEADER:
                    stores.citizens.close(tx, box.id, Closing(message.at, end.value, (thread,)))

        return also

    def _admits(self, contact: MailAddress) -> bool:
        """Tell whether citizens may be given a contact: in the trust space, not a citizen (F9.9)."""
        if contact.domain == self.domain:
            return False
        return contact.domain in self._parts.hosted or isinstance(self._parts.trust.may_queue_for(contact.domain), Allow)

    def _returned(self, message: Arriving, headers: Headers, cause: Cause) -> list[Acceptance]:
        """Give the message that tells a professional that nothing was delivered; none to the null sender or about a report."""
        if message.sender is None or _is_report(headers):
            return []
        CITIZEN_MESSAGES.labels("undelivered").inc()
        trace_id, now = new_trace_id(), message.at
        about = ReturnAbout(message.sender, self.domain, cause, message.head, self._settings.hostname)
        raw = return_message(about, now, trace_id)
        event = JournalEvent(JournalKind.REPORT_SENT, now, trace_id, str(message.sender),
                             {"about": message.trace_id, "action": "failed", "cause": cause.value})
        return [self._post(raw, message.sender, now, event)]

    def _post(self, raw: bytes, to: MailAddress, now: datetime, event: JournalEvent, home: Mailbox | None = None) -> Acceptance:
        body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
        message = NewMessage(body, b"Return-Path: <>\r\n" if home is not None else b"", scan_facts(raw), event.trace_id, now)
        if home is not None:
            return Acceptance(message, (Filing(home.inbox_id),), None, (event,))
        recipient = QueueRecipient(str(to), to.domain, "NEVER")
        return Acceptance(message, (), QueueEntry("", (recipient,), now + self._settings.expiry, now), (event,))

    # ------------------------------------------------------------ what citizens send

    async def open_contact(self, box: Mailbox, contact: MailAddress) -> Decision:
        """Decide at RCPT whether a citizen may write to a professional: an exchange is open, or its mailbox takes all."""
        if contact.domain == self.domain:
            return refusal("CITOYEN-PROFESSIONNELS")
        if contact.key in self._desk.settings.open_boxes:
            return Allow()
        found = await self.exchanges(box.id, contact.key)
        if not found:
            return refusal("CITOYEN-SANS-ECHANGE")
        return Allow() if any(one.closed_at is None for one in found) else refusal("CITOYEN-FIN")

    async def exchanges(self, mailbox_id: int, contact: str = "") -> list[CitizenExchange]:
        """Give the exchanges of a citizen, with one contact when named, latest first."""
        stores = self._parts.stores
        return await stores.database.read(lambda tx: stores.citizens.exchanges(tx, mailbox_id, contact=contact))

    async def look(self, leaving: Leaving) -> Ruling:
        """Rule on what a citizen sends (a check of departures): the exchange that it answers must be open. What professionals of
        ours send to citizens here is noted as if it came from elsewhere."""
        if leaving.sender.domain != self.domain:
            await self._from_here(leaving)
            return FREE
        stores, box = self._parts.stores, leaving.box
        answered = identifiers(leaving.facts.in_reply_to)
        known = await stores.database.read(lambda tx: stores.citizens.messages(tx, box.id, answered))
        threads: list[str] = []
        for contact in leaving.recipients:
            found = await self.exchanges(box.id, contact.key)
            if not found and contact.key in self._desk.settings.open_boxes:
                continue
            named = [one for one in found if one.thread in {row.thread for row in known}]
            if not found or not any(one.closed_at is None for one in named or found):
                CITIZEN_MESSAGES.labels("refused").inc()
                return Ruling(refusal("CITOYEN-FIN" if found else "CITOYEN-SANS-ECHANGE"))
            threads += [one.thread for one in named or found if one.closed_at is None][:1]
        reference = reference_of(leaving.facts.message_id, leaving.trace_id, leaving.sender.domain)
        thread = threads[0] if threads else reference
        row = CitizenMessage(box.id, reference, self._parts.evidence.address(box.address), thread, leaving.trace_id, leaving.at)
        await stores.database.write(lambda tx: stores.citizens.record(tx, row, contact="", outgoing=True))
        CITIZEN_MESSAGES.labels("answered").inc()
        return await self._to_here(leaving)

    async def _local(self, leaving: Leaving, *, citizens: bool) -> Arriving:
        """Give a message that leaves as one that arrives, for those of its recipients that are ours."""
        boxes = [await self._parts.addresses.find(one.key) for one in leaving.recipients
                 if one.domain in self._parts.hosted and (one.domain == self.domain) is citizens]
        found = tuple([box for box in boxes if box is not None])
        return Arriving(leaving.sender, found, leaving.facts, leaving.head, leaving.size, leaving.trace_id, leaving.at, False,
                        leaving.content)

    async def _from_here(self, leaving: Leaving) -> None:
        arriving = await self._local(leaving, citizens=True)
        headers = parse_headers(leaving.head)
        if arriving.boxes and not _is_report(headers):
            also = self._noting(arriving, leaving.sender, headers)
            await self._parts.stores.database.write(lambda tx: also(tx, Accepted(0)))

    async def _to_here(self, leaving: Leaving) -> Ruling:
        """Tie an answer to professionals of ours to their exchange, as reception does."""
        verdict = await self._desk.arriving(await self._local(leaving, citizens=False))
        also = verdict.also
        if also is not None:
            await self._parts.stores.database.write(lambda tx: also(tx, Accepted(0)))
        return Ruling(verdict.refusal, verdict.headers)

    async def receipt(self, raw: bytes, box: Mailbox, now: datetime) -> Acceptance | None:
        """Give the read receipt that a message asks for, None when it asks none or must get none (RFC 8098 §2.1, spec §7.4)."""
        headers = read_headers(raw)
        asked = parse_addresses(headers.get(b"disposition-notification-to") or b"")
        path = _path(headers.get(b"return-path"))
        original = message_id(headers.get(b"message-id"))
        if len(asked) != 1 or not path or not original or _is_report(headers):
            return None
        local, domain = asked[0].local or b"", asked[0].domain or b""
        try:
            to = parse_envelope_address((local + b"@" + domain).decode("utf-8", "replace"))
            if to.key != path or not self._admits(to):
                return None
            trace_id = new_trace_id()
            me = parse_envelope_address(box.address)
            notice = build_mdn(MdnRequest(
                me, to, me, original, "Lu : votre message à un usager", "L'usager a ouvert votre message dans son espace.", now,
                trace_id, f"{self._settings.hostname}; espace de l'usager", disposition=MdnType.DISPLAYED))
        except InputFault:
            return None
        CITIZEN_MESSAGES.labels("receipt").inc()
        event = JournalEvent(JournalKind.REPORT_SENT, now, trace_id, str(to), {"about": "", "action": "displayed"})
        home = await self._parts.addresses.find(to.key) if to.domain in self._parts.hosted else None
        return self._post(notice, to, now, event, home)


def _threads_of(tx: Tx, stores: Stores, mailbox_id: int, contacts: set[str]) -> set[str]:
    """Give the exchanges of a citizen that a professional may go on with or close: his own. Whoever knows a Message-ID of another
    one's exchange neither joins nor takes it over: his message opens an exchange of its own."""
    return {one.thread for contact in sorted(contacts) for one in stores.citizens.exchanges(tx, mailbox_id, contact=contact)}


@dataclass(frozen=True, slots=True)
class ReturnAbout:
    """What a return tells. to: who wrote; domain: the citizens'; head: the header of the original; hostname: of this operator."""

    to: MailAddress
    domain: str
    cause: Cause
    head: bytes
    hostname: str


def return_message(about: ReturnAbout, now: datetime, trace_id: str) -> bytes:
    """Give a return in the manner of the national service: a plain mail for what it does not deliver, a mail system's report for
    what is too big (F9.7). It returns the header of the original, and quotes no address in its text."""
    head, domain, cause = about.head, about.domain, about.cause
    original = message_id(read_headers(head).get(b"message-id"))
    returned = head[:find_header_end(head)][:MAX_RETURNED].rstrip(b"\r\n") + b"\r\n"
    back = b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + returned
    subject, text = _RETURNS[cause]
    sender = MailAddress("MAILER-DAEMON" if cause is Cause.TOO_BIG else "ne-pas-repondre", domain)
    lines = [b"Date: " + format_date(now) + b"\r\n", addresses_line("From", (address_text(sender, "Espace des usagers"),)),
             addresses_line("To", (address_text(about.to),)), header_line("Subject", subject),
             header_line("Message-ID", f"<{trace_id}@{domain}>"), b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"]
    if original.isascii() and original.startswith("<"):
        lines.append(f"In-Reply-To: {original}\r\n".encode("ascii"))
    if cause is not Cause.TOO_BIG:
        return b"".join([*lines, multipart("mixed", [text_part(text), back], boundary=trace_id)])
    status = (f"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {about.hostname}\r\n\r\n"
              f"Final-Recipient: rfc822; usager@{domain}\r\nAction: failed\r\nStatus: 5.3.4\r\n"
              "Diagnostic-Code: smtp; 552 5.3.4 message file too big\r\n").encode("ascii")
    return b"".join([*lines, multipart("report", [text_part(text), status, back], boundary=trace_id,
                                       parameters=" report-type=delivery-status;")])


_RETURNS = {
    Cause.CLOSED: ("Message non distribué",
                   "Bonjour,\n\nVotre message n'a pas été distribué : l'usager destinataire n'a pas d'espace "
                   "ouvert (espace clos, ou jamais activé).\n\nCe message est automatique, n'y répondez pas.\n"),
    Cause.UNKNOWN: ("Message non distribué",
                    "Bonjour,\n\nVotre message n'a pas été distribué : l'adresse est invalide, ou le patient "
                    "n'a pas été trouvé.\n\nCe message est automatique, n'y répondez pas.\n"),
    Cause.TOO_BIG: ("Undelivered Mail Returned to Sender", "This is the mail system.\n\nYour message could not be delivered: it "
                    "exceeds the size limit (25 MB).\n"),
    Cause.NO_EXCHANGE: ("Message non distribué", "Bonjour,\n\nVotre message n'a pas été distribué : l'échange est clos.\n"),
    Cause.OTHER: ("Message non distribué", "Bonjour,\n\nVotre message n'a pas été distribué.\n"),
}


def _is_report(headers: Headers) -> bool:
    """True for what must not be answered by a machine (RFC 3834 §2)."""
    kind = (headers.get(b"content-type") or b"").strip().lower()
    return kind.startswith(b"multipart/report") or (headers.get(b"auto-submitted") or b"no").strip().lower() != b"no"


def _path(value: bytes | None) -> str:
    """Give the address of our Return-Path line, in lower case, empty for the null sender."""
    return (value or b"").strip().strip(b"<>").decode("utf-8", "replace").lower()

