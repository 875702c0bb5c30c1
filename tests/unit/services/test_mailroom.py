"""The one place that turns a sealed body into durable mail: groups are whole, bells ring after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.smtp_stage import ALICE, BOB, SmtpStage, build
from support.storage_values import filed, queued

from mssante.errors import StorageFull
from mssante.storage.interfaces import Acceptance, Accepted, Filing


class Intake:
    """A relay that leases what it likes and remembers."""

    def __init__(self) -> None:
        self.reserved: list[Acceptance] = []
        self.seen: list[tuple[Acceptance, Accepted]] = []

    def reserve(self, item: Acceptance) -> Acceptance:
        self.reserved.append(item)
        assert item.queue is not None
        return replace(item, queue=replace(item.queue, lease_owner="me", lease_until=item.queue.expires_at))

    def handed(self, item: Acceptance, result: Accepted) -> None:
        self.seen.append((item, result))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def test_a_filed_message_rings_its_folder_after_the_commit(stage: SmtpStage) -> None:
    inbox = stage.mailboxes[ALICE].inbox_id
    heard: list[int] = []
    stage.doorbell.subscribe(inbox, heard.append)
    (done,) = await stage.mailroom.accept((filed(inbox),))
    assert len(await stage.inbox()) == 1
    assert heard == [done.filed[0].modseq]


async def test_two_recipients_share_one_message(stage: SmtpStage) -> None:
    inboxes = [stage.mailboxes[one].inbox_id for one in (ALICE, BOB)]
    item = replace(filed(inboxes[0]), filings=tuple(Filing(one) for one in inboxes))
    (done,) = await stage.mailroom.accept((item,))
    assert [one.folder_id for one in done.filed] == inboxes
    (one,), (two,) = await stage.inbox(ALICE), await stage.inbox(BOB)
    assert one.id == two.id == done.message_id


async def test_only_queued_messages_go_to_the_relay(stage: SmtpStage) -> None:
    intake = Intake()
    stage.mailroom.hand_to(intake)
    results = await stage.mailroom.accept((filed(stage.mailboxes[ALICE].inbox_id), queued("x@a.mssante.fr", name="out")))
    ((item, result),) = intake.seen
    assert len(intake.reserved) == 1 and item.queue is not None and item.queue.lease_owner == "me"
    assert result == results[1] and len(result.queue_recipient_ids) == 1
    (row,) = await stage.queue()
    assert row.next_attempt_at == item.queue.lease_until


async def test_without_a_relay_the_queue_still_fills(stage: SmtpStage) -> None:
    await stage.mailroom.accept((queued("x@a.mssante.fr"),))
    assert len(await stage.queue()) == 1


async def test_a_group_is_whole_or_nothing(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    intake, inbox = Intake(), stage.mailboxes[ALICE].inbox_id
    heard: list[int] = []
    stage.mailroom.hand_to(intake)
    stage.doorbell.subscribe(inbox, heard.append)
    append = stage.stores.journal.append

    def fail(tx: Any, events: Any) -> None:
        append(tx, events)
        if any(event.trace_id == "bad" for event in events):
            raise StorageFull("no room left")

    monkeypatch.setattr(stage.stores.journal, "append", fail)
    groups = [(filed(inbox, "good1"),), (filed(inbox, "bad"), queued("x@a.mssante.fr", name="report")), (filed(inbox, "good2"),)]
    found = await asyncio.gather(*(stage.mailroom.accept(group) for group in groups), return_exceptions=True)
    assert isinstance(found[1], StorageFull), "its neighbours in the same commit are not refused with it"
    assert not isinstance(found[0], BaseException) and not isinstance(found[2], BaseException)
    assert sorted(one.trace_id for one in await stage.inbox()) == ["good1", "good2"]
    assert await stage.queue() == [] and intake.seen == [] and heard
