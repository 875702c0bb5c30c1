"""Blobs that no message names are found and deleted; those in use, and those just staged, stay."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.clock import FakeClock

from mssante.model.mailbox import MailboxType
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.mime.imapview import facts
from mssante.services.housekeeping import Housekeeping
from mssante.storage.interfaces import Acceptance, Filing, NewMailbox, Stores
from mssante.storage.open import open_stores

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def staged(stores: Stores, content: bytes) -> str:
    writer = stores.blobs.stage()
    writer.write(content)
    return writer.commit()


@pytest.mark.parametrize("restart", [True, False])
async def test_only_what_no_message_names_goes(tmp_path: Path, restart: bool) -> None:
    address = f"sqlite:///{tmp_path}/m.db"
    stores = open_stores(address, tmp_path / "blobs")
    (box,) = await stores.database.write(lambda tx: stores.accounts.create_mailboxes(
        tx, [NewMailbox("a@b.test", MailboxType.PER, NOW)]))
    body = b"From: a@b.test\r\n\r\nkept\r\n"
    kept, lost = staged(stores, body), staged(stores, b"refused after it was read")
    message = NewMessage(StagedBody(len(body), kept, blob=kept), b"", facts(body), "t" * 26, NOW)
    await stores.database.write(lambda tx: stores.messages.accept(tx, [Acceptance(message, (Filing(box.inbox_id),))]))
    if restart:
        stores.close()
        stores = open_stores(address, tmp_path / "blobs")
    old = time.time() - timedelta(hours=2).total_seconds()
    for file in (tmp_path / "blobs").rglob("*"):
        if file.is_file():
            os.utime(file, (old, old))
    keeper = Housekeeping(stores, None, FakeClock(NOW), tmp_path / "unused.pem")  # type: ignore[arg-type]
    await keeper.sweep_files(3600)
    left = set(stores.blobs.keys(older_than_seconds=0))
    assert lost not in left and left == {kept}
    stores.close()
