"""Delivery reports as acceptances: filed for ours, queued with the null sender for others, headers only."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, CITIZEN, NOW, OURS, SmtpStage, build, message

from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.envelope import Recipient
from mssante.model.journal import JournalKind
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.mime.imapview import facts
from mssante.protocol.reports.dsn import DsnAction, DsnRecipient, parse_dsn
from mssante.services.reports import ReportSource
from mssante.services.smtp_session import LocalTarget, MailTransaction

SENDER = parse_envelope_address("docteur@a.mssante.fr")
BODY = message(text="Contenu.")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def source(sender: MailAddress = SENDER, ret: str = "") -> ReportSource:
    return ReportSource(sender, "env+2B1", ret, NOW, "ORIGINAL", BODY[:facts(BODY).header_size])


FAILED = [DsnRecipient(parse_envelope_address("x@b.mssante.fr"), DsnAction.FAILED, "5.1.1", diagnostic="550 no")]


def test_for_another_operator_it_is_queued_with_the_null_sender(stage: SmtpStage) -> None:
    made = stage.reporter.report(source(), FAILED, NOW, None)
    assert made.filings == () and made.queue is not None
    assert (made.queue.sender, made.queue.expires_at, made.queue.next_attempt_at) == ("", NOW + timedelta(hours=48), NOW)
    (recipient,) = made.queue.recipients
    assert (recipient.address, recipient.destination, recipient.notify) == (str(SENDER), "a.mssante.fr", "NEVER")
    assert made.message.prefix == b""


def test_for_one_of_ours_it_is_filed(stage: SmtpStage) -> None:
    home = stage.mailboxes[ALICE]
    made = stage.reporter.report(source(parse_envelope_address(ALICE)), FAILED, NOW, home)
    assert made.queue is None and [one.folder_id for one in made.filings] == [home.inbox_id]
    assert made.message.prefix == b"Return-Path: <>\r\n"


def test_what_it_says_and_what_the_journal_says_of_it(stage: SmtpStage) -> None:
    made = stage.reporter.report(source(), FAILED, NOW, None)
    raw = made.message.body.inline or b""
    assert made.message.body == StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
    found = parse_dsn(raw)
    assert found is not None and found.reporting_mta == f"mx.{OURS}" and found.envelope_id == "env+1"
    assert found.original_message_id == "<essai@a.mssante.fr>" and b"Contenu." not in raw
    assert f"From: Mail Delivery System <MAILER-DAEMON@{OURS}>".encode() in raw
    (event,) = made.events
    assert (event.kind, event.trace_id, event.subject) == (JournalKind.REPORT_SENT, made.message.trace_id, str(SENDER))
    assert event.payload == {"about": "ORIGINAL", "action": "failed"}


def test_a_report_to_a_citizen_hides_the_address_in_the_journal(stage: SmtpStage) -> None:
    made = stage.reporter.report(source(MailAddress("185019930200112", CITIZEN)), FAILED, NOW, None)
    assert "185019930200112" not in repr(made.events)


def transaction(sender: MailAddress | None, *notify: frozenset[str]) -> MailTransaction:
    made = MailTransaction(sender, "TRACE", envid="env")
    made.local += [LocalTarget(Recipient(MailAddress(f"box{n}", OURS), wish),
                               Mailbox(n, f"box{n}@{OURS}", MailboxType.PER, MailboxState.ACTIVE, n)) for n, wish in enumerate(notify)]
    return made


@pytest.mark.parametrize(("sender", "notify", "told"), [
    (SENDER, [frozenset({"SUCCESS"})], ["box0"]), (SENDER, [frozenset()], []), (SENDER, [frozenset({"NEVER"})], []),
    (SENDER, [frozenset({"FAILURE"}), frozenset({"SUCCESS", "DELAY"}), frozenset({"SUCCESS"})], ["box1", "box2"]),
    (None, [frozenset({"SUCCESS"})], []), (SENDER, [], [])])
@pytest.mark.parametrize("inline", [True, False])
def test_success(stage: SmtpStage, sender: MailAddress | None, notify: list[frozenset[str]], told: list[str], inline: bool) -> None:
    writer = stage.stores.blobs.stage()
    writer.write(BODY)
    body = StagedBody(len(BODY), "0" * 64, BODY) if inline else StagedBody(len(BODY), "0" * 64, blob=writer.commit())
    made = stage.reporter.success_reports(transaction(sender, *notify), NewMessage(body, b"", facts(BODY), "TRACE", NOW), NOW)
    assert len(made) == bool(told)
    for one in made:
        found = parse_dsn(one.message.body.inline or b"")
        assert found is not None and [r.final_recipient for r in found.recipients] == [f"{name}@{OURS}" for name in told]
        assert {r.action for r in found.recipients} == {"delivered"}
        assert found.original_message_id == "<essai@a.mssante.fr>" and b"Contenu." not in (one.message.body.inline or b"")
