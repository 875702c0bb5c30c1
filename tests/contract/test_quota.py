"""Contract of what quotas stand on: limits of a mailbox, what it holds, what EXPUNGE would free; and save dates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from support.storage_values import NOW, accept, filed, make_mailboxes, new_message

from mssante.model.mailbox import Usage
from mssante.storage.interfaces import Acceptance, Filing, FlagChange, Stores

SIZE = len(b"Received: by test\r\nBonjour\r\n")


async def test_usage_is_what_all_folders_hold(stores: Stores) -> None:
    boxes = await make_mailboxes(stores, 2)
    await accept(stores, Acceptance(new_message("trace"), tuple(Filing(box.inbox_id) for box in boxes)),
                 filed(boxes[0].inbox_id + 2, "x", 8))
    assert await stores.database.read(lambda tx: stores.messages.usage(tx, boxes[0].id)) == Usage(2 * SIZE, 2)
    assert await stores.database.read(lambda tx: stores.messages.usage(tx, 999)) == Usage(0, 0)


async def test_what_an_expunge_would_free(stores: Stores, engine: Any) -> None:
    (box,) = await make_mailboxes(stores)
    inbox, messages = box.inbox_id, stores.messages
    await accept(stores, *[filed(inbox, f"m{number}", 8 if number < 3 else 1) for number in range(5)], filed(inbox + 1, "x"))
    folders = [inbox, inbox + 1, inbox + 2]
    assert await stores.database.read(lambda tx: messages.deleted_sizes(tx, folders)) == {inbox: 3 * SIZE}
    assert await stores.database.read(lambda tx: messages.deleted_sizes(tx, [])) == {}
    assert len(await stores.database.write(lambda tx: engine.count(tx, lambda t: messages.deleted_sizes(t, folders)))) == 1
    await stores.database.write(lambda tx: messages.expunge(tx, inbox, None))
    assert await stores.database.read(lambda tx: messages.deleted_sizes(tx, folders)) == {}


async def test_quotas_are_set_and_read(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    assert not box.limited
    assert await stores.database.write(lambda tx: stores.accounts.set_quota(tx, box.address.upper(), octets=1000, messages=3))
    (found,) = await stores.database.read(lambda tx: stores.accounts.mailboxes_by_id(tx, [box.id]))
    assert (found.quota_bytes, found.quota_messages, found.limited) == (1000, 3, True)
    assert found.holds(Usage(900, 2), 100) and not found.holds(Usage(901, 2), 100) and not found.holds(Usage(0, 3), 1)
    assert not await stores.database.write(lambda tx: stores.accounts.set_quota(tx, "none@x", octets=1, messages=1))


async def test_save_dates_are_those_of_this_folder(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    inbox, target, messages = box.inbox_id, box.inbox_id + 1, stores.messages
    sent, copied, moved = (NOW + timedelta(days=days) for days in (-9, 1, 2))
    await accept(stores, Acceptance(new_message("m"), (Filing(inbox, internal_date=sent),)))
    await stores.database.write(lambda tx: messages.copy(tx, inbox, [1], target, now=copied))
    await stores.database.write(lambda tx: messages.move(tx, target, [1], target + 1, now=moved))
    await stores.database.write(lambda tx: messages.copy(tx, inbox, [1], target, now=copied))
    rows = [(await stores.database.read(lambda tx, f=folder: messages.snapshot(tx, f)))[1][0] for folder in (inbox, target, target + 1)]
    assert [row.saved_at for row in rows] == [int(at.timestamp()) for at in (NOW, copied, moved)]
    assert {row.internal_date for row in rows} == {sent}
    after, _ = await stores.database.write(lambda tx: messages.set_flags(tx, target, [2], FlagChange("add", 1)))
    assert after[0].saved_at == int(copied.timestamp())
    changes = await stores.database.read(lambda tx: messages.changes_since(tx, target, 1))
    assert changes.rows[0].saved_at == int(copied.timestamp()) and changes.expunged == (1,)
