"""What is recorded of an attempt: the queue, the journal and the reports, all in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.relay_stage import LATER, NO, OK, REMOTE, RelayStage, build_relay
from support.smtp_stage import ALICE, CITIZEN, OURS, message

from mssante.errors import StorageFull
from mssante.model.journal import JournalKind
from mssante.model.outcome import Deferred, Delivered, Refused
from mssante.services.relay_jobs import expired, reply_text
from mssante.services.settlement import retry_policy

INS = "1850199302A01" + "12"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RelayStage]:
    made = await build_relay(tmp_path)
    await made.start()
    yield made
    await made.close()


@pytest.mark.parametrize(("outcome", "notify", "action"), [
    (OK, "SUCCESS", "relayed"), (OK, "FAILURE,SUCCESS", "relayed"), (OK, "", ""), (OK, "FAILURE", ""), (OK, "NEVER", ""),
    (Delivered("250 ok", "mx", dsn_relayed=True), "SUCCESS", ""), (NO, "SUCCESS", ""), (NO, "", "failed")])
async def test_reports_follow_notify(stage: RelayStage, outcome: Delivered | Refused, notify: str, action: str) -> None:
    stage.mailer.answers = {REMOTE: outcome}
    await stage.put([REMOTE], notify=notify)
    await stage.empty()
    assert [one.recipients[0].action for one in await stage.reports()] == ([action] if action else [])


async def test_a_delay_notice_is_not_sent_to_who_asked_for_failures_only(stage: RelayStage) -> None:
    stage.mailer.answers = {"a.mssante.fr": LATER}
    await stage.put([REMOTE], notify="FAILURE")
    await stage.put([REMOTE], notify="DELAY")
    attempts = 1
    while not await stage.reports() and attempts < 20:
        items = await stage.settled(attempts, 2)
        stage.to(max(item.next_attempt_at for item in items))
        attempts += 1
    await stage.settled(attempts, 2)
    (notice,) = await stage.reports()
    assert notice.recipients[0].action == "delayed"
    items = await stage.settled(attempts, 2)
    stage.to(max(item.next_attempt_at for item in items))
    await stage.settled(attempts + 1, 2)
    assert len(await stage.reports()) == 1, "once"


@pytest.mark.parametrize("blob", [False, True])
@pytest.mark.parametrize("ret", ["", "HDRS", "FULL"])
async def test_what_a_report_returns(stage: RelayStage, ret: str, blob: bool) -> None:
    stage.mailer.answers = {REMOTE: NO}
    await stage.put([REMOTE], body=message(ALICE, text="Contenu."), ret=ret, blob=blob)
    await stage.empty()
    (report,) = await stage.smtp.bodies()
    assert b"Subject: Essai" in report
    assert (b"Contenu." in report) is (ret == "FULL" and not blob)
    assert b"Essai" not in report.partition(b"message/delivery-status")[0].partition(b"\r\n\r\n")[2], "no subject in its text"


async def test_a_report_stands_in_the_inbox_and_rings(stage: RelayStage) -> None:
    heard: list[int] = []
    stage.smtp.doorbell.subscribe(stage.smtp.mailboxes[ALICE].inbox_id, heard.append)
    stage.mailer.answers = {REMOTE: NO}
    trace_id = await stage.put([REMOTE])
    await stage.empty()
    (stored,) = await stage.smtp.inbox()
    assert stored.prefix == b"Return-Path: <>\r\n" and stored.trace_id != trace_id
    await stage.until(lambda: bool(heard))
    sent = await stage.event(JournalKind.REPORT_SENT)
    assert sent == {"about": trace_id, "action": "failed"}


async def test_failed_and_relayed_recipients_get_one_report_each_kind(stage: RelayStage) -> None:
    stage.mailer.answers = {"non@a.mssante.fr": NO, "jamais@a.mssante.fr": NO}
    await stage.put([REMOTE, "non@a.mssante.fr", "jamais@a.mssante.fr"], notify="SUCCESS,FAILURE")
    await stage.empty()
    found = {report.recipients[0].action: [one.final_recipient for one in report.recipients] for report in await stage.reports()}
    assert found == {"failed": ["non@a.mssante.fr", "jamais@a.mssante.fr"], "relayed": [REMOTE]}


async def test_report_and_outcome_are_one_transaction(stage: RelayStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """W4: when the journal cannot be written, neither the report nor the end of the recipient is there."""
    stage.mailer.answers = {REMOTE: NO}
    journal = stage.smtp.stores.journal
    append = journal.append
    failed: list[bool] = []

    def fail(tx: Any, events: Any) -> None:
        if any(event.kind is JournalKind.BOUNCED for event in events):
            failed.append(True)
            raise StorageFull("no room left")
        append(tx, events)

    monkeypatch.setattr(journal, "append", fail)
    await stage.put([REMOTE])
    await stage.until(lambda: bool(failed))
    await stage.rounds()
    assert await stage.reports() == [] and len(await stage.smtp.queue()) == 1
    monkeypatch.undo()
    stage.smtp.clock.advance(timedelta(hours=2))
    await stage.empty()
    assert len(await stage.reports()) == 1


@pytest.mark.parametrize("reply", [
    f"550 5.1.1 <{INS}@{CITIZEN}> unknown", f"550 5.1.1 {INS}@{CITIZEN.upper()}", f"550 5.1.1 user {INS.lower()} unknown",
    f"550 5.1.1 {INS}"])
async def test_a_matricule_in_a_remote_reply_is_not_journalled(stage: RelayStage, reply: str) -> None:
    address = f"{INS}@{CITIZEN}"
    stage.mailer.answers = {address: Refused(reply, "5.1.1", "mx")}
    await stage.put([address])
    await stage.empty()
    events = await stage.smtp.journal()
    assert [event.kind for event in events if event.kind == "bounced"] and INS.lower() not in repr(events).lower()
    (event,) = [event for event in events if event.kind == "bounced"]
    assert event.subject.startswith("ins-") and "550 5.1.1" in str(event.payload["reply"])
    (report,) = await stage.reports()
    assert report.recipients[0].final_recipient == address, "the sender, who wrote it, may read it"


async def test_a_long_reply_is_cut(stage: RelayStage) -> None:
    stage.mailer.answers = {REMOTE: Deferred("451 " + "x" * 5000, "mx")}
    await stage.put([REMOTE])
    (item,) = await stage.settled(1)
    assert len(item.last_reply) == 1000
    assert len(str((await stage.event(JournalKind.DEFERRED))["reply"])) == 1000


async def test_a_local_sender_whose_mailbox_is_gone_gets_nothing_filed(stage: RelayStage) -> None:
    stage.mailer.answers = {"a.mssante.fr": NO, OURS: NO}
    await stage.put([REMOTE], sender=f"parti@{OURS}")
    await stage.empty()
    assert await stage.reports() == []
    assert (await stage.kinds()).count("bounced") == 2, "its report was refused in turn, and that is the end"


def test_reply_text_names_our_rule_once() -> None:
    assert reply_text(Deferred("wait", rule="X-Y")) == "wait [X-Y]"
    assert reply_text(Refused("no [X-Y]", rule="X-Y")) == "no [X-Y]"
    assert reply_text(Delivered("250 ok")) == "250 ok"


def test_expired_keeps_what_was_last_said() -> None:
    found = expired(Deferred("451 busy", "mx", "R"), timedelta(hours=48, minutes=59))
    assert (found.reply, found.status, found.remote, found.rule) == (
        "delivery time expired after 48 h; last answer: 451 busy", "4.4.7", "mx", "R")
    assert expired(Deferred("451 busy"), timedelta(hours=1)).rule == "DELAI-EXPIRE"


def test_the_policy_takes_configured_values() -> None:
    policy = retry_policy(300, 14_400, 4, 48)
    assert (policy.first_delay, policy.max_delay, policy.notice_after, policy.expire_after) == (
        timedelta(minutes=5), timedelta(hours=4), timedelta(hours=4), timedelta(hours=48))
