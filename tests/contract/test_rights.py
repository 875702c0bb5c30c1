"""Contract of RightStore: who sees what of others, subscriptions, private `\\Seen`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.storage_values import NOW, accept, filed, make_mailboxes

from mssante.model.mailbox import Mailbox, MailboxState
from mssante.model.message import Flags
from mssante.storage.interfaces import Account, FlagChange, Reader, Stores

SEEN = Flags.SEEN.value


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def people(stores: Stores) -> tuple[list[Mailbox], list[Account]]:
    """Three boxes; zero, one and two own one each, and `two` opens the first as well."""
    boxes = await make_mailboxes(stores, 3)
    accounts = await do(stores, lambda tx: stores.accounts.create_accounts(tx, [
        ("zero", "x", (boxes[0].id,)), ("one", "x", (boxes[1].id,)), ("two", "x", (boxes[2].id, boxes[0].id))]))
    return boxes, accounts


def reader(account: Account) -> Reader:
    return Reader(account.id, account.login, account.mailbox_ids[0], account.mailbox_ids[1:])


async def test_rows_are_put_replaced_removed(stores: Stores) -> None:
    boxes, _ = await people(stores)
    inbox = boxes[0].inbox_id
    for identifier, rights in (("one", "lr"), ("anyone", "l"), ("-one", "r"), ("one", "lrs")):
        await do(stores, lambda tx, i=identifier, r=rights: stores.rights.put(tx, inbox, i, r))
    assert await do(stores, lambda tx: stores.rights.of_folder(tx, inbox)) == [("-one", "r"), ("anyone", "l"), ("one", "lrs")]
    await do(stores, lambda tx: stores.rights.put(tx, inbox, "anyone", ""))
    assert await do(stores, lambda tx: stores.rights.of_mailbox(tx, boxes[0].id)) == [
        ("INBOX", "-one", "r"), ("INBOX", "one", "lrs")]
    with pytest.raises(LookupError):
        await do(stores, lambda tx: stores.rights.put(tx, 999, "one", "l"))
    await do(stores, lambda tx: stores.rights.forget(tx, "one"))
    assert await do(stores, lambda tx: stores.rights.of_folder(tx, inbox)) == []


async def test_visible_gives_what_speaks_of_the_reader(stores: Stores) -> None:
    boxes, (zero, one, two) = await people(stores)
    inbox = boxes[0].inbox_id
    other = await do(stores, lambda tx: stores.folders.create(tx, boxes[0].id, "Projets"))
    assert await do(stores, lambda tx: stores.rights.visible(tx, reader(one))) == []
    for folder_id, identifier, rights in ((inbox, "one", "lr"), (inbox, "-anyone", "r"), (other.id, "zero", "lr"),
                                          (other.id, "someone else", "lr")):
        await do(stores, lambda tx, f=folder_id, i=identifier, r=rights: stores.rights.put(tx, f, i, r))
    (grant,) = await do(stores, lambda tx: stores.rights.visible(tx, reader(one)))
    assert (grant.address, grant.folder.id, grant.delegated, sorted(grant.rows)) == (
        "box0@a.mssante.fr", inbox, False, [("-anyone", "r"), ("one", "lr")])
    assert await do(stores, lambda tx: stores.rights.visible(tx, reader(zero))) == []  # one's own box is not another's
    delegated = await do(stores, lambda tx: stores.rights.visible(tx, reader(two)))
    assert [grant.folder.name for grant in delegated] == ["INBOX", "Archive", "Drafts", "Junk", "Projets", "Sent", "Trash"]
    assert all(grant.delegated for grant in delegated)
    await do(stores, lambda tx: stores.accounts.set_mailbox_state(tx, boxes[0].address, MailboxState.SUSPENDED))
    assert await do(stores, lambda tx: stores.rights.visible(tx, reader(one))) == []
    assert await do(stores, lambda tx: stores.rights.visible(tx, reader(two))) == []


async def test_children_inherit_and_rights_die_with_their_folder(stores: Stores) -> None:
    boxes, _ = await people(stores)
    made = [await do(stores, lambda tx, n=name: stores.folders.create(tx, boxes[0].id, n)) for name in ("a", "a/b", "a/b/c")]
    await do(stores, lambda tx: stores.rights.put(tx, made[0].id, "one", "lr"))
    await do(stores, lambda tx: stores.rights.inherit(tx, made[0].id, [made[1].id, made[2].id]))
    await do(stores, lambda tx: stores.rights.inherit(tx, made[0].id, []))
    assert await do(stores, lambda tx: stores.rights.of_mailbox(tx, boxes[0].id)) == [
        ("a", "one", "lr"), ("a/b", "one", "lr"), ("a/b/c", "one", "lr")]
    await do(stores, lambda tx: stores.folders.delete(tx, made[2].id))
    assert len(await do(stores, lambda tx: stores.rights.of_mailbox(tx, boxes[0].id))) == 2


async def test_subscriptions_belong_to_the_account(stores: Stores) -> None:
    boxes, (_, one, two) = await people(stores)
    inbox = boxes[0].inbox_id
    await do(stores, lambda tx: stores.rights.put(tx, inbox, "one", "lr"))
    for _ in range(2):
        await do(stores, lambda tx: stores.rights.follow(tx, one.id, inbox, True))
    assert await do(stores, lambda tx: stores.rights.followed(tx, one.id)) == [(inbox, boxes[0].address, "INBOX")]
    assert await do(stores, lambda tx: stores.rights.followed(tx, two.id)) == []
    (grant,) = await do(stores, lambda tx: stores.rights.visible(tx, reader(one)))
    assert grant.subscribed
    await do(stores, lambda tx: stores.rights.follow(tx, one.id, inbox, False))
    assert await do(stores, lambda tx: stores.rights.followed(tx, one.id)) == []


async def test_holders_are_owners_then_delegates(stores: Stores) -> None:
    boxes, _ = await people(stores)
    found = await do(stores, lambda tx: stores.rights.holders(tx, boxes[0].id))
    assert [(one.login, one.owner) for one in found] == [("zero", True), ("two", False)]


async def private_inbox(stores: Stores) -> tuple[int, list[Account]]:
    """An inbox of four messages, the second and third read, then `\\Seen` private."""
    boxes, accounts = await people(stores)
    inbox = boxes[0].inbox_id
    await accept(stores, *[filed(inbox, f"m{number}", SEEN if number in (2, 3) else 0) for number in range(1, 5)])
    await do(stores, lambda tx: stores.rights.put(tx, inbox, "one", "lr"))
    assert await do(stores, lambda tx: stores.rights.set_seen_private(tx, inbox, True))
    return inbox, accounts


async def test_the_switch_seeds_those_who_read_there(stores: Stores) -> None:
    inbox, (zero, one, two) = await private_inbox(stores)
    assert await do(stores, lambda tx: stores.rights.set_seen_private(tx, inbox, True)) == 0
    for account in (zero, one, two):
        assert await do(stores, lambda tx, a=account: stores.rights.seen(tx, inbox, a.id)) == [2, 3]
    folder = await do(stores, lambda tx: stores.folders.get(tx, inbox))
    assert folder.seen_private
    with pytest.raises(LookupError):
        await do(stores, lambda tx: stores.rights.set_seen_private(tx, 999, True))


async def test_marks_are_of_one_reader(stores: Stores) -> None:
    inbox, (zero, one, _) = await private_inbox(stores)
    before = (await do(stores, lambda tx: stores.folders.get(tx, inbox))).highest_modseq
    done = await do(stores, lambda tx: stores.rights.mark(tx, inbox, one.id, [1, 2, 99], [3]))
    assert (done.added, done.removed) == ((1,), (3,))
    assert [(row.uid, row.modseq > before) for row in done.rows] == [(1, True), (2, False), (3, True)]
    assert await do(stores, lambda tx: stores.rights.seen(tx, inbox, one.id)) == [1, 2]
    assert await do(stores, lambda tx: stores.rights.seen(tx, inbox, zero.id)) == [2, 3]
    assert (await do(stores, lambda tx: stores.folders.get(tx, inbox))).highest_modseq == before + 1
    again = await do(stores, lambda tx: stores.rights.mark(tx, inbox, one.id, [1], [3]))
    assert (again.added, again.removed) == ((), ())
    assert (await do(stores, lambda tx: stores.folders.get(tx, inbox))).highest_modseq == before + 1
    assert await do(stores, lambda tx: stores.rights.seen_counts(tx, one.id, [inbox, 999])) == {inbox: 2}
    assert await do(stores, lambda tx: stores.rights.seen_counts(tx, one.id, [])) == {}


async def test_what_is_expunged_or_moved_is_not_counted(stores: Stores) -> None:
    inbox, (zero, _, _) = await private_inbox(stores)
    await do(stores, lambda tx: stores.messages.set_flags(tx, inbox, [2], FlagChange("add", Flags.DELETED.value)))
    await do(stores, lambda tx: stores.messages.expunge(tx, inbox, None))
    assert await do(stores, lambda tx: stores.rights.seen(tx, inbox, zero.id)) == [3]
    target = await do(stores, lambda tx: stores.folders.create(tx, (stores.folders.get(tx, inbox)).mailbox_id, "X"))
    await do(stores, lambda tx: stores.messages.move(tx, inbox, [3, 4], target.id, now=NOW))
    assert await do(stores, lambda tx: stores.rights.seen_counts(tx, zero.id, [inbox])) == {}


async def test_back_to_shared_keeps_what_the_owner_read(stores: Stores) -> None:
    inbox, (zero, one, _) = await private_inbox(stores)
    await do(stores, lambda tx: stores.rights.mark(tx, inbox, zero.id, [1], [3]))
    await do(stores, lambda tx: stores.rights.mark(tx, inbox, one.id, [4]))
    modseq = await do(stores, lambda tx: stores.rights.set_seen_private(tx, inbox, False))
    folder, rows = await do(stores, lambda tx: stores.messages.snapshot(tx, inbox))
    assert [row.uid for row in rows if row.flags & SEEN] == [1, 2]
    assert (folder.unseen_count, folder.seen_private, folder.highest_modseq) == (2, False, modseq)
    assert all(row.modseq == modseq for row in rows)
    assert await do(stores, lambda tx: stores.rights.seen(tx, inbox, one.id)) == []


async def test_masked_changes_leave_the_rest(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    await accept(stores, filed(box.inbox_id, "m", int(Flags.FLAGGED | Flags.DELETED), "travail"))
    rows, _ = await do(stores, lambda tx: stores.messages.set_flags(
        tx, box.inbox_id, [1], FlagChange("set", int(Flags.SEEN | Flags.DRAFT), ("autre",), mask=SEEN, words=False)))
    assert (rows[0].flags, rows[0].keywords) == (int(Flags.FLAGGED | Flags.DELETED | Flags.SEEN), "travail")


async def test_statements_do_not_grow(engine: Any, stores: Stores) -> None:
    boxes, (_, one, two) = await people(stores)
    inbox = boxes[0].inbox_id
    await accept(stores, *[filed(inbox, f"m{number}") for number in range(300)])
    for number in range(40):
        made = await do(stores, lambda tx, n=number: stores.folders.create(tx, boxes[0].id, f"f{n}"))
        await do(stores, lambda tx, f=made: stores.rights.put(tx, f.id, "one", "lr"))

    async def count(unit: Callable[[Any], Any]) -> int:
        return await do(stores, lambda tx: len(engine.count(tx, unit)))

    assert await count(lambda tx: stores.rights.visible(tx, reader(one))) == 2
    assert await count(lambda tx: stores.rights.visible(tx, reader(two))) == 3
    few = await count(lambda tx: stores.rights.mark(tx, inbox, one.id, [1]))
    many = await count(lambda tx: stores.rights.mark(tx, inbox, one.id, list(range(1, 301))))
    assert many <= few + 8  # rows go in by 64, 32, … 1
    assert await count(lambda tx: stores.rights.set_seen_private(tx, inbox, True)) <= 5
    assert await count(lambda tx: stores.rights.set_seen_private(tx, inbox, False)) <= 7
