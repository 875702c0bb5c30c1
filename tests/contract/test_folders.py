"""Contract of FolderStore."""

from __future__ import annotations

from typing import Any

import pytest
from support.storage_values import NOW, accept, filed, make_mailboxes

from mssante.storage.interfaces import FlagChange, Stores


async def names(stores: Stores, mailbox_id: int) -> list[str]:
    return [one.name for one in await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, mailbox_id))]


async def test_a_new_mailbox_has_its_folders(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    found = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, box.id))
    assert [(one.name, one.special_use) for one in found] == [
        ("INBOX", ""), ("Archive", "\\Archive"), ("Drafts", "\\Drafts"), ("Junk", "\\Junk"), ("Sent", "\\Sent"),
        ("Trash", "\\Trash")]
    assert found[0].id == box.inbox_id
    assert all(one.subscribed and one.uidnext == 1 and one.message_count == 0 for one in found)
    assert len({one.uidvalidity for one in found}) == len(found)


async def test_create_refuses_a_known_name_and_a_gone_mailbox(stores: Stores) -> None:
    first, second = await make_mailboxes(stores, 2)
    made = await stores.database.write(lambda tx: stores.folders.create(tx, first.id, "Patients/2026"))
    assert (made.name, made.mailbox_id, made.subscribed) == ("Patients/2026", first.id, True)
    assert await stores.database.read(lambda tx: stores.folders.get(tx, made.id)) == made
    assert await stores.database.read(lambda tx: stores.folders.get(tx, 999)) is None
    with pytest.raises(ValueError, match="exists"):
        await stores.database.write(lambda tx: stores.folders.create(tx, first.id, "Patients/2026"))
    await stores.database.write(lambda tx: stores.folders.create(tx, second.id, "Patients/2026"))
    with pytest.raises(LookupError):
        await stores.database.write(lambda tx: stores.folders.create(tx, 999, "X"))


async def test_a_name_used_again_has_a_new_uidvalidity(engine: Any, stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)

    async def create_and_delete(opened: Stores) -> int:
        made = await opened.database.write(lambda tx: opened.folders.create(tx, box.id, "X"))
        await opened.database.write(lambda tx: opened.folders.delete(tx, made.id))
        return made.uidvalidity

    seen = [await create_and_delete(stores), await create_and_delete(stores)]
    stores.close()
    seen.append(await create_and_delete(engine.open()))
    assert seen == sorted(set(seen))
    assert seen[0] > 1_700_000_000  # follows the time of opening: a restored backup never gives an old one again


async def test_rename_takes_children_and_refuses_known_names(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    ids = {}
    for name in ("a", "a/b", "a/b/c", "ab", "a_b", "z", "y/k"):
        ids[name] = (await stores.database.write(lambda tx, at=name: stores.folders.create(tx, box.id, at))).id
    await stores.database.write(lambda tx: stores.folders.rename(tx, ids["a"], "new/é"))
    assert set(await names(stores, box.id)) >= {"new/é", "new/é/b", "new/é/b/c", "ab", "a_b", "z"}
    for source, name in (("z", "ab"), ("z", "z"), ("z", "z/below"), ("z", "y")):
        with pytest.raises(ValueError, match="folder"):
            await stores.database.write(lambda tx, at=ids[source], to=name: stores.folders.rename(tx, at, to))
    with pytest.raises(LookupError):
        await stores.database.write(lambda tx: stores.folders.rename(tx, 999, "q"))


async def test_move_all_leaves_tombstones(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    target = await stores.database.write(lambda tx: stores.folders.create(tx, box.id, "Old"))
    await accept(stores, *[filed(box.inbox_id, f"m{number}", number) for number in range(4)])
    await stores.database.write(lambda tx: stores.folders.move_all(tx, box.inbox_id, target.id, now=NOW))
    inbox, rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, box.inbox_id))
    assert (rows, inbox.message_count, inbox.unseen_count, inbox.size_bytes, inbox.uidnext) == ([], 0, 0, 0, 5)
    after, moved = await stores.database.read(lambda tx: stores.messages.snapshot(tx, target.id))
    assert ([(row.uid, row.flags) for row in moved], after.message_count) == ([(1, 0), (2, 1), (3, 2), (4, 3)], 4)
    changes = await stores.database.read(lambda tx: stores.messages.changes_since(tx, box.inbox_id, 2))
    assert changes.expunged == (1, 2, 3, 4)


async def test_delete_and_subscribe(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    made = await stores.database.write(lambda tx: stores.folders.create(tx, box.id, "X"))
    assert await stores.database.write(lambda tx: stores.folders.subscribe(tx, box.id, "X", False))
    known = await stores.database.read(lambda tx: stores.folders.get(tx, made.id))
    assert known is not None and not known.subscribed
    (message_id,) = await accept(stores, filed(made.id))
    await stores.database.write(lambda tx: stores.folders.delete(tx, made.id))
    await stores.database.write(lambda tx: stores.folders.delete(tx, made.id))
    assert "X" not in await names(stores, box.id)
    assert not await stores.database.write(lambda tx: stores.folders.subscribe(tx, box.id, "X", True))
    await stores.database.write(lambda tx: stores.messages.sweep(tx, 10))
    assert await stores.database.read(lambda tx: stores.messages.contents(tx, [message_id], with_body=False)) == []


async def test_statements_do_not_grow_with_content(engine: Any, stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    target = await stores.database.write(lambda tx: stores.folders.create(tx, box.id, "X"))
    await accept(stores, *[filed(box.inbox_id, f"m{number}") for number in range(500)])
    moving = await stores.database.write(lambda tx: len(engine.count(
        tx, lambda t: stores.folders.move_all(t, box.inbox_id, target.id, now=NOW))))
    deleting = await stores.database.write(lambda tx: len(engine.count(
        tx, lambda t: stores.folders.delete(t, target.id))))
    assert moving == 6
    assert deleting <= 8  # four; SQLite also tells those that cascade


async def test_subscriptions_are_to_names(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    folders = stores.folders

    async def lost() -> list[str]:
        return await stores.database.read(lambda tx: folders.lost_subscriptions(tx, box.id))

    async def subscribed(name: str) -> bool:
        found = await stores.database.read(lambda tx: folders.of_mailbox(tx, box.id))
        return next(one.subscribed for one in found if one.name == name)

    for name in ("b", "a", "b"):
        assert await stores.database.write(lambda tx, at=name: folders.subscribe(tx, box.id, at, True, most_lost=2))
    assert not await stores.database.write(lambda tx: folders.subscribe(tx, box.id, "c", True, most_lost=2))
    assert await lost() == ["a", "b"]
    made = await stores.database.write(lambda tx: folders.create(tx, box.id, "a", subscribed=False))
    assert made.subscribed and await lost() == ["b"]
    plain = await stores.database.write(lambda tx: folders.create(tx, box.id, "c", subscribed=False))
    assert not plain.subscribed
    await stores.database.write(lambda tx: folders.delete(tx, plain.id, most_lost=9))
    await stores.database.write(lambda tx: folders.delete(tx, made.id, most_lost=9))
    assert await lost() == ["a", "b"]
    below = await stores.database.write(lambda tx: folders.create(tx, box.id, "x", subscribed=False))
    await stores.database.write(lambda tx: folders.create(tx, box.id, "x/y", subscribed=False))
    assert await stores.database.write(lambda tx: folders.subscribe(tx, box.id, "b/y", True, most_lost=9))
    await stores.database.write(lambda tx: folders.rename(tx, below.id, "b"))
    assert await lost() == ["a"]
    assert await subscribed("b") and await subscribed("b/y")
    assert await stores.database.write(lambda tx: folders.subscribe(tx, box.id, "a", False))
    assert not await stores.database.write(lambda tx: folders.subscribe(tx, box.id, "a", False))
    assert await lost() == []


async def test_recent_boundaries_only_go_up(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    other = await stores.database.write(lambda tx: stores.folders.create(tx, box.id, "X"))
    await accept(stores, *[filed(box.inbox_id, f"m{number}") for number in range(4)], filed(other.id, "n"))
    for boundaries in ({box.inbox_id: 3, other.id: 1}, {box.inbox_id: 2}, {}, {999_999: 7}):
        await stores.database.write(lambda tx, at=boundaries: stores.folders.move_recent(tx, at))
    assert await stores.database.read(lambda tx: stores.folders.recent_counts(tx, [box.inbox_id, other.id])) == {box.inbox_id: 2, other.id: 1}
    await stores.database.write(lambda tx: stores.messages.set_flags(tx, box.inbox_id, [4], FlagChange("add", 8)))
    await stores.database.write(lambda tx: stores.messages.expunge(tx, box.inbox_id, None))
    assert await stores.database.read(lambda tx: stores.folders.recent_counts(tx, [box.inbox_id])) == {box.inbox_id: 1}
    assert (await stores.database.read(lambda tx: stores.folders.get(tx, box.inbox_id))).recent_uid == 3
