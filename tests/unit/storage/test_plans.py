"""Which way SQLite goes through the tables that grow: never a walk over all rows in a call that is made often."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.storage_values import NOW, accept, filed, make_mailboxes, queued

from mssante.storage.interfaces import Claim, FlagChange, Place, SettledBatch, Settlement, Stores
from mssante.storage.open import StorageOptions, open_stores

GROWING = ("annotation", "message", "folder_message", "queue_message", "queue_recipient", "journal_event", "mailbox")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs", StorageOptions(readers=1))
    yield opened
    opened.close()


def plans(tx: Any, unit: Any) -> list[str]:
    """Run `unit` and give the plan lines of each statement that it ran."""
    driver = tx.connection.connection.dbapi_connection
    seen: list[str] = []
    driver.set_trace_callback(seen.append)
    unit(tx)
    driver.set_trace_callback(None)
    return [row[3] for text in seen if not text.startswith("--") for row in driver.execute(f"EXPLAIN QUERY PLAN {text}")]


async def test_frequent_calls_never_walk_a_growing_table(stores: Stores) -> None:
    (box,) = await make_mailboxes(stores)
    inbox, messages, queue = box.inbox_id, stores.messages, stores.queue
    await accept(stores, *[filed(inbox, f"m{number}") for number in range(5)], queued("a@b.fr"))
    settled = SettledBatch((Settlement(1, 1, "delivered"), Settlement(2, 1, "queued", NOW)))
    calls = [
        lambda tx: messages.accept(tx, [filed(inbox), queued("a@b.fr")]), lambda tx: messages.snapshot(tx, inbox),
        lambda tx: messages.changes_since(tx, inbox, 1), lambda tx: messages.rows(tx, inbox, [1, 3]),
        lambda tx: messages.contents(tx, [1, 2], with_body=True),
        lambda tx: messages.set_flags(tx, inbox, [1, 3], FlagChange("add", 8, ("k",))),
        lambda tx: messages.copy(tx, inbox, [1, 3], inbox + 1, now=NOW), lambda tx: messages.expunge(tx, inbox, None),
        lambda tx: messages.deleted_sizes(tx, [inbox, inbox + 1]),
        lambda tx: stores.annotations.put(tx, Place(box.id, inbox), 7, {"/shared/a": b"x", "/private/a": b"y"}),
        lambda tx: stores.annotations.sizes(tx, Place(box.id, inbox), 7), lambda tx: stores.annotations.count(tx, box.id, 7),
        lambda tx: stores.annotations.values(tx, Place(box.id, inbox), 7, ["/shared/a"]),
        lambda tx: stores.annotations.of_folders(tx, [box.id], 7, ["/shared/a", "/private/a"]),
        lambda tx: messages.usage(tx, box.id), lambda tx: messages.by_trace(tx, "m1"),
        lambda tx: messages.sweep(tx, 10),
        lambda tx: queue.claim(tx, Claim(NOW, 10, frozenset({"c.fr"}), "me", NOW + timedelta(hours=1))),
        lambda tx: queue.settle(tx, [settled]), queue.next_due, lambda tx: stores.journal.by_trace(tx, "m1"),
        lambda tx: stores.journal.recent(tx, subject="x"), lambda tx: stores.folders.of_mailbox(tx, box.id),
        lambda tx: stores.imports.known(tx, ["m1", "m2"]), lambda tx: stores.imports.copies(tx, box.id, ["m1", "m2"]),
        lambda tx: stores.folders.modseqs(tx, [inbox, inbox + 1]),
        stores.feed.newest, lambda tx: stores.feed.lag(tx, 1, 5), lambda tx: stores.feed.arrivals(tx, 1, 5),
        lambda tx: stores.feed.present(tx, box.id),
        lambda tx: stores.accounts.mailboxes_by_address(tx, ["a@b"])]
    lines = await stores.database.write(lambda tx: [line for call in calls for line in plans(tx, call)])
    walks = [line for line in lines if re.match(rf"SCAN ({'|'.join(GROWING)})\b", line)]
    assert walks == []
    assert len(lines) > 30


async def test_claim_takes_recipients_through_their_queue_id(stores: Stores) -> None:
    await accept(stores, queued("a@b.fr"))
    asked = Claim(NOW, 10, frozenset(), "me", NOW + timedelta(hours=1))
    lines = await stores.database.write(lambda tx: plans(tx, lambda t: stores.queue.claim(t, asked)))
    assert any("queue_recipient_by_queue (queue_id=? AND destination=?)" in line for line in lines)
    assert sum("queue_recipient_by_due" in line for line in lines) == 1  # only to find what is due
