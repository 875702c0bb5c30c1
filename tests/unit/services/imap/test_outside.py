"""What another process changes reaches open folders: a second set of stores plays that process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.imap_stage import Stage, build, open_test_stores

from mssante.services.imap.outside import OutsideWatch
from mssante.services.mailroom import Mailroom
from mssante.storage.interfaces import Stores


class Silent:
    """A doorbell that nobody hears: that of the other process."""

    def ring(self, folder_id: int, modseq: int) -> None:
        """Nothing."""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    built = await build(tmp_path)
    yield built
    await built.close()


@pytest.fixture
async def other(stage: Stage, tmp_path: Path) -> AsyncIterator[Stores]:
    stores = open_test_stores(tmp_path)
    yield stores
    stores.close()


async def deliver_from(other: Stores, stage: Stage) -> None:
    """File a message from the other process."""
    away = replace(stage, services=replace(stage.services, mailroom=Mailroom(other, Silent())))  # type: ignore[arg-type]
    await away.deliver("INBOX", "hello")


async def test_mail_of_another_process_reaches_an_open_folder(stage: Stage, other: Stores) -> None:
    inbox = await stage.folder("INBOX")
    view, cursor = await stage.services.registry.open(inbox.id)
    heard: list[int] = []
    view.listen(cursor, lambda: heard.append(len(view.uids)))
    watch = OutsideWatch(stage.stores, stage.services.doorbell)
    await watch.once()
    await deliver_from(other, stage)
    assert len(view.uids) == 0, "nobody rang"
    await watch.once()
    while not heard:
        await stage.stores.database.read(lambda tx: None)
    assert heard == [1]


async def test_a_folder_that_is_quiet_does_not_ring(stage: Stage) -> None:
    inbox = await stage.folder("INBOX")
    watch = OutsideWatch(stage.stores, stage.services.doorbell)
    rung: list[int] = []
    end = stage.services.doorbell.subscribe(inbox.id, rung.append)
    for _ in range(3):
        await watch.once()
        await stage.stores.database.read(lambda tx: None)
    assert len(rung) == 1, "once, when it is seen for the first time"
    end()
    await watch.once()
    assert not watch._known


async def test_a_folder_deleted_by_another_process_ends_its_view(stage: Stage, other: Stores) -> None:
    archive = await stage.folder("Archive")
    view, cursor = await stage.services.registry.open(archive.id)
    view.listen(cursor, lambda: None)
    watch = OutsideWatch(stage.stores, stage.services.doorbell)
    await watch.once()
    await other.database.write(lambda tx: other.folders.delete(tx, archive.id))
    await watch.once()
    while not view.gone:
        await stage.stores.database.read(lambda tx: None)
    assert view.gone


async def test_a_change_announced_before_somebody_listens_is_heard(stage: Stage) -> None:
    inbox = await stage.folder("INBOX")
    view, cursor = await stage.services.registry.open(inbox.id)
    heard: list[int] = []
    await stage.deliver("INBOX", "hello")
    while not view.stale:  # nobody idles: it is read at the next command
        await asyncio.sleep(0)
    view.listen(cursor, lambda: heard.append(len(view.uids)))
    async with asyncio.timeout(10):
        while not heard:
            await asyncio.sleep(0.01)
    assert heard == [1]
