"""The queue runner on a clock by hand: one attempt at once, then by the schedule, and never a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.relay_stage import BACK_OFF, DOWN, LATER, LEASE, NO, PREFIX, REMOTE, RelayStage, build_relay
from support.smtp_stage import ALICE, OURS, message, trust_snapshot, whitelist

from mssante.errors import StorageFull
from mssante.model.journal import JournalKind
from mssante.storage.interfaces import QueueEntry
from mssante.trust.whitelist import build_whitelist

B = "x@b.mssante.fr"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[RelayStage]:
    made = await build_relay(tmp_path)
    yield made
    await made.close()


def without(domain: str) -> Any:
    """Give the trust snapshot whose list lost a domain."""
    current = whitelist()
    return replace(trust_snapshot(), whitelist=build_whitelist(
        [entry for entry in current.entries if entry.domain != domain], current.generated_at))


# ---------------------------------------------------------------- the first attempt


async def test_a_message_is_attempted_at_once_from_memory(stage: RelayStage) -> None:
    await stage.start(poll_seconds=1000.0)  # the claim loop sleeps: nothing but the hand-off can do it
    body = message(ALICE)
    trace_id = await stage.put([REMOTE], notify="FAILURE", ret="FULL")
    await stage.empty()
    (batch,) = stage.mailer.batches
    assert (batch.destination, str(batch.sender), batch.trace_id, batch.ret, batch.envid) == (
        "a.mssante.fr", ALICE, trace_id, "FULL", "env1")
    (recipient,) = batch.recipients
    assert (str(recipient.address), recipient.notify, recipient.orcpt) == (REMOTE, frozenset({"FAILURE"}), f"rfc822;{REMOTE}")
    assert stage.mailer.contents == [PREFIX + body] and batch.size == len(PREFIX + body)
    relayed = await stage.event(JournalKind.RELAYED)
    assert (relayed["to"], relayed["attempts"], relayed["remote"], relayed["tls"], relayed["certificate"]) == (
        REMOTE, 1, "mx[192.0.2.1]:25", "TLSv1.3 X", "ab" * 32)
    assert relayed["reply"] == "250 2.0.0 ok" and await stage.reports() == []


async def test_one_batch_for_each_destination(stage: RelayStage) -> None:
    await stage.start()
    await stage.put([REMOTE, B, "deux@a.mssante.fr"])
    await stage.empty()
    found = {batch.destination: [str(one.address) for one in batch.recipients] for batch in stage.mailer.batches}
    assert found == {"a.mssante.fr": [REMOTE, "deux@a.mssante.fr"], "b.mssante.fr": [B]}
    assert len(stage.mailer.batches) == 2


@pytest.mark.parametrize("blob", [False, True])
@pytest.mark.parametrize(("text", "eight"), [("Bonjour.", False), ("Été à la mer.", True)])
async def test_contents_go_out_octet_for_octet(stage: RelayStage, blob: bool, text: str, eight: bool) -> None:
    await stage.start()
    body = message(ALICE, text=text + "\r\n" + "z" * 700_000)
    await stage.put([REMOTE], body=body, blob=blob)
    await stage.empty()
    assert stage.mailer.contents == [PREFIX + body]
    assert stage.mailer.batches[0].size == len(PREFIX + body)
    assert stage.mailer.batches[0].body_8bit is (eight or blob), "a blob is not read to know"


async def test_each_recipient_has_its_own_fate(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"plus-tard@a.mssante.fr": LATER, "inconnu@a.mssante.fr": NO}
    trace_id = await stage.put([REMOTE, "plus-tard@a.mssante.fr", "inconnu@a.mssante.fr"])
    (item,) = await stage.settled(1)
    assert (item.address, item.last_reply, item.state) == ("plus-tard@a.mssante.fr", "451 4.3.2 later", "queued")
    (report,) = await stage.reports()
    (told,) = report.recipients
    assert (told.final_recipient, told.action, told.status) == ("inconnu@a.mssante.fr", "failed", "5.1.1")
    assert "550 5.1.1 unknown" in told.diagnostic and report.original_message_id == "<essai@a.mssante.fr>"
    assert sorted(await stage.kinds()) == ["bounced", "deferred", "relayed", "report_sent"]
    assert (await stage.smtp.journal(JournalKind.BOUNCED))[0].trace_id == trace_id


async def test_destinations_do_not_wait_for_each_other_and_each_has_its_limit(stage: RelayStage) -> None:
    stage.mailer.gate = asyncio.Event()
    await stage.start(concurrency=2)
    for _ in range(5):
        await stage.put([REMOTE])
    await stage.until(lambda: stage.mailer.running == 2)
    await stage.put([B])
    await stage.until(lambda: stage.mailer.running == 3)
    await stage.rounds()
    assert stage.mailer.running == 3
    stage.mailer.gate.set()
    await stage.empty()
    stage.mailer.gate = None
    assert stage.mailer.most == 3 and len(stage.mailer.batches) == 6


@pytest.mark.parametrize("limits", [{"memory_jobs": 2}, {"memory_bytes": 0}, {"claim_limit": 1}])
async def test_what_does_not_fit_in_memory_waits_in_storage_and_still_goes(stage: RelayStage, limits: dict[str, int]) -> None:
    await stage.start(**limits)
    sent = [await stage.put([REMOTE, B]) for _ in range(5)]
    await stage.empty()
    assert sorted((batch.trace_id, batch.destination) for batch in stage.mailer.batches) == sorted(
        (one, domain) for one in sent for domain in ("a.mssante.fr", "b.mssante.fr"))


# ---------------------------------------------------------------- again, late, never


async def test_the_schedule_the_notice_and_the_bounce(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": LATER}
    began = stage.smtp.clock.now()
    await stage.put([REMOTE])
    waits, attempts = [], 1
    while True:
        items = await stage.until_queue(lambda items, n=attempts: not items or (  # type: ignore[misc]
            items[0].attempts == n and items[0].next_attempt_at > stage.smtp.clock.now() and bool(items[0].last_reply)
            and items[0].next_attempt_at - stage.smtp.clock.now() != LEASE))
        if not items:
            break
        waits.append((items[0].next_attempt_at - stage.smtp.clock.now()).total_seconds() / 60)
        stage.to(items[0].next_attempt_at)
        attempts += 1
        assert attempts < 40
    assert [round(wait / 5) for wait in waits[:3]] == [1, 2, 4] and max(waits) <= 4 * 60 * 1.1
    assert timedelta(hours=48) <= stage.smtp.clock.now() - began <= timedelta(hours=53)
    assert len(stage.mailer.batches) == attempts
    delay, failure = await stage.reports()
    assert (delay.recipients[0].action, failure.recipients[0].action) == ("delayed", "failed")
    assert failure.recipients[0].status == "4.4.7" and "451 4.3.2 later" in failure.recipients[0].diagnostic
    kinds = await stage.kinds()
    assert kinds.count("deferred") == attempts - 1 and kinds.count("bounced") == 1 and kinds.count("report_sent") == 2


async def test_nothing_is_tried_before_its_time(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": LATER}
    await stage.put([REMOTE])
    (item,) = await stage.settled(1)
    stage.to(item.next_attempt_at - timedelta(seconds=1))
    await stage.rounds()
    assert len(stage.mailer.batches) == 1
    stage.to(item.next_attempt_at)
    await stage.settled(2)


async def test_a_jump_of_the_clock_expires_nothing_by_itself(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": LATER}
    await stage.put([REMOTE])
    await stage.settled(1)
    stage.smtp.clock.advance(timedelta(days=30))
    await stage.settled(2)
    assert await stage.reports() == []


@pytest.mark.parametrize(("sender", "notify", "filed", "queued"), [
    (ALICE, "", 1, 0), (ALICE, "FAILURE", 1, 0), (ALICE, "FAILURE,SUCCESS", 1, 0), (ALICE, "NEVER", 0, 0), (ALICE, "SUCCESS", 0, 0),
    (ALICE, "DELAY", 0, 0), ("", "", 0, 0), ("", "FAILURE", 0, 0), (B, "", 0, 1), (ALICE.upper(), "", 1, 0)])
async def test_who_gets_the_failure_report(stage: RelayStage, sender: str, notify: str, filed: int, queued: int) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": NO}
    await stage.put([REMOTE], sender=sender, notify=notify)
    await stage.empty()
    assert len(await stage.reports()) == filed
    dialled = [batch for batch in stage.mailer.batches if batch.destination == "b.mssante.fr"]
    assert len(dialled) == queued
    for batch in dialled:
        assert batch.sender is None and [str(one.address) for one in batch.recipients] == [B]
    assert len(await stage.smtp.journal(JournalKind.BOUNCED)) == 1


async def test_a_report_that_cannot_be_delivered_gives_no_report(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": NO, "b.mssante.fr": NO}
    await stage.put([REMOTE], sender=B)
    await stage.until_queue(lambda items: not items)
    assert (await stage.kinds()).count("report_sent") == 1 and (await stage.kinds()).count("bounced") == 2


# ---------------------------------------------------------------- trust


async def test_a_destination_that_left_the_list_is_bounced_without_dialling(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": LATER}
    await stage.put([REMOTE])
    (item,) = await stage.settled(1)
    stage.smtp.trust.swap(without("a.mssante.fr"))
    stage.to(item.next_attempt_at)
    await stage.empty()
    assert len(stage.mailer.batches) == 1
    bounced = await stage.event(JournalKind.BOUNCED)
    assert bounced["rule"] == "HORS-ESPACE" and bounced["remote"] == ""
    (report,) = await stage.reports()
    assert (report.recipients[0].action, report.recipients[0].status) == ("failed", "5.7.1")


async def test_without_a_usable_list_mail_waits(stage: RelayStage) -> None:
    await stage.start()
    stage.smtp.trust.swap(replace(trust_snapshot(), whitelist=None))
    await stage.put([REMOTE])
    (item,) = await stage.settled(1)
    assert "LB-INDISPONIBLE" in item.last_reply and stage.mailer.batches == []
    stage.smtp.trust.swap(trust_snapshot())
    stage.to(max(item.next_attempt_at, stage.smtp.clock.now() + BACK_OFF))
    await stage.empty()
    assert len(stage.mailer.batches) == 1


# ---------------------------------------------------------------- a destination that is down


async def test_a_destination_that_cannot_be_reached_backs_off_as_a_whole(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": DOWN}
    await stage.put([REMOTE])
    (first,) = await stage.settled(1)
    await stage.put(["deux@a.mssante.fr", B])
    items = await stage.until_queue(lambda items: len(items) == 2)
    await stage.rounds()
    assert stage.mailer.recipients() == [REMOTE, B], "a is not dialled again, b is"
    assert [item.address for item in items] == [REMOTE, "deux@a.mssante.fr"]
    stage.mailer.answers = {}
    stage.to(first.next_attempt_at + BACK_OFF)
    await stage.empty()
    assert sorted(stage.mailer.recipients()) == sorted([REMOTE, B, REMOTE, "deux@a.mssante.fr"])


async def test_jobs_that_waited_in_memory_behind_a_failure_are_put_back_undialled(stage: RelayStage) -> None:
    stage.mailer.gate = asyncio.Event()
    stage.mailer.answers = {"a.mssante.fr": DOWN}
    await stage.start(concurrency=1)
    for _ in range(3):
        await stage.put([REMOTE])
    await stage.until(lambda: stage.mailer.running == 1)
    stage.mailer.gate.set()
    items = await stage.settled(1, 3)
    stage.mailer.gate = None
    assert len(stage.mailer.batches) == 1
    assert sorted("DESTINATION-RECUL" in item.last_reply for item in items) == [False, True, True]


async def test_a_deferral_by_a_peer_that_answers_is_no_back_off(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {REMOTE: LATER}
    await stage.put([REMOTE])
    await stage.settled(1)
    await stage.put(["deux@a.mssante.fr"])
    await stage.until_queue(lambda items: len(items) == 1 and items[0].address == REMOTE)
    assert stage.mailer.recipients() == [REMOTE, "deux@a.mssante.fr"]


async def test_a_kick_dials_at_once_what_was_made_due(stage: RelayStage) -> None:
    await stage.start(poll_seconds=1000.0)
    stage.mailer.answers = {"a.mssante.fr": DOWN}
    await stage.put([REMOTE])
    await stage.settled(1)
    stage.mailer.answers = {}
    queue, now = stage.smtp.stores.queue, stage.smtp.clock.now()
    assert await stage.smtp.stores.database.write(lambda tx: queue.change(tx, "retry", now)) == 1
    stage.relay.kick()
    await stage.empty()


# ---------------------------------------------------------------- crash, stop, faults


async def crashed(stage: RelayStage, owner: str) -> None:
    """Leave a message as a process does that dies between the commit and its attempt."""
    item = stage._item([REMOTE], ALICE, "", message(ALICE), "", False)
    assert item.queue is not None
    until = stage.smtp.clock.now() + LEASE
    entry: QueueEntry = replace(item.queue, lease_owner=owner, lease_until=until, next_attempt_at=until)
    done = replace(item, queue=entry)
    await stage.smtp.stores.database.write(lambda tx: stage.smtp.stores.messages.accept(tx, [done]))


async def test_a_lease_of_a_former_life_is_released_at_start(stage: RelayStage) -> None:
    await crashed(stage, f"mx.{OURS}")
    await stage.start()
    await stage.empty()
    assert len(stage.mailer.batches) == 1


async def test_a_lease_of_another_node_is_respected_until_it_ends(stage: RelayStage) -> None:
    await crashed(stage, "mx2.hopital.mssante.fr")
    await stage.start()
    await stage.rounds()
    assert stage.mailer.batches == []
    stage.smtp.clock.advance(LEASE + timedelta(seconds=1))
    await stage.empty()
    assert len(stage.mailer.batches) == 1


async def test_what_comes_in_before_the_recovery_is_sent_once(stage: RelayStage) -> None:
    """Doors open before the queue runner begins: its recovery must not release leases of this very life."""
    stage.mailer.gate = asyncio.Event()
    await stage.put([REMOTE])
    await stage.start()
    await stage.until(lambda: stage.mailer.running == 1)
    await stage.rounds()
    stage.mailer.gate.set()
    await stage.empty()
    stage.mailer.gate = None
    assert len(stage.mailer.batches) == 1


async def test_stop_lets_attempts_end_and_begins_no_other(stage: RelayStage) -> None:
    stage.mailer.gate = asyncio.Event()
    await stage.start(concurrency=1)
    for _ in range(2):
        await stage.put([REMOTE])
    await stage.until(lambda: stage.mailer.running == 1)
    stopping = asyncio.ensure_future(stage.relay.stop(10.0))
    await asyncio.sleep(0)
    stage.mailer.gate.set()
    await stopping
    stage.mailer.gate = None
    assert len(await stage.smtp.queue()) == 1 and len(stage.mailer.batches) == 1
    await stage.put([REMOTE])
    assert stage.runner is not None
    await stage.runner
    assert len(await stage.smtp.queue()) == 2 and len(stage.mailer.batches) == 1
    await stage.start(concurrency=1)  # the next life
    await stage.empty()
    assert len(stage.mailer.batches) == 3


async def test_stop_leaves_an_attempt_that_never_ends_to_the_next_life(stage: RelayStage) -> None:
    stage.mailer.gate = asyncio.Event()
    await stage.start()
    await stage.put([REMOTE])
    await stage.until(lambda: stage.mailer.running == 1)
    await stage.relay.stop(0.01)
    await stage.until(lambda: stage.mailer.running == 0)
    assert [item.attempts for item in await stage.smtp.queue()] == [1]
    stage.mailer.gate = None
    assert stage.runner is not None
    await stage.runner
    await stage.start(concurrency=2)  # the next life
    await stage.empty()


async def test_a_mailer_that_breaks_its_promise_costs_a_lease_not_a_message(stage: RelayStage) -> None:
    await stage.start()
    stage.mailer.answers = {"a.mssante.fr": RuntimeError("bug")}
    await stage.put([REMOTE])
    await stage.until(lambda: len(stage.mailer.batches) == 1)
    await stage.rounds()
    assert len(stage.mailer.batches) == 1 and len(await stage.smtp.queue()) == 1
    stage.mailer.answers = {}
    stage.smtp.clock.advance(LEASE + timedelta(seconds=1))
    await stage.empty()
    assert len(stage.mailer.batches) == 2


async def test_an_outcome_that_cannot_be_recorded_is_a_duplicate_at_most(
        stage: RelayStage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.start()
    refused = asyncio.Event()
    write_many = stage.smtp.stores.database.write_many

    async def full(unit: Any, item: Any) -> Any:
        if unit == stage.smtp.stores.queue.settle:
            refused.set()
            raise StorageFull("no room left")
        return await write_many(unit, item)

    monkeypatch.setattr(stage.smtp.stores.database, "write_many", full)
    await stage.put([REMOTE])
    await asyncio.wait_for(refused.wait(), 10)
    monkeypatch.undo()
    assert len(await stage.smtp.queue()) == 1
    stage.smtp.clock.advance(LEASE + timedelta(seconds=1))
    await stage.empty()
    assert len(stage.mailer.batches) == 2


async def test_a_claim_that_fails_is_tried_again(stage: RelayStage, monkeypatch: pytest.MonkeyPatch) -> None:
    really = asyncio.wait_for

    async def quick(awaitable: Any, timeout: float) -> Any:
        return await really(awaitable, 0.001)

    monkeypatch.setattr("mssante.services.relay.asyncio.wait_for", quick)
    await stage.put([REMOTE])
    next_due = stage.smtp.stores.queue.next_due
    failures: list[bool] = []

    def fail(tx: Any) -> Any:
        if len(failures) < 3:
            failures.append(True)
            raise StorageFull("no room left")
        return next_due(tx)

    monkeypatch.setattr(stage.smtp.stores.queue, "next_due", fail)
    await stage.start()
    await stage.empty()
    assert len(failures) == 3
