"""What the directory is told of mailboxes comes from their profiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.storage_values import NOW, make_mailboxes

from mssante.directory.publication import BoxFacts
from mssante.storage.interfaces import Stores
from mssante.storage.life import Profile
from mssante.storage.open import StorageOptions, open_stores
from mssante.topics.publication import facts_of


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs", StorageOptions(readers=2))
    yield made
    made.close()


async def test_facts_are_those_of_the_profiles(stores: Stores) -> None:
    one, two = await make_mailboxes(stores, 2)
    profile = Profile(one.id, "Cardiologie", "Secrétariat", "Cadre", "1990000001", f"{two.address}", True, 2)
    await stores.database.write(lambda tx: stores.life.put_profiles(tx, [profile], NOW))
    read = facts_of(stores)
    found = await stores.database.read(lambda tx: read(tx, [one, two]))
    assert found == {one.id: BoxFacts("Cardiologie", "Secrétariat", "Cadre", True, 2)}
    assert await stores.database.read(lambda tx: read(tx, [])) == {}
