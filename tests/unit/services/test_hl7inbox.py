"""Out to the applications: documents as MDM, reports as ZAM, refusals as MDN to the sender and in the repair list."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from support.handing import INS, NAMES, cda, cda_request, desk
from support.hl7 import answer_to, application, order, read, settings
from support.smtp_stage import ALICE, BOB, SmtpStage, build
from support.smtp_stage import NOW as _NOW

from mssante.documents.cda import InstanceId, read_header
from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts
from mssante.errors import OperatorFault
from mssante.ids import new_trace_id
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.hl7v2.cisis import read_answer
from mssante.protocol.hl7v2.er7 import Message
from mssante.protocol.mime.compose import Attachment, Letter, letter
from mssante.protocol.mime.imapview import facts
from mssante.protocol.reports.dsn import DsnAction, DsnRecipient, DsnRequest, build_dsn
from mssante.protocol.reports.mdn import MdnError, MdnRequest, MdnType, build_mdn, parse_mdn
from mssante.services.handed import HandedCda
from mssante.services.hl7gateway import Gateway, GatewayParts
from mssante.services.hl7inbox import Inbox, InboxParts, InboxSettings
from mssante.services.hl7outbox import Outbox, OutboxParts, OutboxSettings
from mssante.services.hl7replies import Replies, ReplySettings
from mssante.services.hl7values import Caller
from mssante.storage.handover import HandedRecipient
from mssante.storage.interfaces import Acceptance, Filing
from mssante.storage.interfacing import CLOSED, OPEN, RETRIED, TOLD

REMOTE = "docteur@a.mssante.fr"
HERE = Caller.of("127.0.0.1")
UNKNOWN = "ERR||PID^1^3|207^Application error^messageErrorCondition|E|902^Identifiant de patient inconnu^applicationErrorCode"
SYNTAX = "ERR||MSH^1^12|203^Unsupported version id^messageErrorCondition|E"


class Link:
    """An application that takes messages, with what it is told to answer."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.answers: list[Any] = []

    async def exchange(self, content: bytes) -> bytes:
        self.got.append(content)
        answer = self.answers.pop(0) if self.answers else ("AA", "")
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else answer_to(content, answer[0], error=answer[1])

    async def close(self) -> None:
        self.got.append(b"closed")


class Rig:
    """Everything of the gateway on a stage: Alice's mailbox is the application's, Bob is a doctor of ours."""

    def __init__(self, stage: SmtpStage, **changes: Any) -> None:
        self.stage, self.link = stage, Link()
        self.app = application(ALICE, **changes)
        self.handover: Any = desk(stage)
        self.gateway = Gateway(GatewayParts(stage.stores, stage.clock, self.handover, (self.app,), settings(), lambda _: None))
        replies = Replies(stage.context, stage.stores, stage.clock, stage.executor,
                          ReplySettings(timedelta(hours=48), frozenset({"hopital.mssante.fr"})))
        self.inbox = Inbox(InboxParts(stage.stores, stage.clock, stage.executor, (self.app,), stage.evidence.address, lambda _: None,
                                      InboxSettings(True, 5.0, timedelta(days=90)), replies))
        self.outbox = Outbox(self.app, self.link, OutboxParts(
            stage.stores, stage.clock, replies, OutboxSettings(timedelta(seconds=5), timedelta(seconds=60), 5.0)))

    async def arrive(self, raw: bytes, sender: str = REMOTE, to: str = ALICE) -> str:
        """File a message as reception does; give its trace."""
        trace, box = new_trace_id(), self.stage.mailboxes[to]
        path = f"Return-Path: <{sender}>\r\n".encode()
        message = NewMessage(StagedBody(len(raw), "0" * 64, inline=raw), path, facts(raw), trace, self.stage.clock.now())
        event = JournalEvent(JournalKind.RECEIVED, self.stage.clock.now(), trace, sender, {"from": sender, "to": to})
        await self.stage.mailroom.accept((Acceptance(message, (Filing(box.inbox_id),), None, (event,)),))
        return trace

    async def structured(self, *documents: bytes, sender: str = BOB, **changes: Any) -> None:
        """Bob sends documents to the application."""
        await self.handover.accept(cda_request(**{
            "mailbox": sender, "to": (ALICE,), "documents": tuple(HandedCda(one) for one in documents or (cda(),)),
            "read_receipt": True, **changes}))

    async def follow(self) -> None:
        while await self.inbox.step():
            pass

    async def give(self) -> None:
        while not await self.outbox.step():
            pass

    async def rows(self) -> list[tuple[str, str, str]]:
        stores = self.stage.stores
        found = await stores.database.read(lambda tx: stores.interfacing.items(tx))
        return [(one.kind, one.state, one.detail) for one in reversed(found)]

    async def repairs(self, state: str = "") -> list[Any]:
        stores = self.stage.stores
        return await stores.database.read(lambda tx: stores.interfacing.repairs(tx, state))

    async def change(self, item: Any) -> None:
        stores = self.stage.stores
        await stores.database.write(lambda tx: stores.interfacing.set_repair(tx, item))

    def told(self) -> list[Message]:
        return [read(one) for one in self.link.got if one != b"closed"]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    stage = await build(tmp_path)
    made = Rig(stage)
    await made.inbox.open()
    yield made
    await stage.close()


async def sent_order(rig: Rig, *recipients: str, **changes: Any) -> str:
    """The application sends; gives the Message-ID."""
    raw = await rig.gateway.take(order(recipients or (REMOTE,), **changes), HERE)
    assert read_answer(read(raw)).code == "AA"
    (record,) = await rig.stage.stores.database.read(
        lambda tx: rig.stage.stores.handover.by_trace(tx, [one.trace_id for one in rig.stage.stores.journal.after(tx, 0, 500)
                                                          if one.kind == "interface_taken"]))
    return str(record.reference)


def dsn(reference: str, action: DsnAction, status: str = "2.0.0", diagnostic: str = "", address: str = REMOTE) -> bytes:
    original = f"Message-ID: {reference}\r\n\r\n".encode()
    return build_dsn(DsnRequest(parse_envelope_address(ALICE), "a.mssante.fr", "mx.a.mssante.fr", (
        DsnRecipient(parse_envelope_address(address), action, status, diagnostic=diagnostic),), original, _NOW, "t" * 26))


def mdn(reference: str, *, error: str = "", disposition: MdnType = MdnType.PROCESSED, reader: str = REMOTE) -> bytes:
    who = parse_envelope_address(reader)
    return build_mdn(MdnRequest(who, parse_envelope_address(ALICE), who, reference, "XDM/1.0/DDM+x", "texte", _NOW, "m" * 26, "lps; 1",
                                disposition=disposition, error=MdnError(error, "libelle de l'autre") if error else None))


# -------------------------------------------------------------------------------------------------- documents

async def test_a_document_becomes_an_mdm_and_its_sender_is_told(rig: Rig) -> None:
    document = cda(replaces=(InstanceId("2.25.5", "old"),), id=InstanceId("2.25.7", "new"))
    await rig.structured(document, masking=("INVISIBLE_PATIENT",), text="Voici", reply_to=REMOTE)
    await rig.follow()
    await rig.give()
    (message,) = rig.told()
    assert message.header.raw(9) == "MDM^T10^MDM_T02"
    assert [one.name for one in message.segments] == ["MSH", "EVN", "PID", "PV1", "ORC", "OBR", "TXA", "OBX", "PRT", "PRT", "PRT",
                                                      "OBX", "OBX", "OBX", "OBX", "OBX"]
    assert base64.b64decode(message.all("OBX")[0].text(5, 5)) == document, "byte for byte"
    assert (message.all("OBX")[0].text(11), message.first("ORC").text(1)) == ("C", "RO")  # type: ignore[union-attr]
    txa = message.first("TXA")
    assert txa is not None
    assert (txa.raw(12), txa.raw(13)) == ("new^^2.25.7^ISO", "old^^2.25.5^ISO")
    assert [one.text(15, 4) for one in message.all("PRT")] == [BOB, ALICE, REMOTE]
    pid = message.first("PID")
    assert pid is not None
    header = read_header(document)
    assert [one.split("^")[0] for one in pid.repetitions(3)] == [one.extension for one in header.patient.ids]
    assert (pid.text(5), pid.text(5, 2), pid.text(7), pid.text(8)) == (*NAMES, "19790328", "F")
    mail = message.all("OBX")[1]
    assert base64.b64decode(mail.text(5, 5)).decode().strip() == "Voici"
    assert mail.text(3, 2).startswith("XDM/1.0/DDM+")
    assert [one.text(5) for one in message.all("OBX")[2:]] == ["N", "Y", "N", "N"]
    assert await rig.rows() == [("mdm", "given", "AA")]
    facts_ = [found for one in await rig.stage.bodies(BOB) if (found := parse_mdn(one)) is not None]
    assert [(one.disposition, one.error) for one in facts_] == [("processed", False)]
    assert await rig.repairs() == []


async def test_each_document_of_a_mail_is_a_message_and_the_sender_is_told_once(rig: Rig) -> None:
    await rig.structured(cda(id=InstanceId("2.25.7")), cda(id=InstanceId("2.25.8")))
    await rig.follow()
    assert [one[0] for one in await rig.rows()] == ["mdm", "mdm"]
    await rig.outbox.step()
    assert not [one for one in await rig.stage.bodies(BOB) if parse_mdn(one)], "the other is not known yet"
    await rig.give()
    assert len([one for one in await rig.stage.bodies(BOB) if parse_mdn(one)]) == 1


async def test_an_unknown_patient_goes_back_to_the_sender_with_his_documents(rig: Rig) -> None:
    await rig.structured()
    await rig.follow()
    rig.link.answers = [("AE", UNKNOWN)]
    await rig.give()
    (raw,) = [one for one in await rig.stage.bodies(BOB) if parse_mdn(one)]
    said = parse_mdn(raw)
    assert said is not None
    assert (said.disposition, said.error, said.error_code) == ("processed", True, "902")
    message = message_from_bytes(raw, policy=policy.default)
    assert str(message["Subject"]).startswith("[KO Intégration système !][902] XDM/1.0/DDM+")
    names = [one.get_filename() for one in message.iter_attachments()]
    assert "IHE_XDM.ZIP" in [str(one).upper() for one in names]
    (repair,) = await rig.repairs()
    assert (repair.code, repair.state, repair.interface) == ("902", OPEN, "dpi")
    assert await rig.rows() == [("mdm", "refused", "AE 207 902 Identifiant patient inconnu")]
    text = repr(await rig.stage.journal()) + repr(repair)
    assert INS not in text
    assert NAMES[0] not in text


async def test_an_error_nobody_asked_about_goes_as_an_ordinary_mail(rig: Rig) -> None:
    await rig.structured(read_receipt=False)
    await rig.follow()
    rig.link.answers = [("AE", UNKNOWN)]
    await rig.give()
    (body,) = await rig.stage.bodies(BOB)
    assert parse_mdn(body) is None
    message = message_from_bytes(body, policy=policy.default)
    assert message.get_content_type() == "multipart/mixed"
    assert str(message["Subject"]).startswith("[KO Intégration système !][902] ")
    assert message["Auto-Submitted"] == "auto-replied"


async def test_success_is_not_told_to_who_did_not_ask(rig: Rig) -> None:
    await rig.structured(read_receipt=False)
    await rig.follow()
    await rig.give()
    assert await rig.stage.bodies(BOB) == []
    assert await rig.rows() == [("mdm", "given", "AA")]


async def test_a_receipt_asked_for_another_address_is_not_sent(rig: Rig) -> None:
    await rig.structured(read_receipt=True)
    (body,) = await rig.stage.bodies(ALICE)
    await rig.arrive(body, sender=REMOTE)  # as if a peer sent what Bob's header says: Disposition-Notification-To differs
    await rig.follow()
    await rig.give()
    assert [one.address for one in await rig.stage.queue()] == []


async def test_a_technical_refusal_is_the_hospital_s_business(rig: Rig) -> None:
    await rig.structured()
    await rig.follow()
    rig.link.answers = [("AE", SYNTAX)]
    await rig.give()
    assert await rig.stage.bodies(BOB) == []
    (repair,) = await rig.repairs()
    assert (repair.code, repair.detail) == ("203", "AE 203")


async def test_a_passing_refusal_and_silence_keep_the_order(rig: Rig) -> None:
    await rig.structured(cda(id=InstanceId("2.25.7")), cda(id=InstanceId("2.25.8")))
    await rig.follow()
    rig.link.answers = [("AR", ""), OperatorFault("gone", rule="HL7-INJOIGNABLE"), b"garbage", answer_to(order((REMOTE,)))]
    for attempt in range(4):
        assert await rig.outbox.step() > 0
        assert await rig.outbox.step() > 0, "not before its time"
        rig.stage.clock.advance(timedelta(seconds=5 * 2 ** attempt))
    await rig.give()
    sent = [one.header.text(10) for one in rig.told()]
    assert sent[:5] == [sent[0]] * 5, "the same control id, and nothing overtakes"
    assert len(set(sent)) == 2
    assert [one[1] for one in await rig.rows()] == ["given", "given"]
    assert b"closed" in rig.link.got, "behind an answer to something else"


@pytest.mark.parametrize(("text", "rule"), [
    ("Bonjour, pouvez-vous me rappeler ?", "HL7-SANS-DOCUMENT")])
async def test_what_is_not_a_document_is_for_people(rig: Rig, text: str, rule: str) -> None:
    await rig.arrive(letter(Letter(MailAddress("docteur", "a.mssante.fr"), (parse_envelope_address(ALICE),), "Question", text, _NOW,
                                   "<q@a.mssante.fr>", "b" * 26)))
    await rig.follow()
    (repair,) = await rig.repairs()
    assert (repair.code, repair.state) == (rule, OPEN)
    assert await rig.rows() == []
    assert len(await rig.stage.bodies(ALICE)) == 1, "it stays in the mailbox"


async def test_a_document_whose_metadata_say_deprecated_is_deleted(rig: Rig) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    made = structured_letter([cda()], SenderFacts("2.25.1", "Cabinet"), now=now)
    archive = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made.attachments[0].content)) as old, zipfile.ZipFile(archive, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("METADATA.XML"):
                head, mark, rest = content.partition(b"<rim:ExtrinsicObject") if b"<rim:" in content else content.partition(
                    b"<ExtrinsicObject")
                assert mark
                content = head + mark + rest.replace(b"StatusType:Approved", b"StatusType:Deprecated", 1)
            new.writestr(name, content)
    await rig.arrive(letter(Letter(MailAddress("docteur", "a.mssante.fr"), (parse_envelope_address(ALICE),), made.subject, "x", now,
                                   "<d@a.mssante.fr>", "b" * 26,
                                   attachments=(Attachment("IHE_XDM.ZIP", "application/zip", archive.getvalue()),))))
    await rig.follow()
    await rig.give()
    (message,) = rig.told()
    assert (message.header.text(9, 2), message.first("ORC").text(1), message.all("OBX")[0].text(11)) == ("T04", "CA", "D")  # type: ignore[union-attr]


async def test_an_altered_archive_is_for_people(rig: Rig) -> None:
    await rig.structured()
    (body,) = await rig.stage.bodies(ALICE)
    await rig.arrive(body.replace(b"UEsDB", b"UEsEB", 1))
    await rig.follow()
    (repair,) = await rig.repairs()
    assert repair.code.startswith(("ZIP", "XDM"))
    assert [one[0] for one in await rig.rows()] == ["mdm"], "the first one alone"


async def test_an_automatic_answer_without_document_is_no_work_for_people(rig: Rig) -> None:
    await rig.arrive(letter(Letter(MailAddress("docteur", "a.mssante.fr"), (parse_envelope_address(ALICE),), "Absence", "x", _NOW,
                                   "<q@a.mssante.fr>", "b" * 26, headers=(("Auto-Submitted", "auto-replied"),))))
    await rig.follow()
    assert await rig.repairs() == []


async def test_a_mailbox_whose_documents_are_not_given(tmp_path: Path) -> None:
    stage = await build(tmp_path)
    rig = Rig(stage, deliver=False)
    await rig.inbox.open()
    await rig.structured()
    await rig.follow()
    assert (await rig.rows(), await rig.repairs()) == ([], [])
    await stage.close()


async def test_an_application_that_is_given_nothing_costs_nothing_and_later_begins_with_what_comes(tmp_path: Path) -> None:
    stage = await build(tmp_path)
    rig = Rig(stage, gives=False, deliver=False)
    await rig.inbox.open()
    await rig.structured()
    assert await rig.inbox.step() == 0
    await Rig(stage, gives=False, deliver=False).inbox.open()  # started again meanwhile
    later = Rig(stage)
    await later.inbox.open()
    await later.follow()
    assert await later.rows() == [], "what came when it was not asked for is not given"
    await later.structured(key="2")
    await later.follow()
    assert [kind for kind, _, _ in await later.rows()] == ["mdm"]
    await stage.close()


async def test_a_batch_read_again_after_a_crash_doubles_nothing(rig: Rig) -> None:
    await rig.structured()
    await rig.arrive(letter(Letter(MailAddress("docteur", "a.mssante.fr"), (parse_envelope_address(ALICE),), "Q", "x", _NOW,
                                   "<q@a.mssante.fr>", "b" * 26)))
    stores, now = rig.stage.stores, rig.stage.clock.now()
    place = await stores.database.read(lambda tx: stores.cursors.get(tx, "hl7"))
    await rig.follow()
    (repair,) = await rig.repairs()
    await rig.change(replace(repair, state=CLOSED))
    await stores.database.write(lambda tx: stores.cursors.move(tx, "hl7", place or 0, now))
    await rig.follow()
    assert len(await rig.rows()) == 1
    assert [one.state for one in await rig.repairs()] == [CLOSED]


async def test_a_repaired_message_is_given_again(rig: Rig) -> None:
    await rig.structured()
    await rig.follow()
    rig.link.answers = [("AE", SYNTAX)]
    await rig.give()
    (repair,) = await rig.repairs()
    await rig.change(replace(repair, state=RETRIED))
    await rig.inbox.retry()
    await rig.give()
    assert [one[1] for one in await rig.rows()] == ["given"]
    assert [one.state for one in await rig.repairs()] == [CLOSED]
    first, second = rig.told()
    assert first.header.text(10) != second.header.text(10), "an application that refused one id may repeat its answer"


async def test_a_retry_that_cannot_be(rig: Rig) -> None:
    await rig.arrive(letter(Letter(MailAddress("docteur", "a.mssante.fr"), (parse_envelope_address(ALICE),), "Q", "x", _NOW,
                                   "<q@a.mssante.fr>", "b" * 26)))
    await rig.follow()
    (repair,) = await rig.repairs()
    await rig.change(replace(repair, state=RETRIED))
    await rig.inbox.retry()
    assert [(one.state, one.code) for one in await rig.repairs()] == [(OPEN, "HL7-SANS-DOCUMENT")]
    stores = rig.stage.stores

    def gone(tx: Any) -> None:
        made = stores.interfacing.add_repair(tx, replace(repair, message_id=424_242))
        stores.interfacing.set_repair(tx, replace(repair, id=made, state=RETRIED))
        other = stores.interfacing.add_repair(tx, replace(repair, interface="ris", message_id=5))
        stores.interfacing.set_repair(tx, replace(repair, id=other, state=RETRIED))

    await stores.database.write(gone)
    await rig.inbox.retry()
    assert [(one.state, one.code) for one in (await rig.repairs())[1:]] == [(OPEN, "MESSAGE-ABSENT"), (OPEN, "HL7-APPLICATION")]


async def test_what_a_person_decides_is_told_to_the_sender(rig: Rig) -> None:
    await rig.structured()
    await rig.follow()
    rig.link.answers = [("AE", SYNTAX)]
    await rig.give()
    (repair,) = await rig.repairs()
    await rig.change(replace(repair, state=TOLD, code="904"))
    await rig.inbox.tell()
    (raw,) = await rig.stage.bodies(BOB)
    said = parse_mdn(raw)
    assert said is not None
    assert said.error_code == "904"
    assert [one.state for one in await rig.repairs()] == [CLOSED]
    await rig.inbox.tell()
    assert len(await rig.stage.bodies(BOB)) == 1


# ---------------------------------------------------------------------------------------------------- reports

@pytest.mark.parametrize(("action", "status", "diagnostic", "value", "code"), [
    (DsnAction.DELIVERED, "2.0.0", "", "Y", ""), (DsnAction.RELAYED, "2.0.0", "", "Y", ""),
    (DsnAction.FAILED, "5.1.1", "550 5.1.1 inconnu", "N", "550"), (DsnAction.FAILED, "5.2.2", "", "N", "552"),
    (DsnAction.FAILED, "5.9.9", "599 x", "N", "554")])
async def test_a_delivery_report_becomes_z02(rig: Rig, action: DsnAction, status: str, diagnostic: str, value: str, code: str) -> None:
    reference = await sent_order(rig)
    await rig.arrive(dsn(reference, action, status, diagnostic), sender="")
    await rig.follow()
    await rig.give()
    (message,) = rig.told()
    assert message.header.raw(9) == "ZAM^Z02^ZAM_Z01"
    assert [(one.text(3), one.text(4), one.text(5) or one.text(5, 4)) for one in message.all("OBX")] == [
        ("ACK_RECEPTION_MSS", "M0001", value), ("DESTINATAIRE_MSS", "", REMOTE)]
    err = message.first("ERR")
    assert (err.text(5) if err is not None else "") == code
    assert await rig.rows() == [("zam", "given", "AA")]


async def test_a_delay_says_nothing_and_a_report_twice_is_told_once(rig: Rig) -> None:
    reference = await sent_order(rig)
    for _ in range(2):
        await rig.arrive(dsn(reference, DsnAction.DELAYED, "4.4.1"), sender="")
        await rig.arrive(dsn(reference, DsnAction.DELIVERED), sender="")
    await rig.follow()
    assert len(await rig.rows()) == 1


async def test_our_own_report_about_a_local_recipient(rig: Rig) -> None:
    await sent_order(rig, BOB)
    await rig.follow()
    await rig.give()
    (message,) = rig.told()
    assert (message.header.raw(9), message.all("OBX")[0].text(5)) == ("ZAM^Z02^ZAM_Z01", "Y")


async def test_a_failure_is_told_even_when_no_receipt_was_asked(rig: Rig) -> None:
    reference = await sent_order(rig, flags={"ACK_RECEPTION": "N", "ACK_LECTURE_MSS": "N"})
    await rig.arrive(dsn(reference, DsnAction.DELIVERED), sender="")
    await rig.arrive(dsn(reference, DsnAction.FAILED, "5.1.1", "550 non"), sender="")
    await rig.follow()
    await rig.give()
    (message,) = rig.told()
    assert message.all("OBX")[0].text(5) == "N"


@pytest.mark.parametrize(("changes", "value", "code"), [
    ({}, "Y", ""), ({"disposition": MdnType.DISPLAYED}, "Y", ""), ({"disposition": MdnType.DISPATCHED}, "Y", ""),
    ({"disposition": MdnType.DELETED}, "N", "906"), ({"error": "902"}, "N", "902"), ({"error": "207"}, "N", "906")])
async def test_a_notification_becomes_z03(rig: Rig, changes: dict[str, Any], value: str, code: str) -> None:
    reference = await sent_order(rig)
    await rig.arrive(mdn(reference, **changes))
    await rig.follow()
    await rig.give()
    (message,) = rig.told()
    assert message.header.raw(9) == "ZAM^Z03^ZAM_Z01"
    assert [(one.text(3), one.text(4), one.text(5) or one.text(5, 4)) for one in message.all("OBX")] == [
        ("ACK_LECTURE_MSS", "M0001", value), ("LECTEUR_MSS", "", REMOTE)]
    err = message.first("ERR")
    assert (err.text(5) if err is not None else "") == code
    assert "libelle de l'autre" not in repr(message), "their label may quote an identity"


async def test_an_error_as_an_ordinary_mail_becomes_z03(rig: Rig) -> None:
    reference = await sent_order(rig)
    await rig.arrive(letter(Letter(
        MailAddress("docteur", "a.mssante.fr"), (parse_envelope_address(ALICE),),
        "[Erreur d’intégration !][904] XDM/1.0/DDM+CR", "x", _NOW, "<e@a.mssante.fr>", "b" * 26, headers=(("In-Reply-To", reference),))))
    await rig.follow()
    await rig.give()
    (message,) = rig.told()
    assert (message.header.raw(9), message.first("ERR").text(5)) == ("ZAM^Z03^ZAM_Z01", "904")  # type: ignore[union-attr]
    assert await rig.repairs() == []


async def test_an_error_return_about_nothing_known_gives_no_document(rig: Rig) -> None:
    made = structured_letter([cda()], SenderFacts("2.25.1", "Cabinet"), now=_NOW)
    await rig.arrive(letter(Letter(
        MailAddress("docteur", "a.mssante.fr"), (parse_envelope_address(ALICE),), f"[KO Intégration système !][902] {made.subject}", "x",
        _NOW, "<d@a.mssante.fr>", "b" * 26, attachments=(Attachment("IHE_XDM.ZIP", "application/zip", made.attachments[0].content),))))
    await rig.follow()
    assert await rig.rows() == []
    assert [one.code for one in await rig.repairs()] == ["HL7-RETOUR"]


async def test_one_message_that_cannot_be_treated_does_not_stop_the_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.structured(cda(id=InstanceId("2.25.7")))
    await rig.structured(cda(id=InstanceId("2.25.8")), key="cle-2")
    seen: list[int] = []
    convert = rig.inbox._convert

    def broken(application_: Any, box: Any, stored: Any) -> Any:
        seen.append(stored.id)
        if len(seen) == 1:
            raise RuntimeError(INS)
        return convert(application_, box, stored)

    monkeypatch.setattr(rig.inbox, "_convert", broken)
    await rig.follow()
    assert [one.code for one in await rig.repairs()] == ["HL7-FAUTE"]
    assert len(await rig.rows()) == 1

    async def gone(*_: Any) -> Any:
        raise OperatorFault("no such blob", rule="BLOB-MISSING")

    await rig.structured(cda(id=InstanceId("2.25.9")), key="cle-3")
    monkeypatch.setattr(rig.inbox, "_converted", gone)
    await rig.follow()
    assert [one.code for one in await rig.repairs()] == ["HL7-FAUTE", "BLOB-MISSING"]
    for one in await rig.repairs():
        await rig.change(replace(one, state=RETRIED))
    await rig.inbox.retry()
    assert [(one.code, one.state) for one in await rig.repairs()] == [("BLOB-MISSING", OPEN)] * 2

    async def wounded(*_: Any) -> Any:
        raise RuntimeError(INS)

    monkeypatch.setattr(rig.outbox._replies, "about", wounded)
    await rig.give()
    assert [one[1] for one in await rig.rows()] == ["given"]


async def test_reports_that_are_not_believed(rig: Rig) -> None:
    reference = await sent_order(rig)
    await rig.arrive(mdn(reference, reader="autre@b.mssante.fr"))  # no recipient
    await rig.arrive(mdn(f"<{'0' * 26}@hopital.mssante.fr>"))  # another message
    await rig.arrive(mdn(reference.replace("@", "x@")))
    await rig.arrive(mdn(reference).replace(b"From: docteur@a.mssante.fr", b"From: docteur@b.mssante.fr"))  # another domain speaks
    await rig.arrive(dsn(reference, DsnAction.DELIVERED, address="autre@a.mssante.fr"), sender="")
    await rig.follow()
    assert await rig.rows() == []


async def test_the_samples_of_the_field(rig: Rig, shared_dir: Path) -> None:
    """The two notifications of data/mail, about our message: read as the expected file says."""
    bruno = "bruno.exemple-deux@medecin.operateur-a.mssante.fr"
    reference = await sent_order(rig)
    stores = rig.stage.stores
    record = (await stores.database.read(lambda tx: stores.handover.by_trace(tx, [reference.strip("<>").partition("@")[0]])))[0]
    await stores.database.write(lambda tx: stores.handover.set_states(tx, [HandedRecipient(record.id, bruno, "queued", _NOW)]))
    for name in ("mdn-processed.eml", "mdn-error-902.eml"):
        raw = (shared_dir / "data" / "mail" / name).read_bytes().replace(b"<essai-s1@operateur-a.mssante.fr>", reference.encode())
        await rig.arrive(raw)
    await rig.follow()
    await rig.give()
    assert [(one.all("OBX")[0].text(5), one.first("ERR").text(5) if one.first("ERR") else "") for one in rig.told()] == [  # type: ignore[union-attr]
        ("Y", ""), ("N", "902")]
