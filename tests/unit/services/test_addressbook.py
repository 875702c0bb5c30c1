"""The cache of mailboxes: fresh for half a minute, one read for all who wait, never a memory of absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.smtp_stage import ALICE, BOB, NOW, OURS, SmtpStage, build

from mssante.errors import OperatorFault
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.services import addressbook
from mssante.services.addressbook import KEEP_SECONDS
from mssante.storage.interfaces import NewMailbox


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def reads(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each read of storage."""
    seen: list[bool] = []
    read = stage.stores.database.read

    async def counted(unit: Callable[[Any], Any], **given: Any) -> Any:
        seen.append(True)
        return await read(unit, **given)

    monkeypatch.setattr(stage.stores.database, "read", counted)
    return seen


async def test_known_after_it_was_found(stage: SmtpStage, reads: list[bool]) -> None:
    book = stage.addresses
    assert book.known(ALICE) is None
    assert await book.find(ALICE) == stage.mailboxes[ALICE] == book.known(ALICE)
    await book.find(ALICE)
    assert len(reads) == 1


async def test_those_who_wait_share_one_read(stage: SmtpStage, reads: list[bool]) -> None:
    found = await asyncio.gather(*(stage.addresses.find(one) for one in (ALICE, ALICE, BOB, ALICE)))
    assert [box.address for box in found if box] == [ALICE, ALICE, BOB, ALICE] and len(reads) == 2


async def test_absence_is_asked_again(stage: SmtpStage, reads: list[bool]) -> None:
    key = f"nouvelle@{OURS}"
    assert await stage.addresses.find(key) is None
    await stage.stores.database.write(
        lambda tx: stage.stores.accounts.create_mailboxes(tx, [NewMailbox(key, MailboxType.PER, NOW)]))
    assert (await stage.addresses.find(key)) is not None and len(reads) == 2


async def test_a_change_is_seen_within_the_delay_or_at_once_when_told(stage: SmtpStage) -> None:
    async def state() -> MailboxState:
        box = await stage.addresses.find(ALICE)
        assert box is not None
        return box.state

    async def change(to: MailboxState) -> None:
        await stage.stores.database.write(lambda tx: stage.stores.accounts.set_mailbox_state(tx, ALICE, to))

    assert await state() is MailboxState.ACTIVE
    await change(MailboxState.SUSPENDED)
    assert await state() is MailboxState.ACTIVE
    stage.clock.advance(timedelta(seconds=KEEP_SECONDS + 1))
    assert await state() is MailboxState.SUSPENDED
    await change(MailboxState.CLOSED)
    stage.addresses.forget()
    assert await state() is MailboxState.CLOSED
    stage.addresses.keep_seconds = 2.0  # `limits.mailbox_seconds`
    stage.addresses.forget()
    assert await state() is MailboxState.CLOSED
    await change(MailboxState.ACTIVE)
    stage.clock.advance(timedelta(seconds=1.9))
    assert await state() is MailboxState.CLOSED
    stage.clock.advance(timedelta(seconds=0.2))
    assert await state() is MailboxState.ACTIVE


async def test_one_who_gives_up_takes_nothing_from_the_others(stage: SmtpStage, reads: list[bool]) -> None:
    impatient = asyncio.ensure_future(stage.addresses.find(ALICE))
    patient = asyncio.ensure_future(stage.addresses.find(ALICE))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == stage.mailboxes[ALICE] and len(reads) == 1


async def test_a_fault_is_told_and_not_kept(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: object, **given: object) -> None:
        raise OperatorFault("storage failed")

    monkeypatch.setattr(stage.stores.database, "read", fail)
    with pytest.raises(OperatorFault):
        await stage.addresses.find(ALICE)
    monkeypatch.undo()
    assert await stage.addresses.find(ALICE) == stage.mailboxes[ALICE]


async def test_the_cache_is_bounded(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addressbook, "CAPACITY", 1)
    await stage.addresses.find(ALICE)
    await stage.addresses.find(BOB)
    assert stage.addresses.known(ALICE) is None and stage.addresses.known(BOB) is not None
