"""Contract of ApiTokenStore: found by digest only, last use never goes back, gone when revoked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.storage.apitokens import ApiToken
from mssante.storage.interfaces import Stores


async def do(stores: Stores, unit: Callable[[Any], Any]) -> Any:
    return await stores.database.write(unit)


async def test_a_token_comes_back(stores: Stores) -> None:
    store = stores.api_tokens
    first = await do(stores, lambda tx: store.add(tx, "a" * 64, ApiToken(0, "labo", frozenset({"scim", "directory"}), NOW)))
    second = await do(stores, lambda tx: store.add(tx, "b" * 64, ApiToken(0, "x", frozenset({"scim"}), NOW, None, NOW + timedelta(days=1))))
    assert first.id != second.id and await do(stores, lambda tx: store.all(tx)) == [first, second]
    assert await do(stores, lambda tx: store.find(tx, "b" * 64)) == second and await do(stores, lambda tx: store.find(tx, "c" * 64)) is None
    await do(stores, lambda tx: store.used(tx, {first.id: NOW + timedelta(hours=1), 999: NOW}))
    await do(stores, lambda tx: store.used(tx, {first.id: NOW}))
    assert (await do(stores, lambda tx: store.find(tx, "a" * 64))).last_used_at == NOW + timedelta(hours=1)
    assert await do(stores, lambda tx: store.revoke(tx, first.id)) and not await do(stores, lambda tx: store.revoke(tx, first.id))
    assert await do(stores, lambda tx: store.find(tx, "a" * 64)) is None
