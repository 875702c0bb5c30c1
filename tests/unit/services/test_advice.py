"""The directory used while mail passes, over real TLS and a real store: what RCPT says, what the journal keeps, what is never refused."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, CITIZEN, NOW, PASSWORD, SmtpStage, Wire, build, message

from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Presence, Source
from mssante.documents.ins import ins_key
from mssante.model.journal import JournalKind
from mssante.model.outcome import Refused
from mssante.services.advice import AdviceSettings, Advisor, Check
from mssante.services.exchangewatch import ExchangeWatch

REMOTE = "docteur@a.mssante.fr"
ABSENT = Finding(REMOTE, Presence.ABSENT, as_of=NOW - timedelta(hours=10), sources=(Source.EXTRACTION,),
                 near=("docteurs@a.mssante.fr", "x" * 200 + "@a.mssante.fr", "dr@a.mssante.fr"))
SHOWN = Finding(REMOTE, Presence.PUBLISHED, (DirectoryEntry(REMOTE, "PER"),), NOW, (Source.EXTRACTION,))


class Desk:
    """A directory that tests command. remote: what asking the sources gives, None for the same."""

    def __init__(self, finding: Finding, remote: Finding | None = None) -> None:
        self.finding, self.remote = finding, remote
        self.asked: list[tuple[str, bool]] = []
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        self.asked.append((address, ask))
        if self.fault is not None:
            raise self.fault
        if self.gate is not None and ask:
            await self.gate.wait()
        found = (self.remote or self.finding) if ask else self.finding
        return replace(found, address=address)

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        return ()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    made.context.exchanges = ExchangeWatch(made.stores, made.clock, lambda one: made.evidence.address(one) != one)
    yield made
    await made.close()


def advised(stage: SmtpStage, desk: Desk | None, check: Check = "advise", wait: float = 0.05) -> Advisor:
    stage.context.advisor = Advisor(stage.stores, stage.clock, AdviceSettings(check, wait, frozenset({CITIZEN})), lambda: desk,
                                    stage.context.exchanges)
    return stage.context.advisor


async def writing(stage: SmtpStage) -> Wire:
    wire = await stage.connect(await stage.open("submissions"), tls=True)
    await wire.reply()
    await wire.ask("EHLO poste")
    word = b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {word}")).startswith("235 ")
    assert (await wire.ask(f"MAIL FROM:<{ALICE}>")).startswith("250 ")
    return wire


async def rcpt(stage: SmtpStage, address: str = REMOTE) -> str:
    wire = await writing(stage)
    answer = await wire.ask(f"RCPT TO:<{address}>")
    await wire.leave()
    return answer


async def test_an_absent_recipient_is_taken_and_told_with_the_closest(stage: SmtpStage) -> None:
    advised(stage, Desk(ABSENT))
    assert await rcpt(stage) == ("250 2.1.5 Destinataire admis ; annuaire : adresse non publiee ; proches : docteurs@a.mssante.fr, "
                                 "dr@a.mssante.fr")


async def test_strict_refuses_what_a_fresh_mirror_does_not_have(stage: SmtpStage) -> None:
    advised(stage, Desk(ABSENT), "strict")
    answer = await rcpt(stage)
    assert answer.startswith("550 5.1.1 ") and answer.endswith("[ANNUAIRE-ABSENT]") and "docteurs@a.mssante.fr" in answer
    (row,) = await stage.journal(JournalKind.RECIPIENT_REFUSED)
    assert row.payload["rule"] == "ANNUAIRE-ABSENT"


@pytest.mark.parametrize("finding", [
    SHOWN, Finding(REMOTE, Presence.UNKNOWN), Finding(REMOTE, Presence.RED_LISTED), replace(ABSENT, as_of=NOW - timedelta(days=4)),
    replace(ABSENT, as_of=None), replace(ABSENT, sources=(Source.FHIR,)), replace(SHOWN, closed_at=NOW, closed_by="bounce"),
    Finding(REMOTE, Presence.CLOSED, as_of=NOW, sources=(Source.FHIR,), closed_at=NOW, closed_by="directory")])
async def test_strict_refuses_nothing_else(stage: SmtpStage, finding: Finding) -> None:
    advised(stage, Desk(finding), "strict")
    assert (await rcpt(stage)).startswith("250 2.1.5 ")


@pytest.mark.parametrize("check", ["advise", "strict"])
async def test_a_directory_that_is_down_slow_or_absent_refuses_nothing(stage: SmtpStage, check: Check) -> None:
    down, slow = Desk(ABSENT), Desk(replace(ABSENT, near=()), SHOWN)
    down.fault, slow.gate = RuntimeError("down"), asyncio.Event()
    for desk, words in ((None, "Destinataire admis"), (down, "Destinataire admis"),
                        (slow, "Destinataire admis ; annuaire : adresse non publiee")):
        advised(stage, desk, check)
        assert await rcpt(stage) == f"250 2.1.5 {words}"
    slow.gate.set()


async def test_remote_sources_are_asked_only_for_what_the_mirror_lacks(stage: SmtpStage) -> None:
    known, lacking = Desk(SHOWN), Desk(ABSENT, SHOWN)
    advised(stage, known)
    assert await rcpt(stage) == "250 2.1.5 Destinataire admis" and known.asked == [(REMOTE, False)]
    advised(stage, lacking, "strict")
    assert await rcpt(stage) == "250 2.1.5 Destinataire admis" and lacking.asked == [(REMOTE, False), (REMOTE, True)]
    lacking.asked.clear()
    advised(stage, lacking, wait=0)
    await rcpt(stage)
    assert lacking.asked == [(REMOTE, False)]


async def test_strict_needs_every_source_and_refuses_the_closed_too(stage: SmtpStage) -> None:
    both = replace(ABSENT, sources=(Source.EXTRACTION, Source.FHIR))
    needed = AdviceSettings("strict", 0.05, frozenset(), frozenset({Source.EXTRACTION, Source.FHIR}))
    for finding, code in ((ABSENT, "250 2.1.5 Destinataire admis"), (both, "550"), (replace(both, presence=Presence.CLOSED, closed_at=NOW), "550")):
        desk = Desk(finding)
        stage.context.advisor = Advisor(stage.stores, stage.clock, needed, lambda desk=desk: desk)
        answer = await rcpt(stage)
        assert answer == code or (code == "550" and answer.startswith("550 "))


async def test_what_was_late_is_not_waited_for_again_for_a_while(stage: SmtpStage) -> None:
    desk = Desk(ABSENT)
    desk.gate = asyncio.Event()
    advised(stage, desk)
    for rank in range(5):
        await rcpt(stage, f"d{rank}@a.mssante.fr")
    assert [ask for _, ask in desk.asked].count(True) == 1
    stage.clock.advance(timedelta(seconds=11))
    await rcpt(stage)
    assert [ask for _, ask in desk.asked].count(True) == 2
    desk.gate.set()


async def test_citizens_our_own_and_everything_when_off_are_not_looked_up(stage: SmtpStage) -> None:
    desk = Desk(ABSENT)
    advised(stage, desk, "strict")
    assert (await rcpt(stage, ALICE)).startswith("250 ")
    assert (await rcpt(stage, f"2850178000001{ins_key('2850178000001'):02d}@{CITIZEN}")).startswith("250 ")
    advised(stage, desk, "off")
    assert (await rcpt(stage)).startswith("250 ") and desk.asked == []
    advised(stage, desk, "strict")
    assert (await rcpt(stage, "x@gmail.com")).startswith("550 5.7.1 ") and desk.asked == []  # the white list comes first


async def test_a_closed_box_is_told_from_a_bounce_before_and_after_it_is_written(stage: SmtpStage) -> None:
    watch = stage.context.exchanges
    assert watch is not None
    advised(stage, Desk(replace(SHOWN, near=("nouvelle@a.mssante.fr",))))
    watch.settled(REMOTE, Refused("550 5.2.1", "5.2.1", "mx"))
    words = ("250 2.1.5 Destinataire admis ; attention : boite dite fermee le 2026-03-01 (avis de non-remise) ; proches : "
             "nouvelle@a.mssante.fr")
    assert await rcpt(stage) == words
    await watch.flush()
    assert watch.closed_lately(REMOTE) is None and await rcpt(stage) == words


async def test_a_closed_box_is_told_from_the_directory_and_the_earliest_word_counts(stage: SmtpStage) -> None:
    gone = Finding(REMOTE, Presence.CLOSED, as_of=NOW, sources=(Source.EXTRACTION,), closed_at=NOW - timedelta(days=3), closed_by="directory")
    advised(stage, Desk(gone))
    assert stage.context.exchanges is not None
    stage.context.exchanges.settled(REMOTE, Refused("550 5.1.1", "5.1.1", "mx"))
    assert "fermee le 2026-02-26 (annuaire)" in await rcpt(stage)


async def test_the_journal_keeps_a_word_of_each_recipient_and_of_the_sender(stage: SmtpStage) -> None:
    advised(stage, Desk(ABSENT))
    wire = await writing(stage)
    await wire.ask(f"RCPT TO:<{REMOTE}>")
    await wire.ask(f"RCPT TO:<{ALICE}>")
    assert (await wire.data(message(ALICE))).startswith("250 ")
    (row,) = await stage.journal(JournalKind.SUBMITTED)
    assert row.payload["directory"] == "absent"
    port = await stage.open("smtp")
    peer = await stage.session(port)
    await peer.asks(f"MAIL FROM:<{REMOTE}>", f"RCPT TO:<{ALICE}>")
    assert (await peer.data(message(REMOTE))).startswith("250 ")
    (row,) = await stage.journal(JournalKind.RECEIVED)
    assert row.payload["directory"] == "absent"
    assert stage.context.exchanges is not None
    await stage.context.exchanges.flush()
    home = stage.mailboxes[ALICE].id
    (found,) = await stage.stores.database.read(lambda tx: stage.stores.exchanges.correspondents(tx, home))
    assert (found.address, found.sent, found.received) == (REMOTE, 1, 1)


async def test_a_strict_refusal_never_stops_a_sender_elsewhere(stage: SmtpStage) -> None:
    advised(stage, Desk(ABSENT), "strict")
    peer = await stage.session(await stage.open("smtp"))
    replies = await peer.asks(f"MAIL FROM:<{REMOTE}>", f"RCPT TO:<{ALICE}>")
    assert [one[:3] for one in replies] == ["250", "250"] and (await peer.data(message(REMOTE))).startswith("250 ")
