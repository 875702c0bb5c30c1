"""What the desk is told of our own mailboxes: their red list and their end come from their profile and their life."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.storage_values import NOW

from mssante.model.mailbox import MailboxState, MailboxType
from mssante.model.mailbox_rules import Life
from mssante.storage.interfaces import NewMailbox, Stores
from mssante.storage.life import Profile
from mssante.storage.open import open_stores
from mssante.topics.directory import ProvisionedBoxes


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/a.db", tmp_path / "blobs")
    yield opened
    opened.close()


async def test_red_list_and_end_of_our_mailboxes(stores: Stores) -> None:
    news = [NewMailbox(f"{name}@x.fr", MailboxType.PER, NOW) for name in ("plain", "red", "gone")]
    made = await stores.database.write(lambda tx: stores.accounts.create_mailboxes(tx, news))
    ended = NOW + timedelta(days=3)
    await stores.database.write(lambda tx: stores.accounts.set_mailbox_state(tx, "gone@x.fr", MailboxState.CLOSED))
    await stores.database.write(lambda tx: stores.life.put_profiles(tx, [Profile(made[1].id, red_list=True)], NOW))
    await stores.database.write(lambda tx: stores.life.put_lives(tx, [Life(made[2].id, "closed", ended, NOW)]))
    boxes = ProvisionedBoxes(stores, frozenset({"x.fr"}))
    found = {name: await boxes.box(f"{name}@x.fr") for name in ("plain", "red", "gone")}
    assert {name: (one.open, one.red_listed, one.closed_at) for name, one in found.items() if one is not None} == {
        "plain": (True, False, None), "red": (True, True, None), "gone": (False, False, ended)}
    assert await boxes.box("nobody@x.fr") is None and boxes.covers("x.fr") and not boxes.covers("y.fr")
