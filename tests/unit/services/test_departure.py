"""The hook of departures: refusals, added lines, events and messages of checks, by real SMTP."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.handing import cda
from support.smtp_stage import ALICE, BOB, PASSWORD, SmtpStage, Wire, build, message
from support.structured_mail import archive, mail

from mssante.errors import OperatorFault
from mssante.model import replies
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.departure import FREE, SMALL, Leaving, Ruling

REMOTE = "docteur@a.mssante.fr"


@dataclass
class Check:
    """A check that answers what it was given, and keeps what it saw."""

    answer: Ruling = FREE
    fault: Exception | None = None
    seen: list[Leaving] = field(default_factory=list)

    async def look(self, leaving: Leaving) -> Ruling:
        self.seen.append(leaving)
        if self.fault is not None:
            raise self.fault
        return self.answer


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def send(stage: SmtpStage, *checks: Check, content: bytes | None = None) -> str:
    stage.context.departure.checks[:] = checks
    wire: Wire = await stage.connect(await stage.open("submissions"), tls=True)
    await wire.reply()
    await wire.ask("EHLO poste")
    word = b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {word}")).startswith("235 ")
    await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", f"RCPT TO:<{REMOTE}>")
    return await wire.data(content or message(ALICE))


async def test_a_check_sees_the_message_and_adds_lines_and_events(stage: SmtpStage) -> None:
    first = Check(Ruling(headers=b"X-First: 1\r\n"))
    second = Check(Ruling(headers=b"X-Second: 2\r\n"))
    text = message(ALICE)
    reply = await send(stage, first, second, content=text)
    assert reply.startswith("250 ")
    (leaving,) = first.seen
    assert (str(leaving.sender), leaving.login, [str(one) for one in leaving.recipients]) == (ALICE, ALICE, [BOB, REMOTE])
    assert leaving.content() == text and leaving.size == len(text) and text.startswith(leaving.head)
    assert not leaving.may_hold_documents and not leaving.announced
    (received,) = await stage.inbox(BOB)
    assert b"X-First: 1\r\nX-Second: 2\r\n" in received.prefix and received.inline == text
    assert leaving.trace_id == received.trace_id


async def test_the_first_refusal_ends_it_and_nothing_is_kept(stage: SmtpStage) -> None:
    refusing, after = Check(Ruling(replies.from_not_sender("autre@x.fr"))), Check()
    reply = await send(stage, refusing, after)
    assert reply.startswith("5") and not after.seen
    assert not await stage.inbox(BOB) and not await stage.queue()
    assert len(await stage.journal(JournalKind.DATA_REFUSED)) == 1


async def test_a_check_that_fails_refuses_for_now(stage: SmtpStage) -> None:
    reply = await send(stage, Check(fault=OperatorFault("worker gone", rule="DOC-PANNE")))
    assert reply.startswith("451 ")
    assert not await stage.inbox(BOB) and not await stage.queue()


async def test_events_of_a_check_stand_with_the_message(stage: SmtpStage) -> None:
    class Telling(Check):
        async def look(self, leaving: Leaving) -> Ruling:
            return Ruling(events=(JournalEvent(JournalKind.SUBMITTED, leaving.at, leaving.trace_id, "control", {"n": 1}),))

    assert (await send(stage, Telling())).startswith("250 ")
    kinds = [row.subject for row in await stage.journal(JournalKind.SUBMITTED)]
    assert kinds.count("control") == 1 and len(kinds) == 2


@pytest.mark.parametrize("padding", [0, SMALL])
@pytest.mark.parametrize(("files", "may_hold"), [
    ((("IHE_XDM.ZIP", archive()),), True), ((("photo.jpg", archive()),), True), ((("IHE_XDM.ZIP", b"casse"),), True),
    ((("cr.txt", cda()),), True), ((("cr.pdf", b"<!-- x -->" + cda()),), True), ((("cr.pdf", b"%PDF-1.4"), ("a.bin", b"\0\1")), False),
    ((("winmail.dat", b"\x78\x9f\x3e\x22"),), True)])
async def test_what_a_message_may_hold_is_told_by_how_its_files_begin(stage: SmtpStage, files: tuple[tuple[str, bytes], ...], may_hold: bool,
                                                                      padding: int) -> None:
    check = Check()
    await send(stage, check, content=mail(ALICE, BOB, *files, subject="Bonjour", text="a\r\n" * (padding // 2)))
    assert check.seen[0].may_hold_documents is may_hold and not check.seen[0].announced


async def test_a_subject_announces(stage: SmtpStage) -> None:
    check = Check()
    await send(stage, check, content=mail(ALICE, BOB))
    assert check.seen[0].announced and not check.seen[0].may_hold_documents
