"""Contract of ImportStore, and of FolderStore.modseqs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.storage_values import NOW, accept, filed, make_mailboxes

from mssante.model.journal import JournalEvent, JournalKind
from mssante.storage.interfaces import Acceptance, Stores


def imported(folder_id: int, trace: str, digest: str = "00" * 32) -> Acceptance:
    """One imported message with its event."""
    one = filed(folder_id, trace)
    event = JournalEvent(JournalKind.IMPORTED, NOW, trace, "box", {"sha256": digest, "octets": 3})
    return replace(one, message=replace(one.message, trace_id=trace), events=(event,))


async def test_the_ledger_remembers_what_was_imported(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    await accept(stores, imported(box.inbox_id, "Z1", "aa" * 32), imported(box.inbox_id, "Z2"), filed(box.inbox_id, "m3"))
    read = stores.database.read
    assert await read(lambda tx: stores.imports.known(tx, ["Z1", "Z2", "Z9", "m3"])) == {"Z1": "aa" * 32, "Z2": "00" * 32}
    assert await read(lambda tx: stores.imports.known(tx, [])) == {}


async def test_copies_are_found_wherever_they_went(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    await accept(stores, imported(box.inbox_id, "Z1"), imported(box.inbox_id, "Z2"), imported(box.inbox_id, "Z3"))
    folders = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, box.id))
    archive = next(one.id for one in folders if one.name == "Archive")
    await stores.database.write(lambda tx: stores.messages.move(tx, box.inbox_id, [2], archive, now=NOW))
    await stores.database.write(lambda tx: stores.messages.copy(tx, box.inbox_id, [1], archive, now=NOW))

    def gone(tx: Any) -> None:
        from mssante.storage.interfaces import FlagChange

        stores.messages.set_flags(tx, box.inbox_id, [3], FlagChange("add", 8))
        stores.messages.expunge(tx, box.inbox_id, None)

    await stores.database.write(gone)
    found = await stores.database.read(lambda tx: stores.imports.copies(tx, box.id, ["Z1", "Z2", "Z3"]))
    assert {trace: (one.folder_id, one.uid) for trace, one in found.items()} == {"Z1": (box.inbox_id, 1), "Z2": (archive, 1)}
    assert await stores.database.read(lambda tx: stores.imports.copies(tx, box.id + 1000, ["Z1"])) == {}
    known = await stores.database.read(lambda tx: stores.imports.known(tx, ["Z1", "Z2", "Z3"]))
    assert set(known) == {"Z1", "Z2", "Z3"}, "what was deleted here stays known"


async def test_statements_do_not_grow(engine: Any, stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    await accept(stores, *[imported(box.inbox_id, f"Z{rank}") for rank in range(50)])
    traces = [f"Z{rank}" for rank in range(50)]
    for unit in (lambda tx: stores.imports.known(tx, traces), lambda tx: stores.imports.copies(tx, box.id, traces),
                 lambda tx: stores.folders.modseqs(tx, list(range(100)))):
        seen = await stores.database.read(lambda tx, unit=unit: engine.count(tx, unit))
        assert len(seen) == 1


async def test_modseqs_of_folders(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    before = await stores.database.read(lambda tx: stores.folders.modseqs(tx, [box.inbox_id, 10**9]))
    await accept(stores, filed(box.inbox_id, "m"))
    after = await stores.database.read(lambda tx: stores.folders.modseqs(tx, [box.inbox_id]))
    assert set(before) == set(after) == {box.inbox_id} and after[box.inbox_id] == before[box.inbox_id] + 1
    assert await stores.database.read(lambda tx: stores.folders.modseqs(tx, [])) == {}
