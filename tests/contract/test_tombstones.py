"""Contract of what MessageStore keeps of expunged messages: told after a modseq, forgotten when there are too many."""

from __future__ import annotations

import pytest
from support.storage_values import accept, filed, make_mailboxes

from mssante.model.message import Flags, TooManyChanges
from mssante.storage.interfaces import Stores

DELETED = int(Flags.DELETED)


async def folder_with(stores: Stores, inbox: int, removed: int, kept: int = 1) -> None:
    """Put messages into a folder and remove some of them, one by one: one modseq each."""
    for number in range(removed):
        await accept(stores, filed(inbox, f"gone{number}", DELETED))
        await stores.database.write(lambda tx: stores.messages.expunge(tx, inbox, None))
    for number in range(kept):
        await accept(stores, filed(inbox, f"kept{number}"))


async def test_expunged_since(stores: Stores) -> None:
    inbox = (await make_mailboxes(stores))[0].inbox_id
    await folder_with(stores, inbox, removed=3)
    changes = await stores.database.read(lambda tx: stores.messages.changes_since(tx, inbox, 1))
    assert changes.expunged == (1, 2, 3)
    for since in range(1, changes.highest_modseq + 2):
        known = await stores.database.read(lambda tx, at=since: stores.messages.changes_since(tx, inbox, at))
        found = await stores.database.read(lambda tx, at=since: stores.messages.expunged_since(tx, inbox, at))
        assert tuple(found) == known.expunged
    with pytest.raises(LookupError):
        await stores.database.read(lambda tx: stores.messages.expunged_since(tx, 999_999, 1))


async def test_the_oldest_tombstones_beyond_a_number(stores: Stores) -> None:
    first, second = [box.inbox_id for box in await make_mailboxes(stores, 2)]
    await folder_with(stores, first, removed=5)
    await folder_with(stores, second, removed=2)
    messages, database = stores.messages, stores.database
    found = await database.read(lambda tx: messages.tombstones_beyond(tx, 2))
    assert [folder for folder, _ in found] == [first]
    (_, mark), = found
    assert await database.write(lambda tx: messages.purge_tombstones(tx, first, mark)) == 3
    assert await database.read(lambda tx: messages.expunged_since(tx, first, mark)) == [4, 5]
    with pytest.raises(TooManyChanges):
        await database.read(lambda tx: messages.expunged_since(tx, first, mark - 1))
    assert await database.read(lambda tx: messages.tombstones_beyond(tx, 2)) == []
    assert len(await database.read(lambda tx: messages.tombstones_beyond(tx, 1))) == 2


async def test_one_expunge_of_many_goes_at_once(stores: Stores) -> None:
    inbox = (await make_mailboxes(stores))[0].inbox_id
    await accept(stores, *[filed(inbox, f"m{number}", DELETED) for number in range(6)])
    await stores.database.write(lambda tx: stores.messages.expunge(tx, inbox, None))
    (_, mark), = await stores.database.read(lambda tx: stores.messages.tombstones_beyond(tx, 4))
    assert await stores.database.write(lambda tx: stores.messages.purge_tombstones(tx, inbox, mark)) == 6
