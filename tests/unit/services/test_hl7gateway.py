"""The gateway: orders become mail once, refusals are told with code and place, nothing is half done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from support.handing import INS, NAMES, cda, desk
from support.hl7 import HERE, application, order, pdf_order, read, settings
from support.smtp_stage import ALICE, BOB, SmtpStage, build

from mssante.documents.cda import InstanceId
from mssante.documents.ins import ins_key
from mssante.documents.versions import Asked, message_steps
from mssante.errors import OperatorFault
from mssante.model.journal import JournalKind
from mssante.protocol.hl7v2.cisis import Answer, read_answer
from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault
from mssante.services.handed import HandedDocument, HandedIn
from mssante.services.hl7gateway import Gateway, GatewayParts, fingerprint_of, peek
from mssante.services.hl7values import Caller

REMOTE = "docteur@a.mssante.fr"
CITIZEN = f"{INS}@patient.mssante.fr"


class Rig:
    """A gateway on a stage."""

    def __init__(self, stage: SmtpStage, **changes: Any) -> None:
        self.stage = stage
        self.rung: list[str] = []
        self.handover: Any = desk(stage)
        self.gateway = Gateway(GatewayParts(stage.stores, stage.clock, self.handover, (application(ALICE, **changes),), settings(),
                                            self.rung.append))

    async def take(self, raw: bytes, caller: Caller = HERE) -> Answer:
        self.raw = await self.gateway.take(raw, caller)
        return read_answer(read(self.raw))

    async def outbox(self) -> list[Any]:
        stores = self.stage.stores
        found = await stores.database.read(lambda tx: stores.interfacing.head(tx, "dpi"))
        return [] if found is None else [found]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def rig(stage: SmtpStage) -> Rig:
    return Rig(stage)


async def test_an_order_becomes_a_message_and_is_answered(rig: Rig) -> None:
    assert await rig.take(order((REMOTE, BOB), reply="secretariat@a.mssante.fr", texts={"CORPSMAIL_PS": "Bien à vous"})) == Answer(
        "AA", "M0001")
    (body,) = await rig.stage.bodies(BOB)
    assert b"X-MSS-CODECDA: 11488-4\r\n" in body
    assert b"Reply-To: secretariat@a.mssante.fr" in body
    assert b"Disposition-Notification-To: alice@hopital.mssante.fr" in body
    assert b"IHE_XDM" in body
    (item,) = await rig.stage.queue()
    assert item.address == REMOTE
    (taken,) = await rig.stage.journal(JournalKind.INTERFACE_TAKEN)
    assert taken.payload == {"control_id": "M0001", "type": "MDM^T02", "documents": 1}
    assert taken.subject == "dpi"


async def test_the_same_message_gets_the_same_answer_and_leaves_once(rig: Rig) -> None:
    await rig.take(order((REMOTE,)))
    first = rig.raw
    await rig.take(order((REMOTE,), date="20260301120500"))
    assert rig.raw == first, "its date moved, what it asks did not"
    assert len(await rig.stage.queue()) == 1
    again = await asyncio.gather(*[rig.gateway.take(order((REMOTE,), control="M2"), HERE) for _ in range(5)])
    assert len(set(again)) == 1
    assert len(await rig.stage.queue()) == 2


async def test_the_same_control_id_with_another_content_is_refused(rig: Rig) -> None:
    await rig.take(order((REMOTE,)))
    answer = await rig.take(order((REMOTE,), texts={"CORPSMAIL_PS": "autre"}))
    assert (answer.code, answer.condition, answer.application) == ("AE", "207", "HL7-DOUBLON")
    assert len(await rig.stage.queue()) == 1


async def test_a_crash_behind_the_acceptance_sends_nothing_twice(rig: Rig) -> None:
    """The hand-over is committed, the message is not remembered yet: the application sends it again."""
    class Dying:
        async def accept(self, request: HandedDocument) -> HandedIn:
            await rig.handover.accept(request)
            raise OperatorFault("killed here", rule="KILL")

    parts = rig.gateway._parts
    rig.gateway._parts = replace(parts, handover=Dying())  # type: ignore[arg-type]
    answer = await rig.take(order((REMOTE,), flags={"DESTMSSANTEPAT": ""}))
    assert (answer.code, answer.condition) == ("AR", "207")
    rig.gateway._parts = parts
    assert (await rig.take(order((REMOTE,), flags={"DESTMSSANTEPAT": ""}))).code == "AA"
    assert len(await rig.stage.queue()) == 1


async def test_professionals_and_the_citizen_get_messages_of_their_own(rig: Rig) -> None:
    raw = order((REMOTE, CITIZEN), flags={"DESTMSSANTEPAT": "Y"}, final=True,
                texts={"CORPSMAIL_PS": "Confrere", "CORPSMAIL_PATIENT": "Bonjour a vous"})
    assert (await rig.take(raw)).code == "AA"
    by_address = {item.address: item for item in await rig.stage.queue()}
    assert set(by_address) == {REMOTE, CITIZEN}
    assert by_address[REMOTE].message_id != by_address[CITIZEN].message_id
    bodies = {}
    for address, item in by_address.items():
        (stored,) = await rig.stage.stores.database.read(
            lambda tx, one=item: rig.stage.stores.messages.contents(tx, [one.message_id], with_body=True))
        bodies[address] = stored.inline or rig.stage.stores.blobs.read(stored.blob or "")
    assert b"X-MSS-MES: FIN" in bodies[CITIZEN]
    assert b"Bonjour a vous" in bodies[CITIZEN]
    assert b"X-MSS-MES" not in bodies[REMOTE]
    assert CITIZEN.encode() not in bodies[REMOTE]


async def test_a_pdf_becomes_a_document_of_level_1(rig: Rig) -> None:
    assert (await rig.take(pdf_order((BOB,)))).code == "AA"
    (body,) = await rig.stage.bodies(BOB)
    assert b"X-MSS-INS: O" in body


async def test_a_replacement_leaves_and_so_does_a_deletion(rig: Rig) -> None:
    replacing = cda(replaces=(InstanceId("2.25.1"),))
    assert (await rig.take(order((BOB,), event="T10", order="RO", status="C", content=replacing))).code == "AA"
    answer = await rig.take(order((BOB,), control="M2", event="T10", order="RO", status="C"))
    assert (answer.code, answer.application) == ("AE", "HL7-REMPLACE")
    for raw in (order((BOB,), control="M3", event="T04", order="CA", status="D"),
                order((BOB,), control="M4", kind="ORU", event="R01", order="CA", status="D")):
        assert (await rig.take(raw)).code == "AA"
    replaced, *deleted = [message_steps(one)[0].asked for one in await rig.stage.bodies(BOB)]
    assert replaced is Asked.REPLACE and deleted == [Asked.DELETE] * 2, "its entry is Deprecated (spec §8.3)"


@pytest.mark.parametrize(("recipients", "flags", "rule"), [
    ((REMOTE,), {"MASQUE_PS": "Y"}, "MASQUAGE-COMBINAISON"),
    ((REMOTE,), {"INVISIBLE_REP_LEGAUX": "Y"}, "MASQUAGE-COMBINAISON"),
    ((CITIZEN,), {"INVISIBLE_PATIENT": "Y", "DESTMSSANTEPS": "N", "DESTMSSANTEPAT": "Y"}, "MASQUAGE-COMBINAISON"),
    ((CITIZEN,), {"MASQUE_PS": "Y", "DESTMSSANTEPS": "N", "DESTMSSANTEPAT": "Y", "DESTDMP": "Y"}, "MASQUAGE-COMBINAISON"),
    ((REMOTE,), {"DESTMSSANTEPS": "N"}, "HL7-DESTINATAIRE"),
    ((REMOTE, CITIZEN), {}, "HL7-DESTINATAIRE"),
    ((), {"DESTMSSANTEPS": "N", "DESTDMP": "Y"}, "HL7-DESTINATAIRE"),
])
async def test_masks_and_recipients_that_contradict_each_other(rig: Rig, recipients: tuple[str, ...], flags: dict[str, str],
                                                               rule: str) -> None:
    answer = await rig.take(order(recipients, flags=flags))
    assert (answer.code, answer.application) == ("AE", rule)
    assert await rig.stage.queue() == []


async def test_a_recipient_announced_and_absent(rig: Rig) -> None:
    answer = await rig.take(order((), flags={}))
    assert (answer.code, answer.condition) == ("AE", "101")


async def test_masked_to_professionals_the_citizen_alone_may_have_it(rig: Rig) -> None:
    raw = order((CITIZEN,), flags={"MASQUE_PS": "Y", "DESTMSSANTEPS": "N", "DESTMSSANTEPAT": "Y"})
    assert (await rig.take(raw)).code == "AA"


async def test_a_document_of_another_patient_is_refused(rig: Rig) -> None:
    other = "1790375000001"
    answer = await rig.take(order((REMOTE,), ins=f"{other}{ins_key(other):02d}"))
    assert (answer.code, answer.condition, answer.application) == ("AE", "207", "HL7-PATIENT")
    assert INS.encode() not in rig.raw


@pytest.mark.parametrize("content", [b"Document medical au format CDA niveau 1", b"<a/>", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
async def test_a_document_that_is_no_cda(rig: Rig, content: bytes) -> None:
    answer = await rig.take(order((REMOTE,), content=content))
    assert (answer.code, answer.condition) == ("AE", "102")
    assert read(rig.raw).first("ERR").raw(2) == "OBX^1^5^1^5"  # type: ignore[union-attr]


async def test_a_refused_recipient_is_named_by_rule_and_nothing_leaves(rig: Rig) -> None:
    answer = await rig.take(order((REMOTE, "personne@ailleurs.fr")))
    assert (answer.code, answer.condition) == ("AE", "207")
    errors = read(rig.raw).all("ERR")
    assert len(errors) == 2
    assert all(one.text(5) and one.text(8) for one in errors)
    assert await rig.stage.queue() == []
    (refused,) = await rig.stage.journal(JournalKind.INTERFACE_REFUSED)
    assert refused.payload["answer"] == "AE"


async def test_what_left_already_is_not_taken_back_the_application_is_told(rig: Rig) -> None:
    raw = order((CITIZEN, "personne@ailleurs.fr"), flags={"DESTMSSANTEPAT": "Y"})
    answer = await rig.take(raw)
    assert (answer.code, answer.condition) == ("AA", "207")
    assert read(rig.raw).first("ERR").text(4) == "W"  # type: ignore[union-attr]
    assert [one.address for one in await rig.stage.queue()] == [CITIZEN]
    (item,) = await rig.outbox()
    told = read(item.body)
    assert (told.header.raw(9), told.all("OBX")[0].text(5), told.all("OBX")[1].text(5, 4)) == (
        "ZAM^Z02^ZAM_Z01", "N", "personne@ailleurs.fr")
    assert rig.rung == ["dpi"]


async def test_the_dmp_is_not_fed_and_that_is_told(rig: Rig) -> None:
    assert (await rig.take(order((REMOTE,), flags={"DESTDMP": "Y"}))).code == "AA"
    (item,) = await rig.outbox()
    told = read(item.body)
    assert (told.header.raw(9), told.all("OBX")[0].text(3), told.all("OBX")[0].text(5)) == (
        "ZAM^Z01^ZAM_Z01", "ACK_RECEPTION_DMP", "N")


async def test_an_unknown_application_or_connection(rig: Rig) -> None:
    answer = await rig.take(order((REMOTE,), application="AUTRE"))
    assert (answer.code, answer.condition) == ("AE", "103")
    elsewhere = Caller(ip_address("192.0.2.1"))
    assert not rig.gateway.admits(elsewhere)
    assert (await rig.take(order((REMOTE,)), elsewhere)).condition == "103"
    assert rig.gateway.admits(HERE)


async def test_certificates_tell_who_speaks(stage: SmtpStage) -> None:
    rig = Rig(stage, networks=(), certificates=frozenset({"ab" * 32}))
    assert not rig.gateway.admits(HERE)
    assert rig.gateway.admits(Caller(HERE.address, "ab" * 32))
    both = Rig(stage, networks=(ip_network("10.0.0.0/8"),), certificates=frozenset({"ab" * 32}))
    assert not both.gateway.admits(Caller(HERE.address, "ab" * 32))


@pytest.mark.parametrize("raw", [b"", b"rien", b"MSH|", rb"MSH|^~\&|DPI" + b"\xff\r", b"\x00" * 100, rb"MSH|^~\&|\XFF\|" + b"\r"])
async def test_what_cannot_be_read_is_answered(rig: Rig, raw: bytes) -> None:
    assert (await rig.take(raw)).code == "AE"


async def test_a_broken_message_is_answered_under_its_control_id(rig: Rig) -> None:
    answer = await rig.take(order((REMOTE,)) + b"rubbish\r")
    assert (answer.code, answer.control_id, answer.condition) == ("AE", "M0001", "100")
    assert peek(order((REMOTE,))) is not None
    assert peek(b"nothing") is None


async def test_storage_that_fails_is_a_passing_reason(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(request: HandedDocument) -> HandedIn:
        raise OperatorFault("disk is full", rule="STORE-FULL")

    monkeypatch.setattr(rig.handover, "accept", full)
    answer = await rig.take(order((REMOTE,)))
    assert (answer.code, answer.application) == ("AR", "STORE-FULL")

    async def broken(request: HandedDocument) -> HandedIn:
        raise RuntimeError(INS)

    monkeypatch.setattr(rig.handover, "accept", broken)
    answer = await rig.take(order((REMOTE,)))
    assert (answer.code, answer.application) == ("AR", "HL7-FAUTE")
    assert INS.encode() not in rig.raw


async def test_a_cut_frame_is_refused_under_what_is_left_of_its_header(rig: Rig) -> None:
    raw = await rig.gateway.reject(order((REMOTE,))[:300], Hl7Fault(Hl7Code.OTHER, "trop", rule="HL7-TAILLE"))
    assert read_answer(read(raw)) == Answer("AE", "M0001", "199")


async def test_no_identity_in_answers_or_journal(rig: Rig) -> None:
    await rig.take(order((REMOTE, CITIZEN), flags={"DESTMSSANTEPAT": "Y"}))
    answers = rig.raw
    await rig.take(order((REMOTE,), control="M9", content=cda() + b"x"))
    text = repr(await rig.stage.journal()).encode() + answers + rig.raw
    for word in (INS, *NAMES):
        assert word.encode() not in text


def test_the_fingerprint_leaves_out_what_moves() -> None:
    first, later = read(order((REMOTE,))), read(order((REMOTE,), date="20270101", control="M7"))
    assert fingerprint_of(first) == fingerprint_of(later)
    assert fingerprint_of(first) != fingerprint_of(read(order((REMOTE,), kind="ORU", event="R01")))
    assert fingerprint_of(first) != fingerprint_of(read(order((BOB,))))
