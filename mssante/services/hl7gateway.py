"""Takes the messages of hospital applications: ORU^R01 and MDM^T02/T04/T10 become mail, and are answered (spec §8.3-8.5).

- An answer AA is given when the hand-over is committed to disk and the message is remembered with its answer; the same MSH-10
  with the same content gets the same answer again, nothing is sent twice, whatever was killed in between.
- AE with ERR (code of table 0357, place, rule in ERR-5, words in ERR-8) for what must be corrected; AR for a passing reason:
  the application sends the message again later (definitions of the volet). A refusal records nothing but the journal.
- Professionals and the citizen get messages of their own: texts differ, and so does the right to answer. The citizen's goes
  first; if the other is then refused, the application is told by ZAM for each of them, since the first cannot be taken back.
- The INS of PID-3 and that of each CDA must be the same; masks that contradict the recipients are refused (spec §8.4).
- Bounded: limits of `er7.Limits`; reading runs on the executor. No name, INS or subject in a log, a journal event or an answer.
Called by endpoints.mllp.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.observability.metrics import HOSPITAL_IN
from mssante.protocol.hl7v2 import cisis, er7
from mssante.protocol.hl7v2.faults import Hl7Busy, Hl7Code, Hl7Fault, Place
from mssante.protocol.hl7v2.values import Failure, Order, Receipt, ReceiptKind
from mssante.protocol.hl7v2.writer import Problem, Sending, acknowledge, zam
from mssante.services.handed import HandedDocument, HandedIn, HandOverRefused
from mssante.services.handover import HandOver
from mssante.services.hl7orders import Part, check_documents, parts_of
from mssante.services.hl7values import Application, Caller, GatewaySettings, control_id
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.interfacing import OutboxItem, TakenMessage

log = structlog.get_logger("hl7")
MAX_WORDS = 300
LARGE = 4 << 20  # octets
LARGE_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the gateway stands on. ring: wakes the outbox of an application."""

    stores: Stores
    clock: Clock
    handover: HandOver
    applications: tuple[Application, ...]
    settings: GatewaySettings
    ring: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the parts of an order. refused: a part that could not follow one that had left."""

    accepted: tuple[HandedIn, ...]
    refused: tuple[Part, HandOverRefused] | None = None


@dataclass(slots=True)
class _Turn:
    """Those who wait for one control id."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Gateway:
    """The way in."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._turns: dict[tuple[str, str], _Turn] = {}
        self._room = asyncio.Semaphore(LARGE_AT_ONCE)

    def admits(self, caller: Caller) -> bool:
        """True when some application may speak from there."""
        return any(one.admits(caller) for one in self._parts.applications)

    async def take(self, content: bytes, caller: Caller) -> bytes:
        """Take a message and give its ACK; never raises."""
        if len(content) < LARGE:
            return await self._answer(content, caller)
        async with self._room:  # a large one costs several times its size while it is read
            return await self._answer(content, caller)

    async def _answer(self, content: bytes, caller: Caller) -> bytes:
        header: er7.Segment | None = None
        application = ""
        try:
            message = await asyncio.to_thread(er7.parse, content, self._parts.settings.limits,
                                              default_charset=self._parts.settings.charset)
            header = message.header
            found = self._application(message, caller)
            application = found.name
            order = await asyncio.to_thread(cisis.read_order, message, self._parts.settings.processing)
            return await self._once(found, message, order)
        except Hl7Fault as fault:
            header = header or peek(content)
            return await self._refuse(header, application, fault, (_problem(fault),))
        except HandOverRefused as fault:
            return await self._refuse(header, application, fault, _problems(fault))
        except MssFault as fault:  # storage, memory: it passes
            return await self._refuse(header, application, Hl7Busy(
                Hl7Code.INTERNAL, say("non pris pour l'instant : renvoyer plus tard", "not taken now: send again later"),
                rule=fault.rule or "HL7-PLUS-TARD"), ())
        except Exception as fault:  # the border: a defect of ours refuses nothing for good
            log.error("hl7_failed", kind=type(fault).__name__, application=application)
            return await self._refuse(header, application, Hl7Busy(
                Hl7Code.INTERNAL, say("faute du serveur : renvoyer plus tard", "server fault: send again later"),
                rule="HL7-FAUTE"), ())

    async def reject(self, head: bytes, fault: Hl7Fault) -> bytes:
        """Give the ACK of a frame that was not read whole. head: its first octets."""
        return await self._refuse(peek(head), "", fault, (_problem(fault),))

    def _application(self, message: er7.Message, caller: Caller) -> Application:
        header = message.header
        name, facility = header.text(3), header.text(4)
        for one in self._parts.applications:
            if one.sending_application == name and one.sending_facility in ("", facility) and one.admits(caller):
                return one
        raise Hl7Fault(Hl7Code.TABLE_VALUE, say("application inconnue sur cette connexion", "application unknown here"),
                       rule="HL7-APPLICATION", place=header.place(3), remedy="hl7.applications : sending_application, networks")

    async def _once(self, application: Application, message: er7.Message, order: Order) -> bytes:
        """Take an order once for each control id; one at a time for each of them."""
        key = (application.name, order.control_id)
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                fingerprint = await asyncio.to_thread(fingerprint_of, message)
                known = await self._known(application, order, fingerprint)
                if known is not None:
                    return known
                return await self._take(application, message, order, fingerprint)
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(key, None)

    async def _known(self, application: Application, order: Order, fingerprint: str) -> bytes | None:
        stores = self._parts.stores
        taken = await stores.database.read(
            lambda tx: stores.interfacing.taken(tx, application.name, order.control_id), quick=True)
        if taken is None:
            return None
        if taken.fingerprint != fingerprint:
            raise Hl7Fault(Hl7Code.INTERNAL, say("MSH-10 déjà servi pour un autre contenu", "MSH-10 used for another content"),
                           rule="HL7-DOUBLON", place=Place("MSH", 1, 10), remedy="un MSH-10 nouveau pour un contenu nouveau")
        HOSPITAL_IN.labels(application.name, "repeated", "").inc()
        log.info("hl7_repeated", application=application.name, control_id=order.control_id)
        return taken.answer

    async def _take(self, application: Application, message: er7.Message, order: Order, fingerprint: str) -> bytes:
        await asyncio.to_thread(check_documents, order)
        requests = parts_of(application, order, self._parts.settings.citizen_domain)
        outcome = await self._hand_over(requests)
        now = self._parts.clock.now()
        warnings = [replace(one, severity="W") for one in (_problems(outcome.refused[1]) if outcome.refused else ())]
        answer = acknowledge(message.header, "AA", control_id(), now, warnings)
        taken = TakenMessage(application.name, order.control_id, fingerprint, " ".join([one.id for one in outcome.accepted]),
                             " ".join([one.trace_id for one in outcome.accepted]), answer, now)
        items = self._told_at_once(application, order, outcome)
        events = [JournalEvent(JournalKind.INTERFACE_TAKEN, now, one.trace_id, application.name,
                               {"control_id": order.control_id, "type": f"{order.message_type}^{order.event}",
                                "documents": len(order.documents)}) for one in outcome.accepted]
        stores = self._parts.stores

        def unit(tx: Tx) -> None:
            if stores.interfacing.take(tx, taken):
                stores.journal.append(tx, events)
                for item in items:
                    stores.interfacing.put(tx, item)

        await stores.database.write(unit)
        if items:
            self._parts.ring(application.name)
        HOSPITAL_IN.labels(application.name, "taken", "").inc()
        log.info("hl7_taken", application=application.name, control_id=order.control_id, documents=len(order.documents))
        return answer

    async def _hand_over(self, requests: Sequence[tuple[Part, HandedDocument]]) -> _Outcome:
        accepted: list[HandedIn] = []
        for part, request in requests:
            try:
                accepted.append(await self._parts.handover.accept(request))
            except HandOverRefused as fault:
                if not accepted or fault.temporary:
                    raise  # nothing has left; or the message comes again, and what left is not sent twice
                return _Outcome(tuple(accepted), (part, fault))
        return _Outcome(tuple(accepted))

    def _told_at_once(self, application: Application, order: Order, outcome: _Outcome) -> list[OutboxItem]:
        """Give the receipts known now: no DMP here; recipients refused after others had been taken."""
        if not application.gives:
            return []
        receipts: list[Receipt] = []
        if order.flag("DESTDMP"):
            receipts.append(Receipt(ReceiptKind.DMP, order.control_id, failure=Failure(
                "DMPNonServi", "Cette passerelle n'alimente pas le DMP", "DMP_ERROR_CODE")))
        if outcome.refused is not None:
            part, fault = outcome.refused
            receipts += [Receipt(ReceiptKind.RECEPTION, order.control_id, one.address,
                                 one.person.identifier.number if one.person else "",
                                 Failure("554", f"{fault.public} [{fault.rule}]"[:MAX_WORDS], "SMTPERRORCODE"))
                         for one in part.recipients]
        trace_id = outcome.accepted[0].trace_id
        return [receipt_item(application, receipt, f"zam {order.control_id}/{receipt.kind}/{rank}", trace_id, self._parts.clock)
                for rank, receipt in enumerate(receipts)]

    async def _refuse(self, header: er7.Segment | None, application: str, fault: MssFault, problems: Sequence[Problem]) -> bytes:
        """Give AE or AR; the journal keeps rule and place, never a text of the message."""
        now = self._parts.clock.now()
        code = "AR" if fault.temporary else "AE"
        given = header.text(10)[:cisis.MAX_CONTROL_ID] if header is not None else ""
        control = given if given.isascii() and given.isprintable() else ""
        place = str(fault.place) if isinstance(fault, Hl7Fault) else ""
        HOSPITAL_IN.labels(application or "?", "later" if code == "AR" else "refused", _code(fault)).inc()
        log.warning("hl7_refused", application=application, control_id=control, answer=code, rule=fault.rule, place=place)
        event = JournalEvent(JournalKind.INTERFACE_REFUSED, now, "", application or "?", {
            "control_id": control, "answer": code, "rule": fault.rule, "place": place})
        stores = self._parts.stores
        try:
            await stores.database.write(lambda tx: stores.journal.append(tx, [event]))
        except MssFault as failed:  # the refusal is told all the same
            log.error("hl7_refusal_unrecorded", rule=failed.rule)
        if not problems and isinstance(fault, Hl7Fault):
            problems = (_problem(fault),)
        try:
            return acknowledge(header, code, control_id(), now, problems)
        except Hl7Fault:  # a header whose escapes cannot be read
            return acknowledge(None, code, control_id(), now, problems)


def receipt_item(application: Application, receipt: Receipt, reference: str, trace_id: str, clock: Clock) -> OutboxItem:
    """Give the row of the outbox that carries a ZAM."""
    now, control = clock.now(), control_id()
    body = zam(receipt, Sending(application.correspondents, control, now))
    return OutboxItem(application.name, "zam", control, reference, body, 0, 0, trace_id, now, now)


def fingerprint_of(message: er7.Message) -> str:
    """Give the SHA-256 of what a message asks: all but MSH and EVN, whose dates move when it is sent again."""
    digest = hashlib.sha256(message.header.raw(9).encode("utf-8", "replace"))
    for one in message.segments:
        if one.name not in ("MSH", "EVN"):
            for field in one.fields:
                digest.update(b"\x00" + field.encode("utf-8", "replace"))
            digest.update(b"\x01")
    return digest.hexdigest()


def peek(content: bytes) -> er7.Segment | None:
    """Read what can be read of MSH in a message that cannot be read whole; None when nothing can."""
    line = content[:4096].removeprefix(b"\xef\xbb\xbf").replace(b"\n", b"\r").partition(b"\r")[0]
    try:
        return er7.parse(line, er7.Limits(), default_charset="iso-8859-15").header
    except Hl7Fault:
        return None


def _code(fault: MssFault) -> str:
    """Give the code of table 0357 that a refusal is told with."""
    return str(int(fault.code if isinstance(fault, Hl7Fault) else Hl7Code.INTERNAL))


def _problem(fault: Hl7Fault) -> Problem:
    words = f"{fault.public} -> {fault.remedy}" if fault.remedy else fault.public
    own = fault.code is Hl7Code.INTERNAL
    return Problem(fault.code, fault.place, (fault.rule, fault.public[:MAX_WORDS], "MSSANTE") if own else None,
                   f"{words} [{fault.rule}]"[:MAX_WORDS * 2])


def _problems(fault: HandOverRefused) -> tuple[Problem, ...]:
    """Give an ERR for the refusal, and one for each recipient that is its cause: by rank, without his address."""
    words = f"{fault.public} -> {fault.remedy}" if fault.remedy else fault.public
    whole = Problem(Hl7Code.INTERNAL, application=(fault.rule, fault.public[:MAX_WORDS], "MSSANTE"),
                    words=f"{words} [{fault.rule}]"[:MAX_WORDS * 2])
    each = [Problem(Hl7Code.INTERNAL, Place("PRT"), (rule, text[:MAX_WORDS], "MSSANTE"), f"{text} [{rule}]"[:MAX_WORDS * 2])
            for _, rule, text in fault.recipients[:20]]
    return (whole, *each)
