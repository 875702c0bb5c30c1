"""Contract of AnnotationStore: shared and private entries, set-based changes, what goes with folders and accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.storage_values import make_mailboxes

from mssante.storage.interfaces import FolderAnnotation, Place, Stores

COLOR, NOTE, MINE = "/shared/vendor/x/color", "/shared/comment", "/private/comment"


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def test_values_are_put_replaced_removed(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    place, store = Place(box.id, box.inbox_id), stores.annotations
    await do(stores, lambda tx: store.put(tx, place, 7, {COLOR: b"#fff", MINE: b"\x00\xff", NOTE: b""}))
    assert await do(stores, lambda tx: store.sizes(tx, place, 7)) == {COLOR: 4, MINE: 2, NOTE: 0}
    assert await do(stores, lambda tx: store.values(tx, place, 7, [MINE, NOTE, "/shared/none"])) == {MINE: b"\x00\xff", NOTE: b""}
    await do(stores, lambda tx: store.put(tx, place, 7, {COLOR: b"#000", NOTE: None, "/shared/none": None}))
    await do(stores, lambda tx: store.put(tx, place, 7, {}))
    assert await do(stores, lambda tx: store.values(tx, place, 7, [COLOR, NOTE, MINE])) == {COLOR: b"#000", MINE: b"\x00\xff"}
    assert await do(stores, lambda tx: store.values(tx, place, 7, [])) == {}
    with pytest.raises(LookupError):
        await do(stores, lambda tx: store.put(tx, Place(box.id, 999), 7, {COLOR: b"x"}))


async def test_private_entries_are_one_accounts_alone(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    place, store = Place(box.id, box.inbox_id), stores.annotations
    await do(stores, lambda tx: store.put(tx, place, 7, {MINE: b"seven", NOTE: b"all"}))
    await do(stores, lambda tx: store.put(tx, place, 8, {MINE: b"eight"}))
    assert await do(stores, lambda tx: store.values(tx, place, 7, [MINE, NOTE])) == {MINE: b"seven", NOTE: b"all"}
    assert await do(stores, lambda tx: store.values(tx, place, 8, [MINE, NOTE])) == {MINE: b"eight", NOTE: b"all"}
    await do(stores, lambda tx: store.put(tx, place, 8, {MINE: None, NOTE: b"changed"}))
    assert await do(stores, lambda tx: store.values(tx, place, 7, [MINE, NOTE])) == {MINE: b"seven", NOTE: b"changed"}
    assert await do(stores, lambda tx: store.count(tx, box.id, 7)) == 2


async def test_entries_of_many_folders_in_one_statement(stores: Stores, engine: Any) -> None:
    boxes = await make_mailboxes(stores, 3)
    store = stores.annotations
    for box in boxes:
        for folder_id in (0, box.inbox_id, box.inbox_id + 1):
            await do(stores, lambda tx, b=box, f=folder_id: store.put(tx, Place(b.id, f), 7, {COLOR: b"c", MINE: b"m", NOTE: b"n"}))
    ids = [boxes[0].id, boxes[2].id]
    found = await do(stores, lambda tx: store.of_folders(tx, ids, 7, [COLOR, MINE]))
    assert sorted(found, key=lambda one: (one.folder_id, one.entry)) == [
        FolderAnnotation(box.inbox_id + place, entry, value)
        for box in (boxes[0], boxes[2]) for place in (0, 1) for entry, value in ((MINE, b"m"), (COLOR, b"c"))]
    assert {one.entry for one in await do(stores, lambda tx: store.of_folders(tx, ids, 8, [COLOR, MINE]))} == {COLOR}
    assert await do(stores, lambda tx: store.of_folders(tx, ids, 7, [])) == []
    assert len(await stores.database.write(lambda tx: engine.count(tx, lambda t: store.of_folders(t, ids, 7, [COLOR, MINE])))) == 1


async def test_annotations_are_copied_and_go_with_their_folder_or_account(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    (account,) = await do(stores, lambda tx: stores.accounts.create_accounts(tx, [("zero", "x", (box.id,))]))
    store, inbox = stores.annotations, Place(box.id, box.inbox_id)
    other = Place(box.id, box.inbox_id + 1)
    await do(stores, lambda tx: store.put(tx, inbox, account.id, {MINE: b"m", NOTE: b"n"}))
    await do(stores, lambda tx: store.put(tx, Place(box.id), account.id, {MINE: b"server"}))
    await do(stores, lambda tx: store.copy(tx, inbox, other))
    assert await do(stores, lambda tx: store.sizes(tx, other, account.id)) == {MINE: 1, NOTE: 1}
    await do(stores, lambda tx: stores.folders.delete(tx, other.folder_id))
    assert await do(stores, lambda tx: store.sizes(tx, other, account.id)) == {}
    assert await do(stores, lambda tx: store.sizes(tx, inbox, account.id)) == {MINE: 1, NOTE: 1}
    await do(stores, lambda tx: stores.accounts.delete_account(tx, "Zero"))
    assert await do(stores, lambda tx: store.sizes(tx, inbox, account.id)) == {NOTE: 1}
    assert await do(stores, lambda tx: store.count(tx, box.id, account.id)) == 1
