"""Documents handed in by programs: one message each, once, through the rules of submission, durable with their record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from support.handing import INS, NAMES, PDF, REMOTE, cda, cda_request, desk, facts, request
from support.smtp_stage import ALICE, BOB, CITIZEN, SmtpStage, build

from mssante.documents.cda import InstanceId, read_header
from mssante.documents.xdm import unpack
from mssante.errors import StorageFull
from mssante.model.journal import JournalKind
from mssante.model.mailbox import MailboxState
from mssante.services.handover import HandedCda, HandedPdf, HandOverRefused, document_oid, source_oid


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def sent(stage: SmtpStage, address: str = ALICE) -> list[Any]:
    def unit(tx: Any) -> list[Any]:
        folders = stage.stores.folders.of_mailbox(tx, stage.mailboxes[address].id)
        folder = next(one for one in folders if one.name == "Sent")
        return stage.stores.messages.snapshot(tx, folder.id)[1]

    return await stage.stores.database.read(unit)


async def test_a_pdf_becomes_a_structured_letter_for_all_recipients(stage: SmtpStage) -> None:
    got = await desk(stage).accept(request(delivery_receipt=True, read_receipt=True, reply_to=BOB))
    assert not got.repeated and got.id == f"remise_{got.trace_id}"
    (raw,) = await stage.bodies(BOB)
    mail = message_from_bytes(raw, policy=policy.default)
    assert mail["Subject"] == "XDM/1.0/DDM+CR de consultation TESTPATIENT ALIXTEST 28/03/1979"
    assert (mail["X-MSS-CODECDA"], mail["X-MSS-INS"], mail["Message-ID"]) == ("11488-4", "O", got.message_id)
    assert (mail["Disposition-Notification-To"], mail["Reply-To"], mail["X-MSS-MES"]) == (ALICE, BOB, None)
    archive = next(part for part in mail.iter_attachments() if part.get_filename() == "IHE_XDM.ZIP")
    (document,) = unpack(archive.get_payload(decode=True)).documents
    header = read_header(document.content)
    assert header.id == document_oid("token 1", "cle-1", 0) and header.body.level == "N1"
    (pdf,) = [part for part in mail.iter_attachments() if part.get_content_type() == "application/pdf"]
    assert pdf.get_payload(decode=True) == PDF
    assert [(one.address, one.trace_id) for one in await stage.queue()] == [(REMOTE, got.trace_id)]
    assert len(await sent(stage)) == 1
    (event,) = await stage.journal(JournalKind.SUBMITTED)
    assert event.payload["login"] == "token 1" and event.trace_id == got.trace_id


async def test_a_cda_leaves_byte_for_byte(stage: SmtpStage) -> None:
    await desk(stage, nil="DEV-TEST").accept(cda_request(final=True, subject="Un objet", text="Un texte é", in_reply_to="<x@y.fr>"))
    (raw,) = await stage.bodies(BOB)
    mail = message_from_bytes(raw, policy=policy.default)
    assert (mail["Subject"], mail["X-MSS-MES"], mail["X-MSS-NIL"], mail["In-Reply-To"]) == ("Un objet", "FIN", "DEV-TEST", "<x@y.fr>")
    archive = next(part for part in mail.iter_attachments() if part.get_filename() == "IHE_XDM.ZIP")
    assert [one.content for one in unpack(archive.get_payload(decode=True)).documents] == [cda()]


async def test_the_same_key_gives_the_same_acceptance_once(stage: SmtpStage) -> None:
    one = desk(stage)
    first, *others = await asyncio.gather(*[one.accept(request()) for _ in range(8)])
    again = await desk(stage).accept(replace(request(), login="who else"))  # another life of the service
    ids = {item.id for item in (first, *others, again)}
    assert len(ids) == 1 and sum(not item.repeated for item in (first, *others, again)) == 1
    assert len(await stage.bodies(BOB)) == 1 and len(await stage.queue()) == 1


async def test_another_process_that_was_faster_is_found_out_at_the_commit(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await desk(stage).accept(request())
    real, looks = stage.stores.handover.find, iter([True])

    def blind(tx: Any, source: str, key: str) -> Any:
        return None if next(looks, False) else real(tx, source, key)

    monkeypatch.setattr(stage.stores.handover, "find", blind)
    neighbour, again = await asyncio.gather(desk(stage).accept(request(key="autre", source="token 2")), desk(stage).accept(request()))
    assert again.id == first.id and again.repeated and not neighbour.repeated
    assert len(await stage.bodies(BOB)) == 2 and len(await stage.queue()) == 2 and len(await sent(stage)) == 2


@pytest.mark.parametrize("changes", [
    {"to": (BOB,)}, {"subject": "x"}, {"text": "x"}, {"final": True}, {"masking": ("MASQUE_PS",)}, {"read_receipt": True},
    {"documents": (HandedCda(b"x"),)}, {"documents": (HandedPdf(PDF, facts(title="Autre")),)}, {"override": "x"}])
async def test_the_same_key_with_another_content_is_refused(stage: SmtpStage, changes: dict[str, Any]) -> None:
    one = desk(stage)
    await one.accept(request())
    with pytest.raises(HandOverRefused) as caught:
        await one.accept(request(**changes))
    assert caught.value.rule == "REMISE-CLE" and not caught.value.temporary
    assert len(await stage.bodies(BOB)) == 1


async def test_one_refused_recipient_refuses_all_and_the_key_stays_free(stage: SmtpStage) -> None:
    one = desk(stage)
    with pytest.raises(HandOverRefused) as caught:
        await one.accept(request(to=(BOB, "x@gmail.com", f"absent@{ALICE.partition('@')[2]}")))
    assert [(address, rule) for address, rule, _ in caught.value.recipients] == [
        ("x@gmail.com", "HORS-ESPACE"), (f"absent@{ALICE.partition('@')[2]}", "BOITE-INCONNUE")]
    assert await stage.bodies(BOB) == [] and await stage.queue() == [] and await sent(stage) == []
    assert len(await stage.journal(JournalKind.RECIPIENT_REFUSED)) == 2
    assert not (await one.accept(request())).repeated


@pytest.mark.parametrize(("changes", "rule"), [
    ({"source": ""}, "REMISE-FORME"), ({"key": "a\nb"}, "REMISE-FORME"), ({"key": "x" * 201}, "REMISE-FORME"),
    ({"to": ()}, "REMISE-FORME"), ({"documents": ()}, "REMISE-FORME"), ({"subject": "a\r\nBcc: x@y.fr"}, "REMISE-FORME"),
    ({"to": ("pas une adresse",)}, "ADR-SYNTAX"), ({"mailbox": "autre@ailleurs.fr"}, "REMISE-BOITE"),
    ({"documents": (HandedCda(b"<a/>"),)}, "CDA-ROOT"), ({"documents": (HandedPdf(b"PK", facts()),)}, "N1-PDF"),
    ({"documents": (HandedPdf(PDF, facts(title="")),)}, "N1-FAIT"), ({"masking": ("INCONNU",)}, "XDS-MASKING"),
    ({"documents": (HandedPdf(PDF, facts()), HandedCda(cda(id=InstanceId("2.25.1"), patient=replace(
        facts().patient, ins="", local_id=InstanceId("1.2.3", "autre")))))}, "LTR-PATIENT"),
    ({"to": tuple(f"u{rank}@a.mssante.fr" for rank in range(11))}, "REMISE-DESTINATAIRES"),
    ({"reply_to": "pas une adresse"}, "ADR-SYNTAX"), ({"documents": (HandedPdf(PDF + b"x" * (1 << 20), facts()),)}, "REMISE-TAILLE"),
    ({"to": (f"123@{CITIZEN}",)}, "INS-ADRESSE")])
async def test_what_is_refused(stage: SmtpStage, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(HandOverRefused) as caught:
        await desk(stage).accept(request(**changes))
    fault = caught.value
    assert fault.rule == rule and not fault.temporary
    told = f"{fault} {fault.recipients}"
    assert INS not in told and not any(name in told for name in NAMES)
    assert await stage.bodies(BOB) == [] and await stage.queue() == []


async def test_a_closed_mailbox_hands_in_nothing(stage: SmtpStage) -> None:
    await stage.set_state(ALICE, MailboxState.CLOSED)
    with pytest.raises(HandOverRefused) as caught:
        await desk(stage).accept(request())
    assert caught.value.rule == "BOITE-FERMEE"


async def test_a_full_disk_refuses_for_now_and_keeps_nothing(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    one = desk(stage)
    real = stage.stores.messages.accept

    def full(tx: Any, items: Any) -> Any:
        raise StorageFull("disk full", rule="STORE-FULL")

    monkeypatch.setattr(stage.stores.messages, "accept", full)
    with pytest.raises(StorageFull):
        await one.accept(request())
    monkeypatch.setattr(stage.stores.messages, "accept", real)
    assert not (await one.accept(request())).repeated
    assert len(await stage.bodies(BOB)) == 1


async def test_what_became_of_it_holds_no_identity(stage: SmtpStage) -> None:
    one = desk(stage)
    got = await one.accept(request(to=(BOB, REMOTE, f"{INS}@{CITIZEN}")))
    found = await one.find(got.id)
    assert found is not None and await one.find("remise_x") is None
    record, states = found
    assert {state.address: state.state for state in states if CITIZEN not in state.address} == {BOB: "delivered", REMOTE: "queued"}
    assert INS not in repr(found) and not any(name in repr((record.facts, states)) for name in NAMES)
    assert record.facts["documents"] == 1 and len(record.facts["to"]) == 3


def test_identifiers_made_here_are_oids_and_stable() -> None:
    assert source_oid("1.2.3", "h") == "1.2.3" and source_oid("", "h") == source_oid("", "h") != source_oid("", "i")
    assert len(source_oid("", "h")) <= 36 and source_oid("", "h").startswith("2.25.")
    assert document_oid("a", "b", 0) != document_oid("a", "b", 1) and len(document_oid("a", "b", 0).root) <= 64
