"""Contract of MessageStore."""

from __future__ import annotations

from typing import Any

import pytest
from support.storage_values import NOW, accept, event, filed, make_mailboxes, new_message, queued

from mssante.model.message import Flags, TooManyChanges
from mssante.storage.interfaces import Acceptance, Filing, FlagChange, Stores


async def one_folder(stores: Stores, count: int = 0, flags: int = 0) -> int:
    (box,) = await make_mailboxes(stores)
    if count:
        await accept(stores, *[filed(box.inbox_id, f"m{number}", flags) for number in range(count)])
    return box.inbox_id


async def check_counters(stores: Stores, *folder_ids: int) -> None:
    """Counters of a folder row equal what its rows say."""
    for folder_id in folder_ids:
        known, rows = await stores.database.read(lambda tx, at=folder_id: stores.messages.snapshot(tx, at))
        assert known.message_count == len(rows)
        assert known.unseen_count == sum(1 for row in rows if not row.flags & Flags.SEEN)
        assert known.deleted_count == sum(1 for row in rows if row.flags & Flags.DELETED)
        assert known.size_bytes == sum(row.size for row in rows)
        assert known.uidnext > max((row.uid for row in rows), default=0)
        assert known.highest_modseq >= max((row.modseq for row in rows), default=0)


async def test_accept_gives_uids_in_order_and_one_modseq_per_batch(stores: Stores) -> None:
    first, second = [box.inbox_id for box in await make_mailboxes(stores, 2)]
    done = await stores.database.write(lambda tx: stores.messages.accept(tx, [
        filed(first, "a"), Acceptance(new_message("b"), (Filing(first, 1, "$X"), Filing(second))), filed(first, "c")]))
    assert [[(at.folder_id, at.uid) for at in one.filed] for one in done] == [
        [(first, 1)], [(first, 2), (second, 1)], [(first, 3)]]
    assert len({at.modseq for one in done for at in one.filed if at.folder_id == first}) == 1
    known, rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, first))
    assert [(row.uid, row.flags, row.keywords, row.internal_date) for row in rows] == [
        (1, 0, "", NOW), (2, 1, "$X", NOW), (3, 0, "", NOW)]
    assert rows[0].size == len(b"Received: by test\r\nBonjour\r\n")
    assert (known.uidnext, known.unseen_count) == (4, 2)
    await check_counters(stores, first, second)


async def test_accept_tells_missing_folders_and_leaves_the_content_to_sweep(stores: Stores) -> None:
    inbox = await one_folder(stores)
    (one, two) = await stores.database.write(lambda tx: stores.messages.accept(tx, [
        filed(999_999, "lost"), Acceptance(new_message("kept"), (Filing(inbox), Filing(999_999)))]))
    assert (one.filed, one.missing) == ((), (999_999,))
    assert ([at.uid for at in two.filed], two.missing) == ([1], (999_999,))
    await stores.database.write(lambda tx: stores.messages.sweep(tx, 10))
    found = await stores.database.read(
        lambda tx: stores.messages.contents(tx, [one.message_id, two.message_id], with_body=True))
    assert [row.id for row in found] == [two.message_id]


async def test_contents_come_back_octet_for_octet(stores: Stores) -> None:
    inbox = await one_folder(stores)
    body = bytes(range(256)) * 20
    inline, blob = await accept(
        stores, Acceptance(new_message("a", body=body), (Filing(inbox),)),
        Acceptance(new_message("b", body=body, blob="ab" * 32), (Filing(inbox),)))
    with_body = await stores.database.read(lambda tx: stores.messages.contents(tx, [blob, inline, 77], with_body=True))
    assert [(row.id, row.inline, row.blob, row.body_size) for row in with_body] == [
        (blob, None, "ab" * 32, len(body)), (inline, body, None, len(body))]
    assert (with_body[0].prefix, with_body[0].envelope, with_body[0].bodystructure, with_body[0].trace_id) == (
        b"Received: by test\r\n", b"(envelope)", b"(structure)", "b")
    without = await stores.database.read(lambda tx: stores.messages.contents(tx, [inline], with_body=False))
    assert without[0].inline is None


@pytest.mark.parametrize("odd", ["a\0b", "\udce9t\udce9", "x" * 100_000, "é" * 3000])
async def test_odd_header_texts_never_refuse_mail(stores: Stores, odd: str) -> None:
    inbox = await one_folder(stores)
    await accept(stores, filed(inbox, "odd", subject=odd, message_id=odd, in_reply_to=odd, from_address=odd))
    _, rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, inbox))
    assert len(rows) == 1


async def test_set_flags_modes(stores: Stores) -> None:
    inbox = await one_folder(stores, 3, int(Flags.SEEN))

    async def store(mode: str, flags: int, *keywords: str) -> list[tuple[int, str]]:
        change = FlagChange(mode, flags, keywords)
        rows, refused = await stores.database.write(lambda tx: stores.messages.set_flags(tx, inbox, [1, 2], change))
        assert refused == []
        await check_counters(stores, inbox)
        again = await stores.database.read(lambda tx: stores.messages.rows(tx, inbox, [1, 2]))
        assert again == rows
        return [(row.flags, row.keywords) for row in rows]

    assert await store("add", 8, "$Work", "alpha") == [(9, "$Work alpha")] * 2
    assert await store("add", 0, "$WORK") == [(9, "$Work alpha")] * 2
    assert await store("remove", 1, "$work") == [(8, "alpha")] * 2
    assert await store("set", 4, "b", "a") == [(4, "a b")] * 2
    assert await store("set", 0) == [(0, "")] * 2
    (third,) = await stores.database.read(lambda tx: stores.messages.rows(tx, inbox, [3]))
    assert third.flags == 1


async def test_set_flags_leaves_unchanged_rows_alone(stores: Stores) -> None:
    inbox = await one_folder(stores, 2)
    first, _ = await stores.database.write(
        lambda tx: stores.messages.set_flags(tx, inbox, [1], FlagChange("add", 1)))
    second, _ = await stores.database.write(
        lambda tx: stores.messages.set_flags(tx, inbox, [1, 2, 50], FlagChange("add", 1)))
    assert [row.uid for row in second] == [1, 2]
    assert second[0] == first[0]
    assert second[1].modseq == first[0].modseq + 1
    known, _ = await stores.database.read(lambda tx: stores.messages.snapshot(tx, inbox))
    third, _ = await stores.database.write(lambda tx: stores.messages.set_flags(tx, inbox, [1, 2], FlagChange("add", 1)))
    after, _ = await stores.database.read(lambda tx: stores.messages.snapshot(tx, inbox))
    assert (third, after.highest_modseq) == (second, known.highest_modseq)


async def test_set_flags_refuses_rows_changed_since(stores: Stores) -> None:
    inbox = await one_folder(stores, 3)
    rows, _ = await stores.database.write(
        lambda tx: stores.messages.set_flags(tx, inbox, [2], FlagChange("add", 4, ("a",))))
    change = FlagChange("add", 1, ("z",), unchanged_since=rows[0].modseq - 1)
    after, refused = await stores.database.write(lambda tx: stores.messages.set_flags(tx, inbox, [1, 2, 3], change))
    assert ([row.uid for row in after], refused) == ([1, 3], [2])
    (second,) = await stores.database.read(lambda tx: stores.messages.rows(tx, inbox, [2]))
    assert second == rows[0]
    await check_counters(stores, inbox)


async def test_keyword_values_that_become_each_other(stores: Stores) -> None:
    inbox = await one_folder(stores)
    await accept(stores, filed(inbox, "a", 0, "x"), filed(inbox, "b", 0, "x y"), filed(inbox, "c", 0, ""))
    rows, _ = await stores.database.write(
        lambda tx: stores.messages.set_flags(tx, inbox, [1, 2, 3], FlagChange("add", 0, ("y",))))
    assert [row.keywords for row in rows] == ["x y", "x y", "y"]
    assert await stores.database.read(lambda tx: stores.messages.rows(tx, inbox, [1, 2, 3])) == rows


@pytest.mark.parametrize("uids", [[1, 2, 3, 4], [4, 2], [3, 3, 1]])
async def test_copy_and_move(stores: Stores, uids: list[int]) -> None:
    (box,) = await make_mailboxes(stores)
    inbox, target = box.inbox_id, box.inbox_id + 1
    await accept(stores, *[filed(inbox, f"m{number}", number, f"k{number}") for number in range(1, 5)])
    await accept(stores, filed(target, "before"))
    wanted = sorted(set(uids))
    pairs = await stores.database.write(lambda tx: stores.messages.copy(tx, inbox, uids, target, now=NOW))
    assert pairs == [(uid, 2 + place) for place, uid in enumerate(wanted)]
    _, source_rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, inbox))
    _, target_rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, target))
    facts = {row.uid: (row.flags, row.keywords, row.message_id, row.internal_date, row.size) for row in source_rows}
    assert [(row.flags, row.keywords, row.message_id, row.internal_date, row.size) for row in target_rows[1:]] == [
        facts[uid] for uid in wanted]
    moved = await stores.database.write(lambda tx: stores.messages.move(tx, inbox, uids, target, now=NOW))
    assert [pair[0] for pair in moved] == wanted
    changes = await stores.database.read(
        lambda tx: stores.messages.changes_since(tx, inbox, source_rows[-1].modseq))
    assert changes.expunged == tuple(wanted)
    await check_counters(stores, inbox, target)
    assert await stores.database.write(lambda tx: stores.messages.copy(tx, inbox, [77], target, now=NOW)) == []


async def test_move_inside_one_folder(stores: Stores) -> None:
    inbox = await one_folder(stores, 2)
    assert await stores.database.write(lambda tx: stores.messages.move(tx, inbox, [1], inbox, now=NOW)) == [(1, 3)]
    _, rows = await stores.database.read(lambda tx: stores.messages.snapshot(tx, inbox))
    assert [row.uid for row in rows] == [2, 3]
    await check_counters(stores, inbox)


async def test_expunge_takes_only_deleted_among_uids(stores: Stores) -> None:
    inbox = await one_folder(stores, 5)
    await stores.database.write(lambda tx: stores.messages.set_flags(tx, inbox, [1, 2, 4], FlagChange("add", 8)))
    known, _ = await stores.database.read(lambda tx: stores.messages.snapshot(tx, inbox))
    assert await stores.database.write(lambda tx: stores.messages.expunge(tx, inbox, [2, 3])) == [2]
    assert await stores.database.write(lambda tx: stores.messages.expunge(tx, inbox, None)) == [1, 4]
    assert await stores.database.write(lambda tx: stores.messages.expunge(tx, inbox, None)) == []
    changes = await stores.database.read(lambda tx: stores.messages.changes_since(tx, inbox, known.highest_modseq))
    assert (changes.expunged, changes.rows) == ((1, 2, 4), ())
    assert changes.highest_modseq == known.highest_modseq + 2
    await check_counters(stores, inbox)


async def test_changes_since_and_purged_tombstones(stores: Stores) -> None:
    inbox = await one_folder(stores, 2)
    start = await stores.database.read(lambda tx: stores.messages.changes_since(tx, inbox, 1))
    assert [row.uid for row in start.rows] == [1, 2]
    assert (await stores.database.read(
        lambda tx: stores.messages.changes_since(tx, inbox, start.highest_modseq))).rows == ()
    await stores.database.write(lambda tx: stores.messages.set_flags(tx, inbox, [1], FlagChange("add", 8)))
    await stores.database.write(lambda tx: stores.messages.expunge(tx, inbox, None))
    await accept(stores, filed(inbox, "later"))
    changes = await stores.database.read(lambda tx: stores.messages.changes_since(tx, inbox, start.highest_modseq))
    assert ([row.uid for row in changes.rows], changes.expunged, changes.uidnext) == ([3], (1,), 4)
    mark = start.highest_modseq + 2
    messages: Any = stores.messages
    assert await stores.database.write(lambda tx: messages.purge_tombstones(tx, inbox, mark)) == 1
    with pytest.raises(TooManyChanges):
        await stores.database.read(lambda tx: stores.messages.changes_since(tx, inbox, mark - 1))
    assert (await stores.database.read(lambda tx: stores.messages.changes_since(tx, inbox, mark))).expunged == ()


async def test_folders_that_are_gone_are_lookup_errors(stores: Stores) -> None:
    inbox = await one_folder(stores, 1)
    messages, database = stores.messages, stores.database
    for unit in (lambda tx: messages.snapshot(tx, 999), lambda tx: messages.changes_since(tx, 999, 0)):
        with pytest.raises(LookupError):
            await database.read(unit)
    for unit in (lambda tx: messages.set_flags(tx, 999, [1], FlagChange("add", 1)),
                 lambda tx: messages.copy(tx, inbox, [1], 999, now=NOW), lambda tx: messages.move(tx, 999, [1], inbox, now=NOW),
                 lambda tx: messages.expunge(tx, 999, None)):
        with pytest.raises(LookupError):
            await database.write(unit)
    await check_counters(stores, inbox)


async def test_sweep_deletes_content_when_the_last_place_is_gone(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    inbox, other = box.inbox_id, box.inbox_id + 1
    key, shared = "aa" * 32, "bb" * 32
    ids = await accept(
        stores, Acceptance(new_message("a", blob=key), (Filing(inbox, 8),)),
        Acceptance(new_message("b", blob=shared), (Filing(inbox, 8),)),
        Acceptance(new_message("c", blob=shared), (Filing(other),)),
        Acceptance(new_message("d", blob="cc" * 32), (Filing(inbox, 8), Filing(other))),
        Acceptance(new_message("e", blob="dd" * 32), (Filing(inbox, 8),), queued("y@b.mssante.fr").queue))

    async def sweep() -> list[str]:
        return await stores.database.write(lambda tx: stores.messages.sweep(tx, 100))

    assert await sweep() == []
    await stores.database.write(lambda tx: stores.messages.expunge(tx, inbox, None))
    assert await sweep() == [key]
    assert await sweep() == []
    left = await stores.database.read(lambda tx: stores.messages.contents(tx, ids, with_body=False))
    assert [row.id for row in left] == ids[2:]
    await stores.database.write(lambda tx: stores.queue.change(tx, "cancel", NOW))
    assert await sweep() == ["dd" * 32]
    await stores.database.write(lambda tx: stores.folders.delete(tx, other))
    assert await sweep() == [shared, "cc" * 32]


async def test_by_trace(stores: Stores) -> None:
    boxes = await make_mailboxes(stores, 2)
    await accept(stores, Acceptance(new_message("trace"), tuple(Filing(box.inbox_id) for box in boxes)),
                 filed(boxes[0].inbox_id + 2, "x", 8))
    assert await stores.database.read(lambda tx: stores.messages.by_trace(tx, "trace")) == [
        (boxes[0].id, "INBOX", 1), (boxes[1].id, "INBOX", 1)]
    assert await stores.database.read(lambda tx: stores.messages.by_trace(tx, "nothing")) == []


async def test_statements_do_not_grow_with_messages(engine: Any, stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    inbox, target = box.inbox_id, box.inbox_id + 1
    messages = stores.messages

    def counts(tx: Any, total: int) -> dict[str, int]:
        items = [filed(inbox, f"s{total}-{number}", 8) for number in range(total)]
        first = messages.snapshot(tx, inbox)[0].uidnext
        dense = list(range(first, first + total))
        sparse = dense[::2]
        ids = list(range(1, total + 1))
        steps: dict[str, Any] = {
            "accept": lambda t: messages.accept(t, items), "snapshot": lambda t: messages.snapshot(t, inbox),
            "changes": lambda t: messages.changes_since(t, inbox, 1), "rows": lambda t: messages.rows(t, inbox, sparse),
            "contents": lambda t: messages.contents(t, ids, with_body=True),
            "flags": lambda t: messages.set_flags(t, inbox, sparse, FlagChange("add", 1, ("k",))),
            "copy": lambda t: messages.copy(t, inbox, sparse, target, now=NOW),
            "move": lambda t: messages.move(t, inbox, dense[:total // 2], target, now=NOW),
            "expunge": lambda t: messages.expunge(t, inbox, sparse), "sweep": lambda t: messages.sweep(t, total)}
        return {name: len(engine.count(tx, step)) for name, step in steps.items()}

    few = await stores.database.write(lambda tx: counts(tx, 64))
    many = await stores.database.write(lambda tx: counts(tx, 4096))
    limits = {"snapshot": 2, "changes": 2, "rows": 1, "contents": 1, "flags": 5, "copy": 4, "move": 6, "expunge": 4,
              "sweep": 3}
    assert all(few[name] <= limit and many[name] <= limit for name, limit in limits.items()), (few, many)
    # Rows go in inserts of 64: message, folder row, journal event; one UPDATE for all folders and one row that tells.
    assert few["accept"] <= 1 + 3 + 2
    assert many["accept"] <= 3 * 4096 // 64 + 4 + 2


async def test_events_are_written_with_the_message(stores: Stores) -> None:
    inbox = await one_folder(stores)
    await accept(stores, Acceptance(new_message("t"), (Filing(inbox),), None, (event("t", size=3), event("t"))))
    rows = await stores.database.read(lambda tx: stores.journal.by_trace(tx, "t"))
    assert [(row.kind, row.payload, row.at) for row in rows] == [("received", {"size": 3}, NOW), ("received", {}, NOW)]
