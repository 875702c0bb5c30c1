"""The pre-flight at a real SMTP door: policies, reports, computed headers, what is journalled and what is not, checks that fail."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any, Literal

import pytest
from support.handing import INS, NAMES, request
from support.smtp_stage import ALICE, BOB, PASSWORD, SmtpStage, Wire, build, message
from support.structured_mail import archive, broken_hash, mail, plain_zip, structured

from mssante.documents.faults import DocumentFault
from mssante.model.address import parse_envelope_address
from mssante.model.journal import JournalKind
from mssante.services.preflight import COMPUTED, PreflightCheck, PreflightParts
from mssante.services.rulebook import RuleBook
from mssante.services.workshop import Workshop, WorkshopLimits

BAD = broken_hash(archive())


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


class Office:
    """A door with the check, and a workshop that says how often it was asked."""

    def __init__(self, stage: SmtpStage, workshop: Workshop, wire: Wire) -> None:
        self.stage, self.workshop, self.wire = stage, workshop, wire

    async def send(self, raw: bytes, to: str = BOB) -> str:
        replies = await self.wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{to}>")
        assert all(reply.startswith("250") for reply in replies), replies
        return await self.wire.data(raw)


@pytest.fixture
async def opened(stage: SmtpStage, tmp_path: Path) -> AsyncIterator[Any]:
    workshop = Workshop(WorkshopLimits(memory_bytes=1_000_000_000))
    await workshop.open()

    async def open_with(policy: Literal["warn", "block"], shop: Any = None, **more: Any) -> Office:
        parts = PreflightParts(policy, shop or workshop, RuleBook(workshop, None, tmp_path / "cache"), stage.executor, stage.evidence,
                               parse_envelope_address("postmaster@a.mssante.fr"), 20, **more)
        stage.context.departure.checks.append(PreflightCheck(parts))
        wire = await stage.connect(await stage.open("submissions"), tls=True)
        await wire.reply()
        await wire.asks("EHLO poste", "AUTH PLAIN " + b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode())
        return Office(stage, workshop, wire)

    yield open_with
    await workshop.close()


async def test_a_good_message_leaves_with_computed_headers_and_no_report(opened: Any, stage: SmtpStage) -> None:
    office = await opened("block")
    raw = structured(ALICE, BOB)
    assert (await office.send(raw)).startswith("250 ")
    (stored,) = await stage.inbox(BOB)
    assert (await stage.bodies(BOB)) == [raw], "the author's octets are as they were"
    head = message_from_bytes(stored.prefix)
    assert (head["X-MSS-CODECDA"], head["X-MSS-INS"], head[COMPUTED]) == ("11488-4", "O", "X-MSS-CODECDA, X-MSS-INS")
    assert await stage.inbox(ALICE) == []
    (event,) = await stage.journal(JournalKind.PREFLIGHT)
    assert event.payload["errors"] == 0 and event.payload["documents"] == 1 and event.payload["computed"] == "X-MSS-CODECDA X-MSS-INS"


async def test_headers_of_the_author_are_not_computed_again(opened: Any, stage: SmtpStage) -> None:
    office = await opened("warn")
    await office.send(structured(ALICE, BOB, extra="X-MSS-CODECDA: 11488-4\r\nX-MSS-INS: O\r\n"))
    (stored,) = await stage.inbox(BOB)
    assert COMPUTED.encode() not in stored.prefix and b"X-MSS" not in stored.prefix


async def test_block_refuses_with_the_first_rule_and_the_number(opened: Any, stage: SmtpStage) -> None:
    office = await opened("block")
    reply = await office.send(structured(ALICE, BOB, BAD))
    assert reply.startswith("554 5.6.0 ") and "1 erreur" in reply and "regle XDM-HASH" in reply and reply.endswith("[DOC-CONTROLE]")
    assert await stage.inbox(BOB) == [] and await stage.inbox(ALICE) == []
    refused = [row for row in await stage.journal() if row.payload.get("rule") == "DOC-CONTROLE"]
    assert len(refused) == 1 and refused[0].payload["detail"] == "XDM-HASH"
    assert (await office.send(message(ALICE))).startswith("250 ")


async def test_warn_lets_it_go_and_reports_to_the_author(opened: Any, stage: SmtpStage) -> None:
    office = await opened("warn")
    raw = structured(ALICE, BOB, BAD)
    assert (await office.send(raw)).startswith("250 ")
    assert await stage.bodies(BOB) == [raw]
    (report,) = await stage.bodies(ALICE)
    told = message_from_bytes(report, policy=default)
    text = told.get_body().get_content()  # type: ignore[union-attr]
    assert told["To"] == ALICE and told["In-Reply-To"] == "<structure@a.mssante.fr>" and told["Auto-Submitted"] == "auto-generated"
    assert told["Subject"].startswith("Documents envoyés : 1 erreur")
    for words in ("règle (rule) XDM-HASH", "IHE_XDM/SUBSET01/DOC0001.XML", "Remède (remedy) : refaites l'archive", "Your message has left",
                  "X-MSS-CODECDA"):
        assert words in text, words
    (event,) = await stage.journal(JournalKind.PREFLIGHT)
    assert event.payload["verdict"] == "block" and "XDM-HASH" in str(event.payload["rules"])


async def test_no_identity_in_journal_nor_log(opened: Any, stage: SmtpStage, capsys: pytest.CaptureFixture[str]) -> None:
    office = await opened("warn", report_all=True)
    await office.send(structured(ALICE, BOB, BAD))
    await office.send(structured(ALICE, BOB))
    rows = " ".join(str(row) for row in await stage.journal())
    said = capsys.readouterr()
    assert not [word for word in (INS, *NAMES, "DOC0001") if word in rows + said.out + said.err]
    assert len(await stage.inbox(ALICE)) == 2, "with report_all, warnings alone make a report too"


class Counting:
    """A workshop that must not be asked, or that fails."""

    def __init__(self, rule: str = "") -> None:
        self.rule, self.asked = rule, 0

    async def run(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        raise DocumentFault("failed", rule=self.rule or "DOC-PANNE")


@pytest.mark.parametrize("raw", [message(ALICE), mail(ALICE, BOB, subject="Bonjour")])
async def test_a_plain_letter_is_not_looked_at(opened: Any, raw: bytes) -> None:
    shop = Counting()
    office = await opened("block", shop)
    assert (await office.send(raw)).startswith("250 ") and shop.asked == 0


async def test_an_archive_of_another_kind_leaves_without_a_word(opened: Any, stage: SmtpStage) -> None:
    office = await opened("block")
    assert (await office.send(mail(ALICE, BOB, ("photos.zip", plain_zip()), subject="Photos"))).startswith("250 ")
    assert await stage.journal(JournalKind.PREFLIGHT) == [] and await stage.inbox(ALICE) == []


@pytest.mark.parametrize("rule", ["DOC-TEMPS", "DOC-MEMOIRE", "DOC-PANNE", "DOC-FILE", "DOC-REGLES"])
async def test_a_check_that_cannot_be_done(opened: Any, stage: SmtpStage, rule: str) -> None:
    """`warn` lets the message go and journals it; `block` refuses for now, loses nothing, and takes it later."""
    office = await opened("warn", Counting(rule))
    assert (await office.send(structured(ALICE, BOB))).startswith("250 ")
    (event,) = await stage.journal(JournalKind.PREFLIGHT)
    assert event.payload == {"verdict": "unchecked", "rule": rule}
    stage.context.departure.checks.clear()
    office = await opened("block", Counting(rule))
    assert (await office.send(structured(ALICE, BOB))).startswith("4")
    assert len(await stage.inbox(BOB)) == 1


async def test_documents_handed_in_by_programs_are_checked_too(opened: Any, stage: SmtpStage) -> None:
    from support.handing import desk

    await opened("warn")
    await desk(stage).accept(request(to=(BOB,)))
    (event,) = await stage.journal(JournalKind.PREFLIGHT)
    assert event.payload["errors"] == 0 and event.payload["documents"] == 1


@pytest.mark.parametrize("policy", ["block", "warn"])
async def test_a_document_outside_an_archive_is_judged_by_the_same_policy(opened: Any, stage: SmtpStage, policy: Literal["warn", "block"]) -> None:
    office = await opened(policy)
    reply = await office.send(mail(ALICE, BOB, ("a.xml", b"<?xml version='1.0'?><ClinicalDocument xmlns='urn:hl7-org:v3'>"), subject="CR"))
    assert reply.startswith("554 5.6.0" if policy == "block" else "250 ")
    assert len(await stage.inbox(BOB)) == len(await stage.inbox(ALICE)) == (0 if policy == "block" else 1)
