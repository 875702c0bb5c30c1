"""Masking and opposition at the departure of any message: programs and mail clients, refusals, reasons that pass over them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.handing import INS, NAMES, REMOTE, cda_request, desk, request
from support.smtp_stage import ALICE, BOB, CITIZEN, PASSWORD, SmtpStage, Wire, build, message
from support.structured_mail import archive, mail, structured

from mssante.documents.faults import DocumentFault
from mssante.documents.masking import Departing, departing
from mssante.errors import InputFault
from mssante.model.journal import JournalKind
from mssante.services.handover import HandOver, HandOverRefused
from mssante.services.masking import MaskingCheck, MaskingParts
from mssante.services.opposition import Oppositions, hide_numbers
from mssante.services.workshop import Workshop, WorkshopLimits

PATIENT = f"{INS}@{CITIZEN}"
REASON = "urgence vitale, accord du patient"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def logged_in(stage: SmtpStage) -> Wire:
    wire = await stage.connect(await stage.open("submissions"), tls=True)
    await wire.reply()
    word = b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
    await wire.asks("EHLO poste", f"AUTH PLAIN {word}")
    return wire


@pytest.fixture
def oppositions(stage: SmtpStage) -> Oppositions:
    return Oppositions(stage.stores, stage.clock, b"k" * 32)


@pytest.fixture
def handover(stage: SmtpStage, oppositions: Oppositions) -> HandOver:
    one = desk(stage)
    stage.context.departure.checks.append(MaskingCheck(MaskingParts(
        oppositions, one.derogations, stage.executor, stage.evidence, CITIZEN, True)))
    return one


@pytest.mark.parametrize(("masking", "to", "rule"), [
    ((), (BOB, REMOTE, PATIENT), ""), (("MASQUE_PS",), (PATIENT,), ""), (("MASQUE_PS",), (REMOTE,), "MASQUAGE-PS"),
    (("MASQUE_PS",), (BOB, PATIENT), "MASQUAGE-PS"), (("INVISIBLE_PATIENT",), (BOB, REMOTE), ""),
    (("INVISIBLE_PATIENT",), (PATIENT,), "MASQUAGE-PATIENT"), (("INVISIBLE_PATIENT",), (BOB, PATIENT), "MASQUAGE-PATIENT"),
    (("INVISIBLE_REPRESENTANTS_LEGAUX",), (PATIENT,), ""), (("INVISIBLE_REPRESENTANTS_LEGAUX",), (BOB,), "MASQUAGE-PS"),
    (("MASQUE_PS", "INVISIBLE_PATIENT"), (BOB,), "MASQUAGE-COMBINAISON")])
async def test_the_matrix_at_departure(stage: SmtpStage, handover: HandOver, masking: tuple[str, ...], to: tuple[str, ...],
                                       rule: str) -> None:
    asked = cda_request(to=to, masking=masking)
    if not rule:
        await handover.accept(asked)
        return
    with pytest.raises(HandOverRefused) as caught:
        await handover.accept(asked)
    assert caught.value.rule == rule and not caught.value.temporary
    assert await stage.queue() == [] and await stage.bodies(BOB) == []
    assert not any(word in f"{caught.value}" for word in (INS, *NAMES))


@pytest.mark.parametrize(("scope", "to", "refused"), [
    ("all", (BOB,), True), ("all", (PATIENT,), True), ("citizen", (PATIENT,), True), ("citizen", (BOB, REMOTE), False),
    ("professionals", (REMOTE,), True), ("professionals", (PATIENT,), False), ("professionals", (BOB, PATIENT), True)])
async def test_oppositions(handover: HandOver, oppositions: Oppositions, scope: str, to: tuple[str, ...], refused: bool) -> None:
    await oppositions.add(INS, scope, by="accueil", reason="demande du patient")
    if not refused:
        await handover.accept(request(to=to))
        return
    with pytest.raises(HandOverRefused) as caught:
        await handover.accept(request(to=to))
    assert caught.value.rule == "OPPOSITION-PATIENT"


async def test_a_reason_passes_and_is_traced_without_identity(stage: SmtpStage, handover: HandOver, oppositions: Oppositions) -> None:
    await oppositions.add(INS, "all", by="accueil", reason="demande")
    got = await handover.accept(cda_request(to=(BOB, PATIENT), masking=("MASQUE_PS",), override=f"{REASON} {INS}"))
    (event,) = await stage.journal(JournalKind.DEPARTURE_OVERRIDE)
    assert event.trace_id == got.trace_id and event.subject == ALICE
    assert event.payload["rules"] == "MASQUAGE-PS OPPOSITION-PATIENT" and event.payload["login"] == "token 1"
    assert event.payload["reason"] == f"{REASON} …"
    everything = repr(await stage.journal())
    assert INS not in everything and not any(name in everything for name in NAMES)
    (raw,) = await stage.bodies(BOB)
    assert REASON.encode() not in raw and handover.derogations.reasons == {}


@pytest.mark.parametrize("reason", ["", "ok", " \t "])
async def test_a_reason_says_something(handover: HandOver, oppositions: Oppositions, reason: str) -> None:
    await oppositions.add(INS, "all", by="accueil", reason="demande")
    with pytest.raises(HandOverRefused):
        await handover.accept(request(override=reason.strip()))


async def test_a_reason_may_be_forbidden(stage: SmtpStage, oppositions: Oppositions) -> None:
    one = desk(stage)
    stage.context.departure.checks.append(MaskingCheck(MaskingParts(
        oppositions, one.derogations, stage.executor, stage.evidence, CITIZEN, False)))
    with pytest.raises(HandOverRefused):
        await one.accept(cda_request(to=(BOB,), masking=("MASQUE_PS",), override=REASON))


async def test_a_mail_client_is_held_to_the_same_rules(stage: SmtpStage, handover: HandOver, oppositions: Oppositions) -> None:
    await handover.accept(cda_request(to=(PATIENT,), masking=("MASQUE_PS",), key="own"))
    (queued,) = await stage.queue()
    (content,) = await stage.stores.database.read(
        lambda tx: stage.stores.messages.contents(tx, [queued.message_id], with_body=True))
    raw = content.inline or stage.stores.blobs.read(content.blob or "")
    wire = await logged_in(stage)

    async def send(to: str, body: bytes) -> str:
        await wire.asks("RSET", f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{to}>")
        return await wire.data(body)

    assert (await send(BOB, raw)).endswith("[MASQUAGE-PS]")
    assert (await send(PATIENT, raw)).startswith("250 ")
    assert (await send(BOB, b"X-MSSANTE-Derogation: " + REASON.encode() + b"\r\n" + raw)).startswith("250 ")
    (event,) = await stage.journal(JournalKind.DEPARTURE_OVERRIDE)
    assert (event.payload["reason"], event.payload["login"]) == (REASON, ALICE)
    assert (await send(BOB, message(ALICE))).startswith("250 ")


async def test_a_plain_letter_to_a_patient_who_opposed_is_refused(stage: SmtpStage, handover: HandOver, oppositions: Oppositions) -> None:
    await oppositions.add(INS, "citizen", by="accueil", reason="demande")
    wire: Wire = await logged_in(stage)
    await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{PATIENT}>")
    reply = await wire.data(message(ALICE))
    assert reply.startswith("554 5.7.1 ") and reply.endswith("[OPPOSITION-PATIENT]") and INS not in reply


class Overrun:
    """A workshop in which a document takes too long."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    async def run(self, *_: Any) -> Any:
        raise DocumentFault("overrun", rule=self.rule)


async def by_client(stage: SmtpStage, oppositions: Oppositions, rule: str, head: bytes = b"") -> str:
    """A structured message of a mail client, on whose documents the workshop fails; give the reply."""
    one = desk(stage)
    await one.accept(cda_request(to=(BOB,), key="own"))
    (raw,) = await stage.bodies(BOB)
    stage.context.departure.checks.append(MaskingCheck(MaskingParts(
        oppositions, one.derogations, stage.executor, stage.evidence, CITIZEN, True, Overrun(rule))))  # type: ignore[arg-type]
    wire = await logged_in(stage)
    await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
    return await wire.data(head + raw)


@pytest.mark.parametrize("rule", ["DOC-TEMPS", "DOC-MEMOIRE"])
async def test_a_document_too_heavy_to_read_stays(stage: SmtpStage, oppositions: Oppositions, rule: str) -> None:
    assert (await by_client(stage, oppositions, rule)).endswith("[MASQUAGE-ILLISIBLE]")
    assert len(await stage.bodies(BOB)) == 1


async def test_worker_processes_read_as_the_executor_does(stage: SmtpStage) -> None:
    await desk(stage).accept(cda_request(to=(BOB,), masking=("MASQUE_PS",)))
    (raw,) = await stage.bodies(BOB)
    workshop = Workshop(WorkshopLimits())
    await workshop.open()
    try:
        assert await workshop.run(departing, raw) == departing(raw) == Departing((frozenset({"MASQUE_PS"}),), frozenset({INS}), 1)
    finally:
        await workshop.close()


async def test_a_reason_passes_over_that_too(stage: SmtpStage, oppositions: Oppositions) -> None:
    reply = await by_client(stage, oppositions, "DOC-TEMPS", b"X-MSSANTE-Derogation: " + REASON.encode() + b"\r\n")
    assert reply.startswith("250 ") and len(await stage.journal(JournalKind.DEPARTURE_OVERRIDE)) == 1


async def test_a_workshop_with_a_full_line_asks_to_come_back(stage: SmtpStage, oppositions: Oppositions) -> None:
    assert (await by_client(stage, oppositions, "DOC-FILE")).startswith("451 ")
    assert len(await stage.bodies(BOB)) == 1


# -------------------------------------------------------------------------------------------------------- the desk

async def test_who_when_why_and_nothing_else_is_kept(stage: SmtpStage, oppositions: Oppositions) -> None:
    one = await oppositions.add(INS, "all", by="accueil", reason=f"demande de {INS}", until=stage.clock.now() + timedelta(days=1))
    assert await oppositions.of([INS.lower(), INS[:13]]) == [one] and await oppositions.all() == [one]
    assert INS not in repr(one) and one.reason == "demande de …"
    (event,) = await stage.journal(JournalKind.OPPOSITION)
    assert (event.payload["action"], event.payload["by"], event.subject) == ("added", "accueil", f"patient {one.patient[:16]}")
    assert INS not in repr(event)
    stage.clock.advance(timedelta(days=1, seconds=1))
    assert await oppositions.of([INS]) == []
    assert await oppositions.remove(INS, "all", by="accueil", reason="fin") and not await oppositions.remove(
        INS, "all", by="accueil", reason="fin")
    assert [row.payload["action"] for row in await stage.journal(JournalKind.OPPOSITION)] == ["added", "removed"]


async def test_another_operator_gives_another_hash(stage: SmtpStage, oppositions: Oppositions) -> None:
    assert oppositions.hash_of(INS) != Oppositions(stage.stores, stage.clock, b"j" * 32).hash_of(INS)
    assert oppositions.hash_of("2A" + INS[2:]) == oppositions.hash_of("2a" + INS[2:])


@pytest.mark.parametrize("changes", [{"matricule": "123"}, {"matricule": INS[:13] + "00"}, {"scope": "x"}, {"by": ""}, {"reason": " "},
                                     {"reason": "x" * 301}, {"by": "a\nb"}])
async def test_what_the_desk_refuses(oppositions: Oppositions, changes: dict[str, Any]) -> None:
    given = {"matricule": INS, "scope": "all", "by": "accueil", "reason": "demande", **changes}
    with pytest.raises(InputFault) as caught:
        await oppositions.add(given["matricule"], given["scope"], by=given["by"], reason=given["reason"])
    assert caught.value.rule.startswith("OPPOSITION-") and INS not in f"{caught.value}"


@pytest.mark.parametrize(("text", "shown"), [
    ("rien", "rien"), (f"le {INS}.", "le …."), ("2 79 03 75 000 001 23", "…"), ("tel 0102030405", "tel 0102030405"),
    ("2790 32A000001 12", "…")])
def test_numbers_are_hidden(text: str, shown: str) -> None:
    assert hide_numbers(text) == shown


@pytest.mark.parametrize("to", [BOB, REMOTE, PATIENT])
async def test_a_broken_archive_stays_whatever_the_preflight_says(stage: SmtpStage, handover: HandOver, to: str) -> None:
    wire, broken = await logged_in(stage), structured(ALICE, to, archive()[:-30])
    await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{to}>")
    assert (await wire.data(broken)).endswith("[MASQUAGE-ILLISIBLE]")
    assert await stage.queue() == [] and await stage.bodies(BOB) == []
    await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{to}>")
    assert (await wire.data(f"X-MSSANTE-Derogation: {REASON}\r\n".encode() + broken)).startswith("250")


async def test_a_broken_archive_that_is_no_document_leaves(stage: SmtpStage, handover: HandOver) -> None:
    wire = await logged_in(stage)
    await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
    photos = mail(ALICE, BOB, ("photos.zip", b"PK\x03\x04 casse"), subject="Photos")
    assert (await wire.data(photos)).startswith("250")
