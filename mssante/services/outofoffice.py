"""Out-of-office answers and notices of faulty filters: sent behind the reply, by the ordinary way of mail (RFC 5230, RFC 3834).

- Never to a citizen, a machine, a list, a report, oneself; never from nor to an APP box; only when one of the mailbox's addresses
  stands in To, Cc or Bcc; once per sender and handle within the days; never beyond `per_hour` answers of one mailbox.
- The answer is `Auto-Submitted: auto-replied` with the null envelope sender: two absent people answer each other once at most.
- Its subject is neutral unless configured otherwise: the subject of a letter may hold the patient's name.
- The sender is noted before the answer is committed: a crash between costs an answer, never makes a second one.
- At most `MAX_WAITING` answers wait at once; beyond, they are dropped and counted.
Called by `services.sieve` after the commit.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.ids import new_trace_id
from mssante.lang import say
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxType
from mssante.model.message import NewMessage, StagedBody
from mssante.model.reply import Refuse
from mssante.observability.metrics import VACATIONS
from mssante.protocol.mime.compose import Letter, letter
from mssante.protocol.mime.headers import decode_words, message_id, reference_ids
from mssante.protocol.mime.imapview import facts
from mssante.protocol.sieve.actions import Vacation
from mssante.protocol.sieve.message import MessageView
from mssante.services.addressbook import AddressBook
from mssante.services.evidence import Evidence
from mssante.services.mailroom import Mailroom
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Acceptance, Filing, QueueEntry, QueueRecipient, Stores, Tx

log = structlog.get_logger("absence")
MAX_WAITING = 200
MAX_COUNTED = 10_000
MAX_SENDER = 254
NOTICE = "\x01notice"
DAY = 86_400
FORGET_SECONDS = 3_600.0
_RECIPIENTS = ("to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc")
_BULK = frozenset(("bulk", "list", "junk", "auto_reply"))
_MACHINES = frozenset(("noreply", "no-reply", "ne-pas-repondre", "nepasrepondre", "mailer-daemon", "postmaster", "listserv",
                       "majordomo", "daemon", "root", "donotreply", "do-not-reply"))

_STARTS = ("owner-", "noreply", "no-reply")
_ENDS = ("-request", "-owner", "-bounces")


@dataclass(frozen=True, slots=True)
class AbsenceSettings:
    """neutral: the default subject says nothing of the letter; expiry: of queued answers."""

    domain: str
    hosted: frozenset[str]
    citizen: str
    default_days: int = 7
    minimum_seconds: int = DAY
    maximum_days: int = 90
    per_hour: int = 60
    neutral: bool = True
    expiry: timedelta = timedelta(days=2)


@dataclass(slots=True)
class AbsenceParts:
    """What answering stands on."""

    stores: Stores
    clock: Clock
    addresses: AddressBook
    trust: TrustState
    mailroom: Mailroom
    evidence: Evidence
    settings: AbsenceSettings


@dataclass(frozen=True, slots=True)
class Answering:
    """One message that a vacation would answer. trace_id: of the message."""

    mailbox: Mailbox
    view: MessageView
    action: Vacation
    trace_id: str


def machine_reason(view: MessageView) -> str:
    """Give why nobody waits for an answer to a message, by its header; empty when somebody may (RFC 3834 §2, RFC 5230 §4.6)."""
    local = view.sender.rpartition("@")[0].lower()
    if not view.sender:
        return "null_sender"
    if local in _MACHINES or local.startswith(_STARTS) or local.endswith(_ENDS):
        return "machine"
    if any(value.partition(";")[0].strip().lower() not in ("", "no") for value in view.values("auto-submitted")):
        return "machine"
    if any(value.strip().lower() in _BULK for value in view.values("precedence")):
        return "list"
    if any(name.startswith(b"list-") for name, _ in view.headers.fields):
        return "list"
    if any(word in value.lower() for value in view.values("x-auto-response-suppress") for word in ("all", "oof", "autoreply")):
        return "machine"
    content = " ".join(view.values("content-type")).lower()
    if content.startswith("multipart/report") or "message/disposition-notification" in content:
        return "report"
    return ""


class OutOfOffice:
    """Answers and notices."""

    def __init__(self, parts: AbsenceParts) -> None:
        self._parts = parts
        self._tasks: set[asyncio.Task[None]] = set()
        self._counted: dict[int, tuple[float, int]] = {}  # mailbox -> end of its hour, answers in it
        self._forget_at = 0.0

    def answer(self, asked: Answering) -> None:
        """Answer behind the caller's back, if it is to be."""
        reason = machine_reason(asked.view)
        if not reason and MailboxType.APP is asked.mailbox.type:
            reason = "machine"
        if reason:
            VACATIONS.labels(reason).inc()
            return
        self._start(self._answer(asked))

    def tell_fault(self, mailbox: Mailbox, stamp: str, text: str) -> None:
        """File a notice about a faulty script into INBOX, once for each version of the scripts."""
        self._start(self._tell_fault(mailbox, stamp, text))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._tasks) >= MAX_WAITING:
            work.close()
            VACATIONS.labels("dropped").inc()
            return
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as fault:  # the border: the letter itself is filed already
            VACATIONS.labels("failed").inc()
            log.error("answer_failed", kind=type(fault).__name__, rule=getattr(fault, "rule", ""))

    async def flush(self) -> None:
        """Wait for what is under way (stop of the service, tests)."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def forget_old(self) -> None:
        """Remove what was told longer ago than any answer remembers; at most once an hour."""
        now = self._parts.clock.monotonic()
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_SECONDS
        before = self._parts.clock.now() - timedelta(days=self._parts.settings.maximum_days + 1)
        await self._parts.stores.database.write(lambda tx: self._parts.stores.filters.forget_told(tx, before))

    # ------------------------------------------------------------ answers

    async def _answer(self, asked: Answering) -> None:
        reason, to, home = await self._silent(asked)
        if to is not None and not reason and not await self._first(asked, to):
            reason = "told"
        VACATIONS.labels(reason or "sent").inc()
        if reason or to is None:
            return
        now = self._parts.clock.now()
        trace_id = new_trace_id()
        raw = self._compose(asked, to, now, trace_id)
        public = self._parts.evidence.address
        event = JournalEvent(JournalKind.VACATION_SENT, now, trace_id, public(asked.mailbox.address),
                             {"about": asked.trace_id, "to": public(str(to))})
        await self._parts.mailroom.accept((self._acceptance(raw, to, home, now, event),))

    async def _silent(self, asked: Answering) -> tuple[str, MailAddress | None, Mailbox | None]:
        """Give why nothing is answered, else to whom, and their mailbox when it is ours."""
        settings, mailbox = self._parts.settings, asked.mailbox
        try:
            to = parse_envelope_address(asked.view.sender)
        except MssFault:
            return "unreadable", None, None
        if to.domain == settings.citizen:
            return "citizen", None, None
        own = await self._own(asked)
        if to.key in own:
            return "self", None, None
        addressed = {f"{local}@{domain}".lower() for name in _RECIPIENTS for local, domain in asked.view.addresses(name)}
        if not own & addressed:
            return "not_addressed", None, None
        home = None
        if to.domain in settings.hosted:
            home = await self._parts.addresses.find(to.key)
            if home is None or home.type is MailboxType.APP or home.id == mailbox.id:
                return "machine", None, None
        elif isinstance(self._parts.trust.may_queue_for(to.domain), Refuse):
            return "outside", None, None
        return ("storm", None, None) if not self._room(mailbox.id) else ("", to, home)

    async def _own(self, asked: Answering) -> set[str]:
        """Give the addresses of the mailbox: its own, its aliases, those that the script names (RFC 5230 §4.5)."""
        stores = self._parts.stores
        aliases = await stores.database.read(lambda tx: stores.delegations.aliases(tx, asked.mailbox.id))
        named = [one.lower() for one in asked.action.addresses]
        return {asked.mailbox.address.lower(), *[one.address for one in aliases], *named}

    def _room(self, mailbox_id: int) -> bool:
        """Count an answer of a mailbox in its hour; False beyond the limit."""
        now = self._parts.clock.monotonic()
        end, count = self._counted.get(mailbox_id, (0.0, 0))
        if now >= end:
            if len(self._counted) >= MAX_COUNTED:
                self._counted = {key: value for key, value in self._counted.items() if value[0] > now}
            if len(self._counted) >= MAX_COUNTED:
                return False
            end, count = now + 3_600.0, 0
        self._counted[mailbox_id] = (end, count + 1)
        return count < self._parts.settings.per_hour

    async def _first(self, asked: Answering, to: MailAddress) -> bool:
        """Note that a sender is told; False when it was within the days."""
        action, settings, now = asked.action, self._parts.settings, self._parts.clock.now()
        seconds = action.seconds if action.seconds is not None else settings.default_days * DAY
        seconds = min(max(seconds, settings.minimum_seconds), settings.maximum_days * DAY)
        words = "\x00".join((action.reason, action.subject, action.sender, str(action.mime)))
        handle = hashlib.sha256((action.handle or words).encode("utf-8", "replace")).hexdigest()[:32]
        return await self._note(asked.mailbox.id, handle, to.key[:MAX_SENDER], now - timedelta(seconds=seconds))

    async def _note(self, mailbox_id: int, handle: str, sender: str, since: datetime) -> bool:
        filters, now = self._parts.stores.filters, self._parts.clock.now()

        def unit(tx: Tx) -> bool:
            last = filters.told(tx, mailbox_id, handle, sender)
            if last is not None and last > since:
                return False
            filters.tell(tx, mailbox_id, handle, sender, now)
            return True

        return await self._parts.stores.database.write(unit)

    def _compose(self, asked: Answering, to: MailAddress, now: datetime, trace_id: str) -> bytes:
        view, action = asked.view, asked.action
        ids = view.headers.get(b"message-id")
        answered = message_id(ids)
        threaded = bool(answered) and answered.isascii() and answered.startswith("<")
        headers = [("Auto-Submitted", "auto-replied"), ("X-Auto-Response-Suppress", "All")]
        if threaded:
            older = reference_ids(view.headers.get(b"references"), view.headers.get(b"in-reply-to"))
            headers += [("In-Reply-To", answered), ("References", " ".join([*older.split()[-20:], answered]))]
        sender = parse_envelope_address(asked.mailbox.address)
        return letter(Letter(sender, (to,), self._subject(asked), self._text(action), now, f"<{trace_id}@{sender.domain}>",
                             trace_id, sender_name=asked.mailbox.display_name, headers=tuple(headers)))

    def _subject(self, asked: Answering) -> str:
        action, neutral = asked.action, self._parts.settings.neutral
        chosen = action.subject if action.plain_subject or not neutral else ""
        if not chosen and not neutral:
            chosen = "Auto: " + decode_words(asked.view.headers.get(b"subject") or b"", 200)  # RFC 5230 §4.3
        clean = "".join(letter_ for letter_ in chosen if letter_.isprintable())[:200].strip()
        return clean or "Réponse automatique : absence"

    def _text(self, action: Vacation) -> str:
        """Give the text; one that may repeat the letter (its subject may name a patient) is replaced."""
        if action.plain_reason or not self._parts.settings.neutral:
            return _plain(action)
        return "Je suis absent. Votre message m'attend dans ma boite et sera lu a mon retour.\n"

    def _acceptance(self, raw: bytes, to: MailAddress, home: Mailbox | None, now: datetime, event: JournalEvent) -> Acceptance:
        """File it here, or queue it with the null sender (RFC 5230 §5.1); it is not filtered."""
        body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
        message = NewMessage(body, b"Return-Path: <>\r\n" if home else b"", facts(raw), event.trace_id, now)
        if home is not None:
            return Acceptance(message, (Filing(home.inbox_id),), None, (event,))
        recipient = QueueRecipient(str(to), to.domain, "NEVER")
        return Acceptance(message, (), QueueEntry("", (recipient,), now + self._parts.settings.expiry, now), (event,))

    # ------------------------------------------------------------ notices

    async def _tell_fault(self, mailbox: Mailbox, stamp: str, text: str) -> None:
        if not await self._note(mailbox.id, NOTICE, stamp, self._parts.clock.now() - timedelta(days=365)):
            return
        now, trace_id = self._parts.clock.now(), new_trace_id()
        domain = mailbox.address.rpartition("@")[2]
        words = say("Un filtre de votre boîte est en faute ; le courrier reste en boîte de réception, rien n'est perdu.\n\n"
                    f"{text}\n\nCorrigez le script : cet avis n'est envoyé qu'une fois pour cette version.\n",
                    "A filter of your mailbox is at fault; mail stays in your inbox, nothing is lost.\n\n"
                    f"{text}\n\nPlease mend the script: this notice is sent once for this version.\n")
        raw = letter(Letter(MailAddress("postmaster", domain), (parse_envelope_address(mailbox.address),),
                            say("Votre filtre de courrier est en faute", "Your mail filter is at fault"), words, now,
                            f"<{trace_id}@{domain}>", trace_id, headers=(("Auto-Submitted", "auto-generated"),)))
        body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
        message = NewMessage(body, b"Return-Path: <>\r\n", facts(raw), trace_id, now)
        await self._parts.mailroom.accept((Acceptance(message, (Filing(mailbox.inbox_id),)),))


def _plain(action: Vacation) -> str:
    """Give the text of an answer; of a MIME reason, what follows its header: never a field of somebody's choice."""
    text = action.reason.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return text.partition("\n\n")[2] if action.mime else text
